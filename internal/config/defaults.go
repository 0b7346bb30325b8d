package config

import (
	"reflect"

	"github.com/oncegate/oncegate/internal/units"
)

// preset fills every field below a struct with its default. Pointers stay nil: a policy that is not written is off.
func (d *decoder) preset(v reflect.Value) {
	if v.Kind() != reflect.Struct {
		return
	}
	fields := d.fieldsOf(v.Type())
	for i := range fields {
		d.presetField(v.FieldByIndex(fields[i].index), &fields[i])
	}
}

func (d *decoder) presetField(v reflect.Value, f *field) {
	switch {
	case v.Kind() == reflect.Struct && !isText(v.Type()):
		d.preset(v)
	case !f.preset:
	case v.Kind() == reflect.Slice:
		parts := splitList(f.text)
		v.Set(reflect.MakeSlice(v.Type(), len(parts), len(parts)))
		for i, part := range parts {
			d.presetText(v.Index(i), &field{name: f.name, text: part})
		}
	default:
		d.presetText(v, f)
	}
}

func (d *decoder) presetText(v reflect.Value, f *field) {
	if err := setText(v, f.text); err != nil {
		panic("config: default of " + f.name + ": " + err.Error())
	}
}

// defaultTimeout is a route's when neither it nor defaults says one.
const defaultTimeout = units.Duration(60e9)

// merge completes the routes: from defaults what a route is silent about, then the last resorts. Fields are matched by
// name, so a policy that is added to both structs needs nothing here. An empty list is not silence: rate_limits: [] is none.
func merge(doc *Document, root *node) {
	from := reflect.ValueOf(doc.Defaults)
	given, routes := root.get("defaults"), root.get("routes")
	for i := range doc.Routes {
		route := reflect.ValueOf(&doc.Routes[i]).Elem()
		for _, f := range fieldsOf(from.Type()) {
			source := from.FieldByIndex(f.index)
			if given.get(f.name) == nil || routes.items[i].get(f.name) != nil {
				continue
			}
			if target, ok := route.Type().FieldByName(from.Type().FieldByIndex(f.index).Name); ok {
				route.FieldByIndex(target.Index).Set(source)
			}
		}
		complete(&doc.Routes[i], doc.Listen.Limits.Body)
	}
}

func complete(r *RouteConfig, body units.Size) {
	if r.Timeout == nil {
		timeout := defaultTimeout
		r.Timeout = &timeout
	}
	if r.Body == nil {
		r.Body = &body
	}
}
