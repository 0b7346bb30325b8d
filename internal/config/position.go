package config

import (
	"strings"
	"unicode/utf8"

	"github.com/oncegate/oncegate/internal/units"
)

// position is a place in the text, both counted from 1; columns are characters.
type position struct {
	line   int
	column int
}

var start = position{1, 1}

// lineIndex holds the length of each line in characters.
type lineIndex []int

func indexLines(text string) lineIndex {
	var lengths lineIndex
	for line := range strings.Lines(text) {
		lengths = append(lengths, utf8.RuneCountInString(strings.TrimRight(line, "\r\n")))
	}
	if len(lengths) == 0 {
		return lineIndex{0}
	}
	return lengths
}

// clamp moves a place into the text: the YAML scanner puts what is missing behind the end of a line or of the file.
func (l lineIndex) clamp(p position) position {
	p.line = min(max(p.line, 1), len(l))
	p.column = min(max(p.column, 1), l[p.line-1]+1)
	return p
}

// locate finds where a problem with a path below the root points at. A part of the path that is not in the text (a default,
// a missing key, a field of a shorthand) leads to the nearest part that is.
func locate(root *node, path string, place units.Place) position {
	n, parent, found := root.find(path)
	switch {
	case !found && n.kind == scalarNode:
		return n.at
	case !found:
		return n.key
	case place == units.AtKey:
		return n.key
	case place == units.AtParent:
		return parent.key
	}
	return n.at
}

// find walks a dotted path as far as it goes. Keys may hold dots themselves: the longest key that fits is taken.
func (n *node) find(path string) (got, parent *node, found bool) {
	parent = n
	for path != "" {
		next, rest := n.child(path)
		if next == nil {
			return n, parent, false
		}
		n, parent, path = next, n, rest
	}
	return n, parent, true
}

func (n *node) child(path string) (*node, string) {
	if n.kind == listNode {
		return n.element(path)
	}
	var best *node
	rest, length := "", -1
	for _, e := range n.entries {
		tail, ok := strings.CutPrefix(path, e.name)
		if !ok || len(e.name) <= length || tail != "" && tail[0] != '.' && tail[0] != '[' {
			continue
		}
		best, rest, length = e.value, strings.TrimPrefix(tail, "."), len(e.name)
	}
	return best, rest
}

func (n *node) element(path string) (*node, string) {
	end := strings.IndexByte(path, ']')
	if end < 2 || path[0] != '[' {
		return nil, ""
	}
	i := 0
	for _, c := range []byte(path[1:end]) {
		if c < '0' || c > '9' || i > len(n.items) {
			return nil, ""
		}
		i = i*10 + int(c-'0')
	}
	if i >= len(n.items) {
		return nil, ""
	}
	return n.items[i], strings.TrimPrefix(path[end+1:], ".")
}
