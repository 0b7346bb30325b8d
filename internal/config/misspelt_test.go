package config

import (
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/units"
)

// keyAt is one key of a document whose names are fixed, with its place.
type keyAt struct {
	name string
	path string // of the mapping that holds it
	at   position
}

// fixedKeys lists the keys of a tree, without those that the user chooses: names of tables, headers, claims, parameters.
func fixedKeys(n *node, path string, chosen bool) []keyAt {
	var list []keyAt
	for _, e := range n.entries {
		if !chosen {
			list = append(list, keyAt{e.name, path, e.key})
		}
		list = append(list, fixedKeys(e.value, join(path, e.name), !chosen && isTable(path, e.name))...)
	}
	for _, item := range n.items {
		list = append(list, fixedKeys(item, path+"[]", false)...)
	}
	return list
}

func isTable(path, name string) bool {
	switch name {
	case "issuers", "rate_limits", "upstreams":
		return path == ""
	case "headers", "query":
		return strings.HasSuffix(path, ".match")
	case "claims", "plans":
		return true
	case "methods", "body":
		return strings.HasSuffix(path, ".cost")
	}
	return false
}

// TestEveryMisspeltKeyIsFound swaps, drops and doubles a letter of each key of the full document in turn.
func TestEveryMisspeltKeyIsFound(t *testing.T) {
	text := full(t)
	keys := fixedKeys(parseTree(text, newReport("")), "", false)
	if len(keys) < 90 {
		t.Fatalf("only %d keys", len(keys))
	}
	for _, key := range keys {
		for _, wrong := range misspell(key.name) {
			oneMisspelt(t, text, key, wrong)
		}
	}
}

func misspell(name string) []string {
	last := len(name) - 1
	list := []string{name + name[last:], strings.ToUpper(name)}
	if len(name) >= 4 {
		list = append(list, name[:2]+name[3:], name[:last-1]+name[last:]+name[last-1:last])
	}
	return list
}

func oneMisspelt(t *testing.T, text string, key keyAt, wrong string) {
	t.Helper()
	if wrong == key.name {
		return
	}
	lines := strings.Split(text, "\n")
	line := lines[key.at.line-1]
	lines[key.at.line-1] = line[:key.at.column-1] + wrong + line[key.at.column-1+len(key.name):]
	for _, p := range problemsOf(t, strings.Join(lines, "\n")) {
		if p.Line == key.at.line && p.Column == key.at.column && strings.Contains(p.Message, `unknown key "`+wrong+`"`) {
			// Another key may be as near as the one that was meant.
			if p.Meant != key.name && units.Nearest(wrong, []string{key.name}) != "" && units.Nearest(wrong, []string{p.Meant, key.name}) == key.name {
				t.Errorf("%s.%s: wrong suggestion in %s", key.path, wrong, p)
			}
			return
		}
	}
	t.Errorf("%s.%s at %d:%d was not found", key.path, wrong, key.at.line, key.at.column)
}

// TestEveryDoubledKeyIsFound repeats each key of a flow mapping and of a block mapping.
func TestEveryDoubledKeyIsFound(t *testing.T) {
	text := full(t)
	for _, key := range fixedKeys(parseTree(text, newReport("")), "", false) {
		lines := strings.Split(text, "\n")
		line := lines[key.at.line-1]
		before, after := line[:key.at.column-1], line[key.at.column-1:]
		separator := ", "
		if !strings.Contains(before, "{") {
			separator = "\n" + strings.Repeat(" ", key.at.column-1)
		}
		lines[key.at.line-1] = before + key.name + ": x" + separator + after
		found := linesOf(problemsOf(t, strings.Join(lines, "\n")))
		if !strings.Contains(found, `duplicate key "`+key.name+`"`) {
			t.Errorf("%s.%s: not found in\n%s", key.path, key.name, found)
		}
	}
}
