package config

import (
	"slices"
	"strconv"
	"strings"
)

// Change is one difference between two effective documents. Old is "" for what was added, New for what was removed.
type Change struct {
	Path string // routes by id: routes.orders.timeout
	Old  string
	New  string
}

// String renders path: old -> new.
func (c Change) String() string {
	switch {
	case c.Old == "" && c.New == "":
		return c.Path + ": changed"
	case c.Old == "":
		return c.Path + ": added: " + c.New
	case c.New == "":
		return c.Path + ": removed: " + c.Old
	}
	return c.Path + ": " + c.Old + " -> " + c.New
}

// Diff tells what a change from old to next means: the same effective value written in another way is no difference.
// Secrets that differ are changed, without their values. defaults have no lines of their own: their effect shows in the routes.
func Diff(old, next *Document) []Change {
	d := differ{}
	d.compare("", byID(viewOf(old)), byID(viewOf(next)))
	d.order(old, next)
	return d.changes
}

// byID turns the list of routes into a mapping, so that a route is compared with itself wherever it stands.
func byID(doc *view) *view {
	out := &view{kind: mappingNode}
	for _, e := range doc.entries {
		switch e.name {
		case "defaults":
		case "routes":
			routes := &view{kind: mappingNode}
			for _, item := range e.value.items {
				routes.entries = append(routes.entries, viewEntry{item.get("id").exact, item})
			}
			out.entries = append(out.entries, viewEntry{e.name, routes})
		default:
			out.entries = append(out.entries, e)
		}
	}
	return out
}

type differ struct {
	changes []Change
	printer printer
}

func (d *differ) compare(path string, a, b *view) {
	switch {
	case a == nil || b == nil:
		d.oneSided(path, a, b)
	case a.kind == mappingNode && b.kind == mappingNode:
		d.mappings(path, a, b)
	case a.kind == listNode && b.kind == listNode && !(a.flat() && b.flat()):
		d.mappings(path, numbered(a), numbered(b))
	case reveal(a) != reveal(b):
		d.changed(path, a, b)
	}
}

func (d *differ) changed(path string, a, b *view) {
	old, next := d.printer.flow(a), d.printer.flow(b)
	if old == next { // they differ in what is redacted
		old, next = "", ""
	}
	d.changes = append(d.changes, Change{path, old, next})
}

func (d *differ) oneSided(path string, a, b *view) {
	// A table that comes or goes as a whole is told name by name.
	if path == "" || !strings.Contains(path, ".") && tables[path] {
		empty := &view{kind: mappingNode}
		if a == nil {
			a = empty
		}
		if b == nil {
			b = empty
		}
		d.mappings(path, a, b)
		return
	}
	c := Change{Path: path}
	if a != nil {
		c.Old = d.printer.flow(a)
	}
	if b != nil {
		c.New = d.printer.flow(b)
	}
	d.changes = append(d.changes, c)
}

var tables = map[string]bool{"issuers": true, "rate_limits": true, "upstreams": true, "api_keys": true, "vaults": true}

func (d *differ) mappings(path string, a, b *view) {
	for _, e := range a.entries {
		d.compare(below(path, e.name), e.value, b.get(e.name))
	}
	for _, e := range b.entries {
		if a.get(e.name) == nil {
			d.compare(below(path, e.name), nil, e.value)
		}
	}
}

func below(path, name string) string {
	if strings.HasPrefix(name, "[") {
		return path + name
	}
	return join(path, name)
}

// numbered turns a list into a mapping from [0], [1] on.
func numbered(list *view) *view {
	out := &view{kind: mappingNode}
	for i, item := range list.items {
		out.entries = append(out.entries, viewEntry{"[" + strconv.Itoa(i) + "]", item})
	}
	return out
}

// order tells when routes that stand in both documents changed places: it decides between routes that match equally well.
func (d *differ) order(old, next *Document) {
	before, after := ids(old), ids(next)
	kept := func(list, other []string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(id string) bool { return !slices.Contains(other, id) })
	}
	a, b := kept(before, after), kept(after, before)
	if !slices.Equal(a, b) {
		d.changes = append(d.changes, Change{"routes", strings.Join(a, ", "), strings.Join(b, ", ")})
	}
}

func ids(doc *Document) []string {
	list := make([]string, len(doc.Routes))
	for i, r := range doc.Routes {
		list[i] = r.ID
	}
	return list
}

func reveal(v *view) string {
	p := printer{reveal: true}
	return p.flow(v)
}
