package config

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// checker is as much of JSON Schema as Schema uses; an unknown word of the schema is an error.
type checker struct{ root object }

func (c checker) check(schema object, v any, path string) error {
	for word, rule := range schema {
		if err := c.word(schema, word, rule, v, path); err != nil {
			return err
		}
	}
	return nil
}

func (c checker) word(schema object, word string, rule, v any, path string) error {
	fail := fmt.Errorf("%s: %v breaks %s %v", path, v, word, rule)
	switch word {
	case "$schema", "$id", "$defs", "title", "description", "default":
		return nil
	case "required":
		got, _ := v.(object)
		for _, name := range rule.([]any) {
			if _, there := got[name.(string)]; !there {
				return fmt.Errorf("%s: %v is missing", path, name)
			}
		}
		return nil
	case "additionalProperties":
		return c.rest(rule, v, path)
	case "$ref":
		name := strings.TrimPrefix(rule.(string), "#/$defs/")
		return c.check(c.root["$defs"].(object)[name].(object), v, path)
	case "anyOf", "oneOf":
		return c.choice(rule.([]any), word == "oneOf", v, path, fail)
	case "type":
		return errorUnless(isOfType(v, rule), fail)
	case "enum":
		return errorUnless(slices.Contains(rule.([]any), v), fail)
	case "const":
		return errorUnless(v == rule, fail)
	case "pattern":
		text, ok := v.(string)
		return errorUnless(!ok || regexp.MustCompile(rule.(string)).MatchString(text), fail)
	case "minLength", "minItems", "minProperties":
		n, has := length(v)
		return errorUnless(!has || n >= int(rule.(float64)), fail)
	case "minimum":
		n, is := v.(float64)
		return errorUnless(!is || n >= rule.(float64), fail)
	case "maximum":
		n, is := v.(float64)
		return errorUnless(!is || n <= rule.(float64), fail)
	case "items":
		list, _ := v.([]any) // another type breaks the word type
		for i, item := range list {
			if err := c.check(rule.(object), item, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
		return nil
	case "properties":
		return c.object(schema, v, path)
	}
	return fmt.Errorf("the schema holds the word %q", word)
}

func (c checker) choice(list []any, one bool, v any, path string, fail error) error {
	fits := 0
	for _, form := range list {
		err := c.check(form.(object), v, path)
		if err == nil {
			fits++
		} else {
			fail = fmt.Errorf("%w; %w", fail, err)
		}
	}
	return errorUnless(fits == 1 || fits > 1 && !one, fail)
}

func (c checker) object(schema object, v any, path string) error {
	properties := schema["properties"].(object)
	got, ok := v.(object)
	if !ok {
		return fmt.Errorf("%s: not an object", path)
	}
	for name, value := range got {
		rule, known := properties[name].(object)
		if !known {
			return fmt.Errorf("%s: unknown %s", path, name)
		}
		if err := c.check(rule, value, join(path, name)); err != nil {
			return err
		}
	}
	return nil
}

// rest checks the values of a table; for a struct the rule is false, and object looks at its keys.
func (c checker) rest(rule, v any, path string) error {
	each, isSchema := rule.(object)
	table, isTable := v.(object)
	if !isSchema || !isTable {
		return nil
	}
	for name, value := range table {
		if err := c.check(each, value, join(path, name)); err != nil {
			return err
		}
	}
	return nil
}

func errorUnless(ok bool, err error) error {
	if ok {
		return nil
	}
	return err
}

// isOfType takes the name of a type or a list of such names; an integer is a number, too.
func isOfType(v, rule any) bool {
	names, several := rule.([]any)
	if !several {
		names = []any{rule}
	}
	got := typeOf(v)
	return slices.Contains(names, any(got)) || got == "integer" && slices.Contains(names, any("number"))
}

func typeOf(v any) string {
	switch v := v.(type) {
	case string:
		return "string"
	case bool:
		return "boolean"
	case float64:
		if v == float64(int64(v)) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	case object:
		return "object"
	}
	return "null"
}

// length is what minLength, minItems and minProperties look at: nothing in other types.
func length(v any) (n int, has bool) {
	switch v := v.(type) {
	case string:
		return len(v), true
	case []any:
		return len(v), true
	case object:
		return len(v), true
	}
	return 0, false
}

// asJSON gives a tree the types that readers of YAML 1.2 see (core schema).
func asJSON(n *node) any {
	switch n.kind {
	case mappingNode:
		table := object{}
		for _, e := range n.entries {
			table[e.name] = asJSON(e.value)
		}
		return table
	case listNode:
		list := []any{}
		for _, item := range n.items {
			list = append(list, asJSON(item))
		}
		return list
	case scalarNode:
		var bare any
		if n.plain && json.Unmarshal([]byte(n.text), &bare) == nil { // true, 5 and 1.2 are read as in JSON
			return bare
		}
		return n.text
	}
	return nil
}
