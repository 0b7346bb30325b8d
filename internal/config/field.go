package config

import (
	"encoding"
	"reflect"
	"strings"

	"github.com/oncegate/oncegate/internal/units"
)

// field is one key of the document as its struct tags describe it (units.FromScalar explains them). Decoding, defaults,
// schema, reference and printing all read this one description.
type field struct {
	name     string
	index    []int
	typ      reflect.Type
	text     string // of the default
	preset   bool   // there is a default
	required bool
	nonempty bool
	enum     []string
	min, max string
	doc      string
}

// fieldsOf lists the keys of a struct in their order; inlined structs are spread out where they stand.
func fieldsOf(t reflect.Type) []field {
	var list []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case options == "inline":
			for _, inner := range fieldsOf(f.Type) {
				inner.index = append([]int{i}, inner.index...)
				list = append(list, inner)
			}
		case name != "-" && name != "" && f.IsExported():
			list = append(list, describe(f, name, i))
		}
	}
	return list
}

func describe(f reflect.StructField, name string, i int) field {
	tag := f.Tag
	text, preset := tag.Lookup("default")
	return field{
		name: name, index: []int{i}, typ: f.Type, text: text, preset: preset,
		required: tag.Get("required") == "true", nonempty: tag.Get("nonempty") == "true",
		enum: strings.Fields(tag.Get("enum")), min: tag.Get("min"), max: tag.Get("max"), doc: tag.Get("doc"),
	}
}

func names(fields []field) []string {
	list := make([]string, len(fields))
	for i, f := range fields {
		list[i] = f.name
	}
	return list
}

var (
	textType      = reflect.TypeFor[encoding.TextUnmarshaler]()
	shorthandType = reflect.TypeFor[units.FromScalar]()
	secretType    = reflect.TypeFor[units.Secret]()
)

// isText says whether values of t are one scalar: units and the plain kinds.
func isText(t reflect.Type) bool {
	if reflect.PointerTo(t).Implements(textType) {
		return true
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64:
		return true
	}
	return false
}

// hasShorthand says whether t may be written as one word besides its own form.
func hasShorthand(t reflect.Type) bool { return reflect.PointerTo(t).Implements(shorthandType) }

// listField is the field that a list stands for where a struct belongs; nil when it takes none.
func listField(t reflect.Type, fields []field) *field {
	as, ok := reflect.New(t).Interface().(units.FromList)
	for i := range fields {
		if ok && fields[i].name == as.ListKey() {
			return &fields[i]
		}
	}
	return nil
}

// deref is the type behind a pointer.
func deref(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}
