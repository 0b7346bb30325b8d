package config

import (
	"reflect"
	"slices"

	"github.com/oncegate/oncegate/internal/units"
)

// validator is a struct of the document that checks what tags can't say.
type validator interface {
	Validate(p units.Problems)
}

// check calls Validate of every struct that has it, from the outside in, where the document wrote it.
func check(v reflect.Value, p units.Problems) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			check(v.Elem(), p)
		}
	case reflect.Struct:
		checkStruct(v, p)
	case reflect.Slice:
		for i := range v.Len() {
			check(v.Index(i), p.Index(i))
		}
	case reflect.Map:
		checkTable(v, p)
	}
}

func checkStruct(v reflect.Value, p units.Problems) {
	if isText(v.Type()) {
		return
	}
	// A struct that inlines another has the inner one's Validate as its own: only the inner one is called.
	inlines := false
	for i := range v.NumField() {
		if v.Type().Field(i).Anonymous {
			inlines = true
			check(v.Field(i), p)
		}
	}
	if c, ok := v.Addr().Interface().(validator); ok && !inlines {
		c.Validate(p)
	}
	for _, f := range fieldsOf(v.Type()) {
		if len(f.index) == 1 {
			check(v.FieldByIndex(f.index), p.Key(f.name))
		}
	}
}

// checkTable copies elements: those of a map have no address, and Validate has a pointer receiver.
func checkTable(v reflect.Value, p units.Problems) {
	if deref(v.Type().Elem()).Kind() != reflect.Struct {
		return
	}
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int {
		if a.String() < b.String() {
			return -1
		}
		return 1
	})
	for _, key := range keys {
		element := reflect.New(v.Type().Elem()).Elem()
		element.Set(v.MapIndex(key))
		check(element, p.Key(key.String()))
	}
}
