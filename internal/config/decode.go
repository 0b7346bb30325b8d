package config

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/oncegate/oncegate/internal/units"
)

// decoder fills the document's structs from a tree by their tags. It goes on after every problem; what could not be used
// keeps its default, so that later steps don't complain about consequences.
type decoder struct {
	*report
	fields  map[reflect.Type][]field
	secrets []string // for scrub
	plain   []plainSecret
}

func newDecoder(r *report) *decoder {
	return &decoder{report: r, fields: make(map[reflect.Type][]field)}
}

func (d *decoder) fieldsOf(t reflect.Type) []field {
	list, ok := d.fields[t]
	if !ok {
		list = fieldsOf(t)
		d.fields[t] = list
	}
	return list
}

// value decodes a node into v. f is the field whose tags hold for it, and for the elements of a list.
func (d *decoder) value(n *node, v reflect.Value, f *field, path string) {
	t := v.Type()
	switch {
	case t.Kind() == reflect.Pointer:
		d.pointer(n, v, f, path)
	case n.kind == scalarNode && hasShorthand(t) && !n.broken:
		d.preset(v)
		if err := v.Addr().Interface().(units.FromScalar).FromScalar(n.text); err != nil && !n.away {
			d.add(n.at, path, meantBy(err), "%s", err)
		}
	case isText(t):
		d.text(n, v, f, path)
	case t.Kind() == reflect.Struct:
		d.mapping(n, v, path)
	case t.Kind() == reflect.Map:
		d.table(n, v, f, path)
	case t.Kind() == reflect.Slice:
		d.list(n, v, f, path)
	case t.Kind() == reflect.Interface:
		d.free(n, v)
	default:
		panic("config: the document can't hold a " + t.String())
	}
}

func (d *decoder) pointer(n *node, v reflect.Value, f *field, path string) {
	switch {
	case n.kind != nullNode:
		target := reflect.New(v.Type().Elem())
		d.value(n, target.Elem(), f, path)
		v.Set(target)
	case v.Type().Elem().Kind() == reflect.Struct && !hasShorthand(v.Type().Elem()):
		d.add(n.key, path, "", "needs a value: write {} for the defaults, or leave the key out")
	default:
		d.add(n.key, path, "", "needs a value")
	}
}

func (d *decoder) text(n *node, v reflect.Value, f *field, path string) {
	switch {
	case n.broken:
		if v.Type() == secretType { // it was given: that nobody may say it is missing
			v.SetString(strings.Repeat("unread-", 16))
		}
	case n.kind == nullNode:
		d.add(n.at, path, "", "needs a value")
	case n.kind != scalarNode:
		d.add(n.at, path, "", "must be %s, not %s", nameOf(v.Type()), n.kind)
	default:
		got := reflect.New(v.Type()).Elem()
		err := setText(got, n.text)
		if err == nil {
			err = checkText(got, f)
		}
		if err == nil {
			v.Set(got)
			d.keepSecret(got, n, path)
			return
		}
		if !n.away {
			d.wrong(n, f, path, err)
		}
	}
	if f.preset && v.Kind() != reflect.Slice {
		d.presetText(v, f)
	}
}

func (d *decoder) wrong(n *node, f *field, path string, err error) {
	if !errors.Is(err, errWord) {
		d.add(n.at, path, meantBy(err), "%s", err)
		return
	}
	shown := strconv.Quote(n.text)
	if len(n.sources) > 0 {
		shown = "from " + strings.Join(n.sources, "")
	}
	d.add(n.at, path, units.Nearest(n.text, f.enum), "unknown value %s: must be one of %s", shown, strings.Join(f.enum, ", "))
}

// meantBy is what an error of a scalar says was probably meant.
func meantBy(err error) string {
	var mistaken *units.Mistaken
	if errors.As(err, &mistaken) {
		return mistaken.Meant
	}
	return ""
}

func (d *decoder) keepSecret(v reflect.Value, n *node, path string) {
	if secret, ok := v.Interface().(units.Secret); ok && secret != "" {
		d.secrets = append(d.secrets, secret.Reveal())
		if len(n.sources) == 0 || n.builtIn {
			d.plain = append(d.plain, plainSecret{n.at, path, n.builtIn})
		}
	}
}

// plainSecret is a secret that whoever reads the document knows.
type plainSecret struct {
	at      position
	path    string
	builtIn bool
}

