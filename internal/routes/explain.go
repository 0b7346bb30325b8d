package routes

import (
	"cmp"
	"slices"
	"strings"
)

// Candidate is a route whose host and path fit a request, and what became of it.
type Candidate struct {
	ID      string
	Host    string // the name in the document that fitted; "" is every host
	Path    string
	Verdict Verdict
	Detail  string // Unmet: the condition, as in "header X-A"
}

// Verdict says why a candidate takes a request or does not.
type Verdict string

// The verdicts.
const (
	Takes    Verdict = "takes it"
	Method   Verdict = "other method"
	Unmet    Verdict = "condition not met"
	Outvoted Verdict = "a more specific route takes it"
)

// Explain lists the candidates of a request in their order of precedence, at most one of which takes it. It allocates: it is
// for people.
func (t *Table[T]) Explain(r Request) []Candidate {
	var list []Candidate
	taken := false
	for _, c := range t.hosts.candidates(r, r.Method()) {
		from := &t.rules[c.rule.index]
		one := Candidate{ID: from.ID, Host: c.host, Path: from.Match.Path, Verdict: Takes}
		what, name, holds := c.rule.unmet(r)
		switch {
		case c.rule.rank(r.Method()) == other:
			one.Verdict = Method
		case !holds:
			one.Verdict, one.Detail = Unmet, what+" "+name
		case taken:
			one.Verdict = Outvoted
		default:
			taken = true
		}
		list = append(list, one)
	}
	return list
}

// allow lists the methods that the request's path has when its conditions hold, sorted; "" when there are none. GET brings
// HEAD, and OPTIONS is always answered.
func (h *hosts) allow(r Request) string {
	var methods []string
	for _, c := range h.candidates(r, r.Method()) {
		if c.rule.holds(r) {
			methods = append(methods, c.rule.methods...)
		}
	}
	if len(methods) == 0 {
		return ""
	}
	methods = append(methods, "OPTIONS")
	if slices.Contains(methods, "GET") {
		methods = append(methods, "HEAD")
	}
	slices.Sort(methods)
	return strings.Join(slices.Compact(methods), ", ")
}

type candidate struct {
	host string
	rule *rule
}

// candidates gives every rule whose host and path fit, in the order of precedence for a method.
func (h *hosts) candidates(r Request, method []byte) []candidate {
	var list []candidate
	for _, t := range h.levels(r.Host()) {
		s := search{all: true}
		s.in(t, r.Path())
		slices.SortFunc(s.leaves, func(a, b *leaf) int { return cmp.Compare(a.rank, b.rank) })
		for _, l := range s.leaves {
			rules := slices.Clone(l.rules)
			slices.SortStableFunc(rules, func(a, b *rule) int { return cmp.Compare(a.rank(method), b.rank(method)) })
			for _, one := range rules {
				list = append(list, candidate{t.host, one})
			}
		}
	}
	return list
}

// levels gives the trees that a host may use, the most specific first.
func (h *hosts) levels(host []byte) []*tree {
	list := []*tree{h.exact[string(host)]}
	for i := 1; i < len(host); i++ {
		if host[i] == '.' {
			list = append(list, h.suffix[string(host[i:])])
		}
	}
	list = append(list, h.every)
	return slices.DeleteFunc(list, func(t *tree) bool { return t == nil })
}
