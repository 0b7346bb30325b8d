package routes

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// maxParams is what pipeline.Params can hold.
const maxParams = len(pipeline.Params{}.Values)

// pattern is a path of the document in parts. The trailing slash of /a/ is not a segment, it is a property: /a/ and /a are
// two paths, and no parameter takes the nothing after the slash.
type pattern struct {
	segments []segment
	names    []string // of the parameters, in order
	slash    bool     // ends with '/'
	subtree  bool     // ends with /**
}

// segment is a literal, or a parameter when param is set.
type segment struct {
	literal string
	param   bool
}

// parse reads /a/b, /users/{id} and /files/**. The error says what a user has to change.
func parse(path string) (pattern, error) {
	var p pattern
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return p, fmt.Errorf("a path begins with /: write %q", "/"+path)
	}
	parts := strings.Split(rest, "/")
	switch last := len(parts) - 1; parts[last] {
	case "**":
		p.subtree, parts = true, parts[:last]
	case "":
		p.slash, parts = true, parts[:last]
	}
	for _, part := range parts {
		if err := p.add(part); err != nil {
			return p, err
		}
	}
	if !wire.CanonicalPath(p.sample()) {
		return p, fmt.Errorf("%q is not canonical: such a path is never matched", path)
	}
	return p, nil
}

func (p *pattern) add(part string) error {
	name, opens := strings.CutPrefix(part, "{")
	name, closes := strings.CutSuffix(name, "}")
	switch {
	case opens && closes && isName(name):
		return p.addParam(name)
	case strings.ContainsAny(part, "{}"):
		return fmt.Errorf("%q is not a parameter: a whole segment {name}, of letters, digits and _", part)
	case strings.Contains(part, "*"):
		return fmt.Errorf("%q: the only wildcard is /** at the end; {name} takes one segment", part)
	}
	p.segments = append(p.segments, segment{literal: part})
	return nil
}

func (p *pattern) addParam(name string) error {
	for _, other := range p.names {
		if other == name {
			return fmt.Errorf("the parameter {%s} stands twice", name)
		}
	}
	if len(p.names) == maxParams {
		return fmt.Errorf("a path has at most %d parameters", maxParams)
	}
	p.names = append(p.names, name)
	p.segments = append(p.segments, segment{param: true})
	return nil
}

func isName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i] | 0x20
		if !(c >= 'a' && c <= 'z' || s[i] == '_' || i > 0 && s[i] >= '0' && s[i] <= '9') {
			return false
		}
	}
	return s != ""
}

// sample is a path that the pattern takes.
func (p *pattern) sample() []byte {
	var b bytes.Buffer
	for _, s := range p.segments {
		b.WriteByte('/')
		b.WriteString(s.literal)
		if s.param {
			b.WriteByte('x')
		}
	}
	if p.slash || p.subtree {
		b.WriteByte('/')
	}
	return b.Bytes()
}

// compare orders the patterns that take one and the same path, the more specific first: more literal segments; then more
// parameters, which among such patterns is the same as the longer one; then one that ends before a subtree; then, segment
// by segment from the left, a literal before a parameter. Two patterns of different shape that take the same path are
// never equal. An exact path needs no rule of its own: nothing can have more literals.
func (p *pattern) compare(q *pattern) int {
	params, other := len(p.names), len(q.names)
	if c := cmp.Compare(len(q.segments)-other, len(p.segments)-params); c != 0 {
		return c
	}
	if c := cmp.Compare(other, params); c != 0 {
		return c
	}
	if p.subtree != q.subtree {
		if q.subtree {
			return -1
		}
		return 1
	}
	for i := range min(len(p.segments), len(q.segments)) {
		if a, b := p.segments[i].param, q.segments[i].param; a != b {
			if b {
				return -1
			}
			return 1
		}
	}
	return 0
}
