package routes

import (
	"math"
	"slices"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// tree is the index of one host's paths: a trie by segment.
type tree struct {
	host   string // as in the document; "" is every host
	root   node
	leaves []*leaf // most specific first, after seal
}

type node struct {
	literals map[string]*node
	param    *node
	here     *leaf // the path ends at this node
	slash    *leaf // it ends with the '/' after it
	below    *leaf // /** from here on
	first    int   // lowest rank at or below this node: nothing better is found in there
}

// leaf is a path's shape: the rules whose paths differ in the names of parameters at most.
type leaf struct {
	pattern pattern
	rules   []*rule // ordered by rule.compare
	rank    int     // place in the order of pattern.compare
}

func (t *tree) insert(p pattern, r *rule) {
	n := &t.root
	for _, s := range p.segments {
		n = n.child(s)
	}
	place := &n.here
	if p.subtree {
		place = &n.below
	} else if p.slash {
		place = &n.slash
	}
	if *place == nil {
		*place = &leaf{pattern: p}
		t.leaves = append(t.leaves, *place)
	}
	(*place).rules = append((*place).rules, r)
}

func (n *node) child(s segment) *node {
	if s.param {
		if n.param == nil {
			n.param = new(node)
		}
		return n.param
	}
	c := n.literals[s.literal]
	if c == nil {
		if n.literals == nil {
			n.literals = make(map[string]*node)
		}
		c = new(node)
		n.literals[s.literal] = c
	}
	return c
}

// seal orders what was inserted.
func (t *tree) seal() {
	slices.SortStableFunc(t.leaves, func(a, b *leaf) int { return a.pattern.compare(&b.pattern) })
	for i, l := range t.leaves {
		l.rank = i
		slices.SortFunc(l.rules, (*rule).compare)
	}
	t.root.seal()
}

func (n *node) seal() int {
	n.first = math.MaxInt
	for _, l := range []*leaf{n.here, n.slash, n.below} {
		if l != nil {
			n.first = min(n.first, l.rank)
		}
	}
	for _, c := range n.literals {
		n.first = min(n.first, c.seal())
	}
	if n.param != nil {
		n.first = min(n.first, n.param.seal())
	}
	return n.first
}

// steps bounds the nodes that one look-up can visit: a path takes one literal child and the parameter at most.
func (n *node) steps() int {
	most := 0
	for _, c := range n.literals {
		most = max(most, c.steps())
	}
	if n.param != nil {
		most += n.param.steps()
	}
	return 1 + most
}

// search is one look-up. It walks every branch that the path fits, the literal one first, and leaves out those that can't
// hold anything more specific than what it has: so the order does not depend on where in a path the literals stand.
type search struct {
	req    Request
	method []byte
	params *pipeline.Params
	values [maxParams][]byte // of the branch that is walked
	best   int               // rank of found
	found  *rule
	missed bool // a rule of a fitting path does not take the method

	all    bool // collect leaves, judge nothing
	leaves []*leaf
}

// in looks in one tree; found is nil when no rule of it takes the request.
func (s *search) in(t *tree, path []byte) {
	s.best = math.MaxInt
	if len(path) > 0 && path[0] == '/' {
		s.walk(&t.root, path, 0)
	}
}

// walk is at n; rest is what follows, empty or from a '/' on; depth parameters were taken.
func (s *search) walk(n *node, rest []byte, depth int) {
	if n.first >= s.best {
		return
	}
	switch len(rest) {
	case 0:
		s.try(n.here, depth)
	case 1:
		s.try(n.slash, depth)
	default:
		end := 1
		for end < len(rest) && rest[end] != '/' {
			end++
		}
		if c := n.literals[string(rest[1:end])]; c != nil {
			s.walk(c, rest[end:], depth)
		}
		if n.param != nil && end > 1 {
			s.values[depth] = rest[1:end]
			s.walk(n.param, rest[end:], depth+1)
		}
	}
	s.try(n.below, depth)
}

func (s *search) try(l *leaf, depth int) {
	if l == nil || l.rank >= s.best {
		return
	}
	if s.all {
		s.leaves = append(s.leaves, l)
		return
	}
	if r := s.pick(l); r != nil {
		s.best, s.found = l.rank, r
		copy(s.params.Values[:], s.values[:depth])
	}
}

// pick gives the rule of a fitting path that takes the request, nil when none does.
func (s *search) pick(l *leaf) *rule {
	var best *rule
	rank := other
	for _, r := range l.rules {
		at := r.rank(s.method)
		if at == other {
			s.missed = true
			continue
		}
		if at < rank && r.holds(s.req) {
			best, rank = r, at
			if rank == named {
				break
			}
		}
	}
	return best
}
