// Package routes holds the match table: host, path, method and conditions to a value of the caller's.
//
// It promises one total order of precedence (see Table), no allocation per look-up, and a cost that depends on the path and
// not on the number of routes, with a bound that New checks; only routes of one and the same path, which differ in methods
// and conditions, are tried one by one. A table never changes; it is safe for any number of goroutines. It does not know
// what a value is, it does not clean paths (it is given the canonical one), and it has no store that could fail.
package routes

import (
	"bytes"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Request is what a look-up asks of a request: a part of pipeline.Request. Bytes are borrowed.
type Request interface {
	Method() []byte
	Host() []byte // lower case, without port
	Path() []byte // canonical
	Query() []byte
	Header(name string) []byte
}

// Rule is one route.
type Rule[T any] struct {
	ID    string
	Match Match
	Value T
}

// Result is how a look-up ended.
type Result uint8

// The results.
const (
	NotFound    Result = iota
	Matched            // a route takes the request
	WrongMethod        // the path has routes, none for the method: 405 with Allow (RFC 9110 15.5.6)
	Options            // OPTIONS that no route takes: the caller answers 204 with Allow
)

// Table finds the route of a request. The order of precedence:
//
//   - host: exact, then *.suffix from the longest on, then every host;
//   - path: exact, then more literal segments, then more parameters, then the longer subtree, then the leftmost literal;
//   - method: named, then GET for HEAD, then none named;
//   - more header conditions, more query conditions, first in the document.
//
// A route whose method or conditions do not hold is passed over for the next of this order, other paths and other levels
// of host included.
type Table[T any] struct {
	rules []Rule[T]
	hosts hosts
}

// New compiles rules that Match.Validate has passed. Conflicts are for the user to mend; the table works all the same,
// the first in the document wins.
func New[T any](rules []Rule[T]) (*Table[T], []Conflict) {
	t := &Table[T]{rules: rules}
	for i := range rules {
		m := &rules[i].Match
		p, err := parse(m.Path)
		if err != nil {
			continue // Validate reports it
		}
		t.hosts.insert(m.Hosts, p, newRule(i, m, p.names))
	}
	t.hosts.seal()
	return t, conflicts(&t.hosts, func(i int) string { return rules[i].ID })
}

// Find gives the value of the route that takes r and writes the path's parameters, borrowed from r.Path, to params.
// allow is set with WrongMethod and Options: the methods of the path, separated by ", ".
func (t *Table[T]) Find(r Request, params *pipeline.Params) (value T, result Result, allow string) {
	s := search{req: r, method: r.Method(), params: params}
	t.hosts.find(&s)
	if s.found != nil {
		params.Names = s.found.names
		return t.rules[s.found.index].Value, Matched, ""
	}
	if s.missed {
		allow = t.hosts.allow(r)
	}
	switch {
	case allow == "":
		result = NotFound
	case string(s.method) == "OPTIONS":
		result = Options
	default:
		result = WrongMethod
	}
	return value, result, allow
}

// Routes lists the rules in the order of the document. The slice is the table's own.
func (t *Table[T]) Routes() []Rule[T] { return t.rules }

// hosts is the index by host, one tree for each name.
type hosts struct {
	exact   map[string]*tree
	suffix  map[string]*tree // keys begin with the dot: ".example.com"
	every   *tree
	longest int     // length of the longest suffix
	trees   []*tree // all of them, in the order of the document
}

func (h *hosts) insert(names []string, p pattern, r *rule) {
	if len(names) == 0 {
		if h.every == nil {
			h.every = h.add("")
		}
		h.every.insert(p, r)
	}
	for _, name := range names {
		h.tree(name).insert(p, r)
	}
}

func (h *hosts) tree(name string) *tree {
	if h.exact == nil {
		h.exact, h.suffix = make(map[string]*tree), make(map[string]*tree)
	}
	in, key := h.exact, name
	if name[0] == '*' {
		in, key = h.suffix, name[1:]
		h.longest = max(h.longest, len(key))
	}
	if in[key] == nil {
		in[key] = h.add(name)
	}
	return in[key]
}

func (h *hosts) add(name string) *tree {
	t := &tree{host: name}
	h.trees = append(h.trees, t)
	return t
}

func (h *hosts) seal() {
	for _, t := range h.trees {
		t.seal()
	}
}

// find tries the levels of host from the most specific on until a rule is found.
func (h *hosts) find(s *search) {
	host, path := s.req.Host(), s.req.Path()
	if t := h.exact[string(host)]; t != nil {
		s.in(t, path)
	}
	for rest := host; s.found == nil && len(h.suffix) > 0; {
		dot := bytes.IndexByte(rest[min(1, len(rest)):], '.') + 1 // *.test needs a label before the dot
		if dot == 0 {
			break
		}
		if rest = rest[dot:]; len(rest) > h.longest {
			continue
		}
		if t := h.suffix[string(rest)]; t != nil {
			s.in(t, path)
		}
	}
	if s.found == nil && h.every != nil {
		s.in(h.every, path)
	}
}