// plainly gives the warnings about them.
func (d *decoder) plainly(file string) []Located {
	list := make([]Located, len(d.plain))
	for i, s := range d.plain {
		message := "the secret stands in the document as it is: write ${NAME}, ${file:/path} or ${vault:name/path#field}"
		if s.builtIn {
			message = "the secret is the default of a variable, which stands in the document: leave the default out"
		}
		list[i] = Located{File: file, Line: s.at.line, Column: s.at.column, Path: visiblePath(s.path), Message: message}
	}
	return list
}

func (d *decoder) mapping(n *node, v reflect.Value, path string) {
	fields := d.fieldsOf(v.Type())
	if f := listField(v.Type(), fields); f != nil && n.kind == listNode {
		d.preset(v)
		d.value(n, v.FieldByIndex(f.index), f, path)
		return
	}
	if n.kind == scalarNode || n.kind == listNode {
		if !n.broken {
			d.add(n.at, path, "", "must be a mapping with keys such as %s; not %s", someNames(fields), n.kind)
		}
		d.preset(v)
		return
	}
	meant := d.unknown(n, fields, path)
	for i := range fields {
		f := &fields[i]
		below, target := join(path, f.name), v.FieldByIndex(f.index)
		given := n.get(f.name)
		switch {
		case given != nil:
			d.value(given, target, f, below)
		case f.required && meant[f.name]: // the misspelt key is reported, its absence would only repeat that
			d.failed[below] = true
		case f.required:
			d.add(n.key, below, "", "the key %s is missing", f.name)
		default:
			d.presetField(target, f)
		}
	}
	if fit, ok := v.Addr().Interface().(fitting); ok {
		fit.Fit(func(name string) bool { return n.get(name) != nil })
	}
}

// fitting is a mapping whose defaults follow from what is written beside them.
type fitting interface {
	Fit(written func(name string) bool)
}

// unknown reports keys that the struct does not have, and tells which keys they may have meant.
func (d *decoder) unknown(n *node, fields []field, path string) map[string]bool {
	known, meant := names(fields), make(map[string]bool)
	for _, e := range n.entries {
		if hasName(fields, e.name) {
			continue
		}
		suggestion := units.Nearest(e.name, known)
		meant[suggestion] = true
		d.add(e.key, join(path, e.name), suggestion, "unknown key %q", e.name)
	}
	for name := range meant {
		d.failed[join(path, name)] = d.failed[join(path, name)] || n.get(name) == nil && name != ""
	}
	return meant
}

func hasName(fields []field, name string) bool {
	for i := range fields {
		if fields[i].name == name {
			return true
		}
	}
	return false
}

func (d *decoder) table(n *node, v reflect.Value, f *field, path string) {
	if n.kind == scalarNode || n.kind == listNode {
		if !n.broken {
			d.add(n.at, path, "", "must be a mapping of names, not %s", n.kind)
		}
		return
	}
	if len(n.entries) == 0 && f.nonempty {
		d.add(n.at, path, "", "must not be empty")
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.entries)))
	inner := elementField(f)
	for _, e := range n.entries {
		if e.name == "" {
			d.note(e.key, path, "", "a name must not be empty")
			continue
		}
		element := reflect.New(v.Type().Elem()).Elem()
		d.value(e.value, element, inner, join(path, e.name))
		v.SetMapIndex(reflect.ValueOf(e.name), element)
	}
}

func (d *decoder) list(n *node, v reflect.Value, f *field, path string) {
	if n.kind == scalarNode || n.kind == mappingNode {
		if !n.broken {
			d.add(n.at, path, "", "must be a list, not %s: %s", n.kind, listAdvice[n.kind])
		}
		if f.preset {
			d.presetField(v, f)
		}
		return
	}
	if len(n.items) == 0 && f.nonempty {
		d.add(n.at, path, "", "must not be empty")
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.items), len(n.items)))
	inner := elementField(f)
	for i, item := range n.items {
		d.value(item, v.Index(i), inner, fmt.Sprintf("%s[%d]", path, i))
	}
}

var listAdvice = map[kind]string{scalarNode: "put it in [ ]", mappingNode: "begin each element with -"}

// elementField is what holds for the elements of a list or table: the words of an enum, and no empty names.
func elementField(f *field) *field {
	return &field{name: f.name, enum: f.enum, nonempty: f.nonempty && f.typ != nil && f.typ.Kind() == reflect.Slice}
}
