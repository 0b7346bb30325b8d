package routes

import (
	"cmp"
	"slices"

	"github.com/oncegate/oncegate/internal/wire"
)

// rule is a compiled Match without host and path: those are its place in the index.
type rule struct {
	index   int      // in the document
	names   []string // of the path's parameters
	methods []string // none: every method
	headers []condition
	query   []condition
}

// condition is a name that must have exactly this value.
type condition struct{ name, value string }

func newRule(index int, m *Match, names []string) *rule {
	return &rule{index: index, names: names, methods: m.Methods, headers: conditions(m.Headers), query: conditions(m.Query)}
}

func conditions(m map[string]string) []condition {
	list := make([]condition, 0, len(m))
	for name, value := range m {
		list = append(list, condition{name, value})
	}
	slices.SortFunc(list, func(a, b condition) int { return cmp.Compare(a.name, b.name) })
	return list
}

// compare orders the rules of one path for one method rank: more header conditions, more query conditions, first in the
// document.
func (r *rule) compare(o *rule) int {
	return cmp.Or(cmp.Compare(len(o.headers), len(r.headers)), cmp.Compare(len(o.query), len(r.query)), cmp.Compare(r.index, o.index))
}

// The ranks of a rule for a method; the lower is preferred.
const (
	named   = iota // the rule names it
	follows        // HEAD where the rule names GET: RFC 9110 9.3.2
	every          // the rule names none
	other          // the rule does not take it
)

// rank compares methods by their letters' case too: RFC 9110 9.1.
func (r *rule) rank(method []byte) int {
	if len(r.methods) == 0 {
		return every
	}
	rank := other
	for _, m := range r.methods {
		if string(method) == m {
			return named
		}
		if m == "GET" && string(method) == "HEAD" {
			rank = follows
		}
	}
	return rank
}

// unmet is the first condition that the request does not hold; ok when it holds all.
func (r *rule) unmet(req Request) (what, name string, ok bool) {
	for i := range r.headers {
		c := &r.headers[i]
		if v := req.Header(c.name); v == nil || string(v) != c.value {
			return "header", c.name, false
		}
	}
	for i := range r.query {
		c := &r.query[i]
		if !wire.QueryHas(req.Query(), c.name, c.value) {
			return "query", c.name, false
		}
	}
	return "", "", true
}

func (r *rule) holds(req Request) bool {
	_, _, ok := r.unmet(req)
	return ok
}
