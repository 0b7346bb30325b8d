package config

import (
	"fmt"
	"reflect"
	"strings"
)

const referenceHead = `# Configuration reference

Every key of ` + "`gateway.yaml`" + `, made from the same descriptions that check it (a test keeps this page current). The schema for
editors comes from ` + "`gateway schema`" + `.

Durations are written ` + "`250ms` `30s` `5m` `24h` `7d`" + `, sizes ` + "`512B` `16KiB` `8MiB` `1GiB`" + `, rates ` + "`100/s` `5000/m` `1/10s`" + `,
shares ` + "`20%`" + `. A value may come from outside: ` + "`${NAME}`" + ` (undefined is an error), ` + "`${NAME:-default}`" + ` (also when it is empty),
` + "`${file:/path}`" + ` (one trailing newline is cut; at most 1 MiB of UTF-8 text), ` + "`${vault:name/path#field}`" + ` (see ` + "`vaults`" + `); ` + "`$$`" + ` is a dollar sign. What comes in so is one value, whatever it
holds; keys take no variables. Anchors, aliases, merge keys, tags and further documents are refused: a document means what it seems to mean.

Unknown keys, duplicate keys, names that stand for nothing, wrong units and impossible values are errors with line and column, all
listed at once. A policy that is written as ` + "`{}`" + ` is on with its defaults; one that is not written is off.
"Later" marks what is known to the format and refused by this version.
`

// Reference is the table of all keys as Markdown: docs/configuration.md.
func Reference() []byte {
	r := referencer{seen: make(map[reflect.Type]string)}
	r.out.WriteString(referenceHead)
	r.section("", reflect.TypeFor[Document](), "The document")
	r.drain()
	return []byte(r.out.String())
}

type referencer struct {
	out  strings.Builder
	seen map[reflect.Type]string // path under which a struct is explained
	todo []todoSection
}

type todoSection struct {
	path string
	typ  reflect.Type
	doc  string
}

func (r *referencer) drain() {
	for len(r.todo) > 0 {
		next := r.todo[0]
		r.todo = r.todo[1:]
		r.section(next.path, next.typ, next.doc)
	}
}

func (r *referencer) section(path string, t reflect.Type, doc string) {
	title := "`" + path + "`"
	if path == "" {
		title = doc
	}
	fmt.Fprintf(&r.out, "\n## %s\n\n", title)
	if path != "" && doc != "" {
		r.out.WriteString(doc + "\n\n")
	}
	r.out.WriteString("| Key | Type | Default | Meaning |\n| --- | --- | --- | --- |\n")
	var below []todoSection
	for _, f := range fieldsOf(t) {
		r.row(&f)
		if inner, at := innerStruct(f.typ, join(path, f.name)); inner != nil {
			below = append(below, todoSection{at, inner, f.doc})
		}
	}
	var next []todoSection
	for _, b := range below {
		switch at, known := r.seen[b.typ]; {
		case b.path == "defaults": // last, so that the shared policies are explained at the routes
			r.todo = append(r.todo, b)
		case known:
			fmt.Fprintf(&r.out, "\nThe keys of `%s` are those of `%s`.\n", b.path, at)
		default:
			r.seen[b.typ] = b.path
			next = append(next, b)
		}
	}
	r.todo = append(next, r.todo...)
}

// innerStruct is the struct that a key holds, in a list or table too, and the path of its keys.
func innerStruct(t reflect.Type, path string) (reflect.Type, string) {
	t = deref(t)
	switch {
	case isText(t):
		return nil, ""
	case t.Kind() == reflect.Slice:
		return innerStruct(t.Elem(), path+"[]")
	case t.Kind() == reflect.Map:
		return innerStruct(t.Elem(), path+".<name>")
	case t.Kind() == reflect.Struct:
		return t, path
	}
	return nil, ""
}

func (r *referencer) row(f *field) {
	meaning := f.doc
	if len(f.enum) > 0 {
		meaning += " One of `" + strings.Join(f.enum, "` `") + "`."
	}
	switch {
	case f.min != "" && f.max != "":
		meaning += fmt.Sprintf(" From %s to %s.", f.min, f.max)
	case f.min != "":
		meaning += fmt.Sprintf(" At least %s.", f.min)
	case f.max != "":
		meaning += fmt.Sprintf(" At most %s.", f.max)
	}
	initial := ""
	switch {
	case f.required:
		initial = "obligatory"
	case f.preset:
		initial = "`" + f.text + "`"
	}
	fmt.Fprintf(&r.out, "| `%s` | %s | %s | %s |\n", f.name, typeName(f.typ), initial, strings.ReplaceAll(strings.TrimSpace(meaning), "|", `\|`))
}

func typeName(t reflect.Type) string {
	t = deref(t)
	switch {
	case hasShorthand(t):
		return "word or " + longName(t)
	case isText(t):
		return textName(t)
	}
	return longName(t)
}

func longName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice:
		return "list of " + typeName(t.Elem())
	case reflect.Map:
		return "names, each with " + typeName(t.Elem())
	case reflect.Struct:
		return "mapping"
	}
	return "anything"
}

func textName(t reflect.Type) string {
	switch {
	case t == secretType:
		return "secret"
	case patternOf(t) != "":
		return strings.ToLower(t.Name())
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.String:
		return "text"
	}
	return "number"
}
