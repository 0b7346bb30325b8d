package routes

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxSteps bounds the nodes that one look-up may visit in one host's tree. Only routes that overlap in very many ways, such
// as every mix of {x} and a literal over ten segments, come near it.
const maxSteps = 1024

// Conflict is two rules, by index, that the user has to change. First is the earlier one; Message is about Second.
type Conflict struct {
	First, Second int
	Message       string
}

// conflicts finds rules that can never be told apart: same host, same shape of path, the same method or both without, and
// the same conditions. It takes time in proportion to the rules.
func conflicts(h *hosts, id func(int) string) []Conflict {
	found := make(map[[2]int]Conflict) // a pair that shares two hosts is one conflict
	for _, t := range h.trees {
		for _, l := range t.leaves {
			l.conflicts(id, found)
		}
		if steps := t.root.steps(); steps > maxSteps {
			first, second := t.root.overlap()
			found[[2]int{first, second}] = Conflict{first, second, fmt.Sprintf(
				"overlaps with route %q and others in too many ways: one look-up could take %d steps, %d are allowed", id(first), steps, maxSteps)}
		}
	}
	list := make([]Conflict, 0, len(found))
	for _, c := range found {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b Conflict) int {
		return cmp.Or(cmp.Compare(a.Second, b.Second), cmp.Compare(a.First, b.First))
	})
	return list
}

func (l *leaf) conflicts(id func(int) string, found map[[2]int]Conflict) {
	if len(l.rules) == 1 {
		return
	}
	taken := make(map[string]*rule) // conditions and method: the first rule in the document
	rules := slices.Clone(l.rules)
	slices.SortFunc(rules, func(a, b *rule) int { return cmp.Compare(a.index, b.index) })
	for _, r := range rules {
		methods := r.methods
		if len(methods) == 0 {
			methods = []string{""}
		}
		conditions := r.key()
		for _, m := range methods {
			first, ok := taken[conditions+m]
			if !ok {
				taken[conditions+m] = r
				continue
			}
			pair := [2]int{first.index, r.index}
			if _, ok := found[pair]; !ok && first != r {
				found[pair] = Conflict{pair[0], pair[1], sameMessage(id(first.index), m)}
			}
		}
	}
}

func sameMessage(id, method string) string {
	if method != "" {
		method = " " + method
	}
	return fmt.Sprintf("takes the same%s requests as route %q: host, path and conditions are equal", method, id)
}

// key is equal for equal conditions. Names of fields are compared without case.
func (r *rule) key() string {
	var b strings.Builder
	lower := make([]condition, 0, len(r.headers))
	for _, c := range r.headers {
		lower = append(lower, condition{strings.ToLower(c.name), c.value})
	}
	slices.SortFunc(lower, func(a, b condition) int { return cmp.Compare(a.name, b.name) })
	for _, c := range lower {
		fmt.Fprintf(&b, "%q:%q ", c.name, c.value)
	}
	for _, c := range r.query {
		fmt.Fprintf(&b, "%q=%q ", c.name, c.value)
	}
	return b.String()
}

// overlap gives two rules from the two heaviest branches of a tree, the earlier one first.
func (n *node) overlap() (first, second int) {
	var heavy *node
	for _, c := range n.literals {
		if heavy == nil || c.steps() > heavy.steps() {
			heavy = c
		}
	}
	switch {
	case heavy == nil && n.param == nil:
		return 0, 0
	case heavy == nil:
		return n.param.overlap()
	case n.param == nil:
		return heavy.overlap()
	}
	a, b := heavy.earliest(), n.param.earliest()
	return min(a, b), max(a, b)
}

// earliest is the lowest index of a rule at or below n.
func (n *node) earliest() int {
	first := int(^uint(0) >> 1)
	for _, l := range []*leaf{n.here, n.slash, n.below} {
		if l != nil {
			for _, r := range l.rules {
				first = min(first, r.index)
			}
		}
	}
	for _, c := range n.literals {
		first = min(first, c.earliest())
	}
	if n.param != nil {
		first = min(first, n.param.earliest())
	}
	return first
}
