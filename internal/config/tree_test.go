package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/units"
)

// outline writes a tree on one line, with places: key@1:1, text@1:4.
func outline(n *node) string {
	at := func(p position) string { return fmt.Sprintf("@%d:%d", p.line, p.column) }
	var parts []string
	switch n.kind {
	case nullNode:
		return "null" + at(n.at)
	case scalarNode:
		return fmt.Sprintf("%q", n.text) + at(n.at)
	case listNode:
		for _, item := range n.items {
			parts = append(parts, outline(item))
		}
		return "[" + strings.Join(parts, " ") + "]" + at(n.at)
	}
	for _, e := range n.entries {
		parts = append(parts, e.name+at(e.key)+"="+outline(e.value))
	}
	return "{" + strings.Join(parts, " ") + "}" + at(n.at)
}

func TestTree(t *testing.T) {
	for text, want := range map[string]string{
		"a: 1\nb: x y\n":                    `{a@1:1="1"@1:4 b@2:1="x y"@2:4}@1:1`,
		"---\na: 1\n...\n":                  `{a@2:1="1"@2:4}@2:1`,
		"# c\n\n{ a: 1, 'b': \"2\" } # d\n": `{a@3:3="1"@3:6 b@3:9="2"@3:14}@3:1`,
		"a:\n- b: 1\n  c: 2\n- d\n":         `{a@1:1=[{b@2:3="1"@2:6 c@3:3="2"@3:6}@2:3 "d"@4:3]@2:1}@1:1`,
		"a: { b: [c:d, http://x:1, ::1] }":  `{a@1:1={b@1:6=["c:d"@1:10 "http://x:1"@1:15 "::1"@1:27]@1:9}@1:4}@1:1`,
		"a: [{ b: c:d, e: \"f:g\", h: i }]": `{a@1:1=[{b@1:7="c:d"@1:10 e@1:15="f:g"@1:18 h@1:25="i"@1:28}@1:5]@1:4}@1:1`,
		"a: [{ b: [1:2, true:x, -1:y] }]":   `{a@1:1=[{b@1:7=["1:2"@1:11 "true:x"@1:16 "-1:y"@1:24]@1:10}@1:5]@1:4}@1:1`,
		"a: |\n  x ${Y}\n  z\nb: 1\n":       `{a@1:1="x ${Y}\nz\n"@1:4 b@4:1="1"@4:4}@1:1`,
		"a:\nb: ~\nc: ''\n":                 `{a@1:1=null@1:3 b@2:1=null@2:4 c@3:1=""@3:4}@1:1`,
		"é: ü\nb: {é: 1, c: 2}\n":           `{é@1:1="ü"@1:4 b@2:1={é@2:5="1"@2:8 c@2:11="2"@2:14}@2:4}@1:1`,
		"a: one\n  two\n":                   `{a@1:1="one two"@1:4}@1:1`,
		"a: 5%\nb: *.x\n":                   "",
		"a: [GET, POST }\n":                 "",
		"a: {b: 1\n":                        "",
	} {
		r := newReport("f")
		got := ""
		if root := parseTree(text, r); root != nil {
			got = outline(root)
		}
		if got != want || (want == "") != (len(r.list) > 0) {
			t.Errorf("%q is\n%s, want\n%s\n%s", text, got, want, linesOf(r.list))
		}
	}
}

func TestLocate(t *testing.T) {
	text := "a:\n  - b.c: { d: 1 }\n    b: 2\n  - x\nlist:\n  - name: y\n"
	root := parseTree(text, newReport(""))
	for _, c := range []struct {
		path         string
		place        units.Place
		line, column int
	}{
		{"", units.AtValue, 1, 1},
		{"version", units.AtParent, 1, 1},
		{"a", units.AtKey, 1, 1},
		{"a", units.AtValue, 2, 3},
		{"a[0].b.c.d", units.AtValue, 2, 15},
		{"a[0].b", units.AtValue, 3, 8},
		{"a[0].b", units.AtKey, 3, 5},
		{"a[0].to", units.AtParent, 2, 5},
		{"a[0].b.c.e", units.AtParent, 2, 5},
		{"a[1].url", units.AtValue, 4, 5}, // a field of a shorthand: the shorthand
		{"a[7]", units.AtValue, 1, 1},
		{"a[99999999999999999999]", units.AtValue, 1, 1},
		{"a[x", units.AtValue, 1, 1},
		{"list[0].id", units.AtParent, 6, 5},
		{"nothing.of.this", units.AtValue, 1, 1},
	} {
		if got := locate(root, c.path, c.place); got != (position{c.line, c.column}) {
			t.Errorf("%s, place %d: %v, want %d:%d", c.path, c.place, got, c.line, c.column)
		}
	}
}

// TestBounds: texts that would cost the YAML parser minutes or gigabytes are refused before it sees them.
func TestBounds(t *testing.T) {
	for name, text := range map[string]string{
		"larger than 16 MiB":        strings.Repeat("#", maxDocument+1),
		"structural characters":     strings.Repeat("[,", maxStructure/2+1),
		"nested too deep":           strings.Repeat("[", 100_000),
		"is nested too deep":        strings.Repeat("- ", 100_000),
		"document is nested":        strings.Repeat("{a: ", 10_000),
		"the document is nested to": nestedBlocks(80),
		"too long":                  "a: [" + strings.Repeat("b, ", maxCollection+2) + "]",
		"mapping is too long":       "a:\n" + strings.Repeat("  b: c\n", maxCollection+2),
		"complex keys":              strings.Repeat("? ", 100_000),
		"anchors":                   strings.Repeat("&a ", 100_000),
		"tags":                      strings.Repeat("!a ", 100_000),
	} {
		found := problemsOf(t, text)
		mustContain(t, linesOf(found), name)
		if len(found) > maxProblems {
			t.Errorf("%s: %d problems", name, len(found))
		}
	}
	if found := linesOf(problemsOf(t, nestedBlocks(50))); strings.Contains(found, "too deep") {
		t.Errorf("50 levels: %s", found)
	}
}

func nestedBlocks(depth int) string {
	var out strings.Builder
	for i := range depth {
		out.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return out.String()
}

func TestRefusedParts(t *testing.T) {
	for text, word := range map[string]string{
		"a: &x 1": "anchors", "a: *x": "aliases", "<<: {}": "merge", "a: !!int 1": "tags", "? a\n: b": "complex", "%TAG ! x\n---\na: 1": "directives",
	} {
		mustContain(t, linesOf(problemsOf(t, text)), word)
	}
	// The same signs inside of texts are data.
	root := parseTree("a: \"&x\"\nb: x*y&z!\nc: '<<'\nd: 5%\n", newReport(""))
	if root == nil || len(root.entries) != 4 {
		t.Error("signs within texts were refused")
	}
}
