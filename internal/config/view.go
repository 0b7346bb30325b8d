package config

import (
	"encoding"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/oncegate/oncegate/internal/auth"
	"github.com/oncegate/oncegate/internal/ratelimit"
	"github.com/oncegate/oncegate/internal/units"
)

// view is an effective value in the form in which it is shown and compared: a tree of text without Go types. What is absent
// (a policy that is off, a zero without a default) has no view.
type view struct {
	kind    kind
	text    string // of a scalar, redacted
	exact   string // of a scalar, as it is: for comparing only
	word    bool   // a string: may need quotes
	entries []viewEntry
	items   []*view
}

type viewEntry struct {
	name  string
	value *view
}

// redacted stands for a secret in everything that is shown.
const redacted = "[redacted]"

func viewOf(doc *Document) *view {
	v := viewStruct(reflect.ValueOf(*doc))
	if len(doc.hidden) > 0 {
		v.hide(doc.hidden)
	}
	return v
}

// hide redacts what came from a vault or a file: it is a secret whatever key it stands at.
func (v *view) hide(values []string) {
	for _, value := range values {
		if value != "" && (v.exact == value || len(value) >= minBare && strings.Contains(v.exact, value)) {
			v.text, v.word = redacted, true
		}
	}
	for i := range v.entries {
		v.entries[i].value.hide(values)
	}
	for _, item := range v.items {
		item.hide(values)
	}
}

// short is a value that may be written as one word; ok is false when it says more than that.
type short interface {
	Scalar() (text string, ok bool)
}

func viewShort(v reflect.Value) *view {
	value, _ := v.Interface().(short)
	if value == nil {
		return nil
	}
	text, ok := value.Scalar()
	if !ok {
		return nil
	}
	out := viewText(text)
	_, number := value.(ratelimit.Cost)
	out.word = !number && text != "false"
	return out
}

func viewStruct(v reflect.Value) *view {
	if word := viewShort(v); word != nil {
		return word
	}
	if who, ok := v.Interface().(auth.Config); ok && who.None {
		return viewText("none")
	}
	out := &view{kind: mappingNode}
	for _, f := range fieldsOf(v.Type()) {
		if value := viewField(v.FieldByIndex(f.index), &f); value != nil {
			out.entries = append(out.entries, viewEntry{f.name, value})
		}
	}
	if f := listField(v.Type(), fieldsOf(v.Type())); f != nil && len(out.entries) == 1 && out.entries[0].name == f.name {
		return out.entries[0].value
	}
	return out
}

func viewField(v reflect.Value, f *field) *view {
	switch {
	case v.Kind() == reflect.Pointer && v.IsNil():
		return nil
	case isText(deref(v.Type())):
		if v.IsZero() && !f.preset && !f.required {
			return nil
		}
	case v.Kind() == reflect.Map || v.Kind() == reflect.Slice:
		if v.IsNil() || v.Kind() == reflect.Map && v.Len() == 0 {
			return nil
		}
	case v.Kind() == reflect.Struct:
		if inner := viewStruct(v); inner.kind != mappingNode || len(inner.entries) > 0 {
			return inner
		}
		return nil
	}
	return viewValue(v)
}

func viewValue(v reflect.Value) *view {
	switch {
	case v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface:
		if v.IsNil() {
			return &view{text: "null", exact: "null"}
		}
		return viewValue(v.Elem())
	case isText(v.Type()):
		return viewScalar(v)
	case v.Kind() == reflect.Struct:
		return viewStruct(v)
	case v.Kind() == reflect.Slice:
		if word := viewShort(v); word != nil {
			return word
		}
		out := &view{kind: listNode}
		for i := range v.Len() {
			out.items = append(out.items, viewValue(v.Index(i)))
		}
		return out
	case v.Kind() == reflect.Map:
		return viewMap(v)
	}
	panic("config: the document can't hold a " + v.Type().String())
}

func viewMap(v reflect.Value) *view {
	out := &view{kind: mappingNode}
	keys := make(map[string]reflect.Value, v.Len())
	for _, key := range v.MapKeys() {
		keys[key.String()] = v.MapIndex(key)
	}
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		out.entries = append(out.entries, viewEntry{name, viewValue(keys[name])})
	}
	return out
}

func viewText(text string) *view {
	return &view{kind: scalarNode, text: redactURL(text), exact: text, word: true}
}

func viewScalar(v reflect.Value) *view {
	switch value := v.Interface().(type) {
	case units.Secret:
		if value == "" {
			return viewText("")
		}
		return &view{kind: scalarNode, text: redacted, exact: value.Reveal(), word: true}
	case encoding.TextMarshaler:
		text, _ := value.MarshalText() // the units' never fail
		return &view{kind: scalarNode, text: string(text), exact: string(text)}
	}
	switch v.Kind() {
	case reflect.String:
		return viewText(v.String())
	case reflect.Bool:
		text := strconv.FormatBool(v.Bool())
		return &view{kind: scalarNode, text: text, exact: text}
	}
	text := fmt.Sprint(v.Interface())
	return &view{kind: scalarNode, text: text, exact: text}
}

// redactURL hides the user and password of a URL.
func redactURL(text string) string {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return text
	}
	authority := rest
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		authority = rest[:end]
	}
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		return scheme + "://redacted" + rest[at:]
	}
	return text
}

func (v *view) get(name string) *view {
	for _, e := range v.entries {
		if e.name == name {
			return e.value
		}
	}
	return nil
}
