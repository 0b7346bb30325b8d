package config

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/oncegate/oncegate/internal/ratelimit"
	"github.com/oncegate/oncegate/internal/units"
)

// free decodes a node whose shape the document does not fix: nil, bool, int64, string, []any or map[string]any.
func (d *decoder) free(n *node, v reflect.Value) {
	if value := freeValue(n); value != nil {
		v.Set(reflect.ValueOf(value))
	}
}

func freeValue(n *node) any {
	switch n.kind {
	case scalarNode:
		return freeScalar(n)
	case listNode:
		list := make([]any, len(n.items))
		for i, item := range n.items {
			list[i] = freeValue(item)
		}
		return list
	case mappingNode:
		table := make(map[string]any, len(n.entries))
		for _, e := range n.entries {
			table[e.name] = freeValue(e.value)
		}
		return table
	}
	return nil
}

func freeScalar(n *node) any {
	if n.plain {
		if n.text == "true" || n.text == "false" {
			return n.text == "true"
		}
		if number, err := wholeNumber(n.text); err == nil {
			return number
		}
	}
	return n.text
}

// nameOf says in words what a scalar of the type is.
func nameOf(t reflect.Type) string {
	switch reflect.New(t).Interface().(type) {
	case *units.Duration:
		return "a duration such as 10s"
	case *units.Size:
		return "a size such as 8MiB"
	case *units.Rate, *ratelimit.Rate:
		return "a rate such as 100/s"
	case *ratelimit.Quota:
		return "a quota such as 10000/d"
	case *units.Share:
		return "a share such as 50%"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	}
	return "text"
}

// someNames lists a few keys of a struct for a message.
func someNames(fields []field) string {
	list := names(fields)
	if len(list) > 3 {
		list = list[:3]
	}
	return strings.Join(list, ", ")
}

// splitList reads the text of a default list: [A, B].
func splitList(text string) []string {
	inner := strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	if len(inner) != max(0, len(text)-2) {
		panic(fmt.Sprintf("config: default %q is not a list", text))
	}
	if inner == "" {
		return nil
	}
	parts := strings.Split(inner, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}
