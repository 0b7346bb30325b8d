package config

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/oncegate/oncegate/internal/access"
	"github.com/oncegate/oncegate/internal/auth"
	"github.com/oncegate/oncegate/internal/cors"
	"github.com/oncegate/oncegate/internal/headers"
	"github.com/oncegate/oncegate/internal/ratelimit"
	"github.com/oncegate/oncegate/internal/traffic"
	"github.com/oncegate/oncegate/internal/units"
	"github.com/oncegate/oncegate/internal/websocket"
)

// object is a JSON object.
type object = map[string]any

// Schema is the JSON Schema (draft 2020-12) of the document, made from the same tags that decoding reads.
func Schema() []byte {
	s := schemer{defs: object{
		"variable": object{"type": "string", "pattern": `\$\{.+\}`, "description": "A value from outside: ${NAME}, ${NAME:-default} or ${file:/path}."},
		// What is written without quotes may be a number or a boolean to whoever reads YAML by this schema.
		"text": object{"type": []string{"string", "number", "boolean"}},
	}}
	doc := s.structure(reflect.TypeFor[Document]())
	doc["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	doc["$id"] = "urn:oncegate:schema:gateway:1"
	doc["title"] = "gateway.yaml"
	doc["$defs"] = s.defs
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(doc); err != nil {
		panic("config: schema: " + err.Error())
	}
	return out.Bytes()
}

type schemer struct{ defs object }

// structure describes a struct: no key but its own.
func (s *schemer) structure(t reflect.Type) object {
	properties, required := object{}, []string{}
	for _, f := range fieldsOf(t) {
		properties[f.name] = s.property(&f)
		if f.required {
			required = append(required, f.name)
		}
	}
	out := object{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		out["required"] = required
	}
	if ways := exclusive[t]; len(ways) > 0 {
		var one []any
		for _, name := range ways {
			one = append(one, object{"required": []string{name}})
		}
		out["oneOf"] = one
	}
	return out
}

// exclusive are structs of which exactly one of some keys is given.
var exclusive = map[reflect.Type][]string{
	reflect.TypeFor[traffic.Destination](): {"upstream", "split", "respond", "redirect"},
	reflect.TypeFor[traffic.Rule]():        {"upstream", "respond"},
}

func (s *schemer) property(f *field) object {
	out := s.value(f.typ, f)
	if mayBeNothing(f) {
		out = object{"anyOf": []any{out, object{"type": "null"}}}
	}
	if f.doc != "" {
		out["description"] = f.doc
	}
	if f.preset {
		out["default"] = defaultOf(f)
	}
	return out
}

// mayBeNothing says whether a key may stand without a value: a table, a list or a section whose lines are all commented out.
func mayBeNothing(f *field) bool {
	switch {
	case isText(f.typ) || hasShorthand(f.typ) || f.nonempty:
		return false
	case f.typ.Kind() == reflect.Struct:
		return !slices.ContainsFunc(fieldsOf(f.typ), func(inner field) bool { return inner.required })
	}
	return f.typ.Kind() == reflect.Slice || f.typ.Kind() == reflect.Map
}

func (s *schemer) value(t reflect.Type, f *field) object {
	t = deref(t)
	switch {
	case hasShorthand(t):
		if t.Kind() != reflect.Struct {
			return object{"oneOf": []any{shorthand(t), object{"type": "array", "items": anyText()}}}
		}
		forms := []any{shorthand(t), s.ref(t)}
		if f := listField(t, fieldsOf(t)); f != nil {
			forms = append(forms, object{"type": "array", "minItems": 1, "items": anyText()})
		}
		return object{"oneOf": forms}
	case isText(t):
		return s.text(t, f)
	case t.Kind() == reflect.Struct:
		return s.ref(t)
	case t.Kind() == reflect.Slice:
		return atLeastOne(object{"type": "array", "items": s.value(t.Elem(), elementField(f))}, "minItems", f)
	case t.Kind() == reflect.Map:
		return atLeastOne(object{"type": "object", "additionalProperties": s.value(t.Elem(), elementField(f))}, "minProperties", f)
	}
	return object{}
}

func atLeastOne(out object, key string, f *field) object {
	if f.nonempty {
		out[key] = 1
	}
	return out
}

// anyText is text as YAML has it.
func anyText() object { return object{"$ref": "#/$defs/text"} }

// orVariable is a value that is no free text, and may come from outside.
func orVariable(own object) object {
	return object{"anyOf": []any{own, object{"$ref": "#/$defs/variable"}}}
}

func shorthand(t reflect.Type) object {
	switch t {
	case reflect.TypeFor[auth.Config]():
		return orVariable(object{"const": "none"})
	case reflect.TypeFor[cors.Config](), reflect.TypeFor[access.Config]():
		return orVariable(words("false"))
	case reflect.TypeFor[headers.Config](), reflect.TypeFor[websocket.Config]():
		return orVariable(words("true", "false"))
	case reflect.TypeFor[ratelimit.Cost]():
		return orVariable(wholeNumbers("0", ""))
	}
	return anyText()
}

// words are those of an enum. One that reads as a boolean or a number may stand without quotes.
func words(list ...string) object {
	var all []any
	for _, word := range list {
		var bare any
		if json.Unmarshal([]byte(word), &bare) == nil { // true, 1.2; other words are no JSON
			all = append(all, json.RawMessage(word))
		}
		all = append(all, word)
	}
	return object{"enum": all}
}

// wholeNumbers may stand in quotes; then only their form is told.
func wholeNumbers(least, most string) object {
	sign := "-?"
	if least != "" && least[0] != '-' {
		sign = ""
	}
	own := object{"type": []string{"integer", "string"}, "pattern": "^" + sign + "(0|[1-9][0-9]*)$"}
	if least != "" {
		own["minimum"] = json.Number(least)
	}
	if most != "" {
		own["maximum"] = json.Number(most)
	}
	return own
}

// ref describes a struct once, under $defs.
func (s *schemer) ref(t reflect.Type) object {
	name := strings.ReplaceAll(t.String(), "config.", "")
	if s.defs[name] == nil {
		s.defs[name] = object{} // a struct may hold itself
		s.defs[name] = s.structure(t)
	}
	return object{"$ref": "#/$defs/" + name}
}

// text describes a scalar. What is no free text may always come from a variable.
func (s *schemer) text(t reflect.Type, f *field) object {
	switch {
	case len(f.enum) > 0:
		return orVariable(words(f.enum...))
	case t.Kind() == reflect.Bool:
		return orVariable(words("true", "false"))
	case patternOf(t) != "":
		return orVariable(object{"type": "string", "pattern": patternOf(t)})
	case t.Kind() == reflect.String:
		return atLeastOne(anyText(), "minLength", f)
	}
	return orVariable(wholeNumbers(f.min, f.max))
}

func patternOf(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[units.Duration]():
		return `^[0-9]+(\.[0-9]+)?(us|ms|s|m|h|d)$`
	case reflect.TypeFor[units.Size]():
		return `^[0-9]+(B|KiB|MiB|GiB)$`
	case reflect.TypeFor[units.Rate]():
		return `^[0-9]+(\.[0-9]+)?/([0-9]+(\.[0-9]+)?)?(us|ms|s|m|h|d)$`
	case reflect.TypeFor[ratelimit.Rate]():
		return `^(deny|unlimited|[0-9]+(\.[0-9]+)?/([0-9]+(\.[0-9]+)?)?(us|ms|s|m|h|d))$`
	case reflect.TypeFor[ratelimit.Quota]():
		return `^[1-9][0-9]*/([1-9][0-9]*)?(s|m|h|d|w|mo)$`
	case reflect.TypeFor[units.Share]():
		return `^[0-9]+(\.[0-9]+)?%$`
	}
	return ""
}

// defaultOf is a default as JSON.
func defaultOf(f *field) any {
	t := deref(f.typ)
	switch {
	case t.Kind() == reflect.Slice:
		return slices.Concat([]string{}, splitList(f.text))
	case patternOf(t) != "" || t.Kind() == reflect.String:
		return f.text
	case t.Kind() == reflect.Bool:
		return f.text == "true"
	}
	return json.Number(f.text)
}
