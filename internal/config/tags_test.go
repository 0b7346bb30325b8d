package config

import (
	"reflect"
	"strings"
	"testing"
)

// eachStruct visits every struct that the document can hold, once.
func eachStruct(t reflect.Type, seen map[reflect.Type]bool, visit func(reflect.Type)) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		eachStruct(t.Elem(), seen, visit)
	case reflect.Struct:
		if isText(t) || seen[t] {
			return
		}
		seen[t] = true
		visit(t)
		for i := range t.NumField() {
			if t.Field(i).IsExported() {
				eachStruct(t.Field(i).Type, seen, visit)
			}
		}
	}
}

// TestEveryFieldIsDescribed: a field without a key would be lost silently, one without a sentence is not documented.
func TestEveryFieldIsDescribed(t *testing.T) {
	count := 0
	eachStruct(reflect.TypeFor[Document](), map[reflect.Type]bool{}, func(typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if name == "-" || options == "inline" {
				continue
			}
			count++
			if name == "" || name != strings.ToLower(name) {
				t.Errorf("%s.%s: no key in lower case", typ, f.Name)
			}
			if f.Tag.Get("doc") == "" {
				t.Errorf("%s.%s: no doc tag", typ, f.Name)
			}
		}
	})
	if count < 100 {
		t.Errorf("only %d fields found", count)
	}
}

// TestTagsAreValues: defaults and bounds are text of the field's type, and a default obeys the field's own rules.
func TestTagsAreValues(t *testing.T) {
	eachStruct(reflect.TypeFor[Document](), map[reflect.Type]bool{}, func(typ reflect.Type) {
		for _, f := range fieldsOf(typ) {
			tagsOf(t, typ, &f)
		}
	})
}

func tagsOf(t *testing.T, typ reflect.Type, f *field) {
	defer func() {
		if err := recover(); err != nil {
			t.Errorf("%s, key %s: %v", typ, f.name, err)
		}
	}()
	v := reflect.New(deref(f.typ)).Elem()
	for _, text := range []string{f.min, f.max} {
		if text != "" {
			bound(v.Type(), text)
		}
	}
	if !f.preset {
		return
	}
	if f.required {
		t.Errorf("%s, key %s: required and with a default", typ, f.name)
	}
	newDecoder(newReport("")).presetField(v, f)
	if v.Kind() == reflect.Slice {
		for i := range v.Len() {
			if err := checkText(v.Index(i), elementField(f)); err != nil {
				t.Errorf("%s, key %s: default: %v", typ, f.name, err)
			}
		}
		return
	}
	if err := checkText(v, f); err != nil {
		t.Errorf("%s, key %s: default %s: %v", typ, f.name, f.text, err)
	}
}

// TestDefaultsArePoliciesOfRoutes: merge matches fields by name; one that a route does not have would be ignored.
func TestDefaultsArePoliciesOfRoutes(t *testing.T) {
	route := reflect.TypeFor[RouteConfig]()
	for _, f := range reflect.VisibleFields(reflect.TypeFor[DefaultsConfig]()) {
		other, ok := route.FieldByName(f.Name)
		if !ok || other.Type != f.Type || other.Tag.Get("yaml") != f.Tag.Get("yaml") {
			t.Errorf("defaults.%s has no equal in a route", f.Name)
		}
	}
}

// TestInlinedStructsCheckThemselves: a struct that inlines another can't have a Validate of its own, check would not call it.
func TestInlinedStructsCheckThemselves(t *testing.T) {
	eachStruct(reflect.TypeFor[Document](), map[reflect.Type]bool{}, func(typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			if !f.Anonymous {
				continue
			}
			outer, hasOuter := reflect.PointerTo(typ).MethodByName("Validate")
			_, hasInner := reflect.PointerTo(f.Type).MethodByName("Validate")
			if hasOuter && !hasInner {
				t.Errorf("%s has %s, which is not called", typ, outer.Name)
			}
		}
	})
}
