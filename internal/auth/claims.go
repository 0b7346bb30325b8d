package auth

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of a token's claims.
const (
	maxDepth   = 16
	maxMembers = 256
)

// claims are the members of a verified token's payload, in its order. They are immutable and own their strings, which are
// parts of one copy of the payload where that is possible.
type claims struct {
	members []member
	scopes  []string
}

type member struct {
	name, text string   // scalars: their text; lists and objects: compact JSON
	list       []string // the elements of a list; "" stands for what is no scalar
	inside     []member // of an object
	words      bool     // list holds strings only
	kind       jsontext.Kind
	printable  bool // text can stand in a header field as it is
}

// find gives the member of exactly that name; nil when it is absent.
func (c *claims) find(name string) *member {
	for i := range c.members {
		if c.members[i].name == name {
			return &c.members[i]
		}
	}
	return nil
}

// at gives the member at the end of a path through objects; nil when there is none.
func (c *claims) at(path []string) (m *member) {
	members := c.members
	for _, name := range path {
		m = nil
		for i := range members {
			if members[i].name == name {
				m = &members[i]
				break
			}
		}
		if m == nil {
			return nil
		}
		members = m.inside
	}
	return m
}

// Claim gives a claim as text: scalars as they are, lists and objects as compact JSON. A null counts as absent.
func (c *claims) Claim(name string) (string, bool) {
	m := c.find(name)
	if m == nil || m.kind == jsontext.KindNull {
		return "", false
	}
	return m.text, true
}

// sendable reports whether the claim can be the value of a header field as it is.
func (m *member) sendable() bool {
	return m.printable && m.kind != jsontext.KindNull && len(m.text) <= maxForwarded
}

// textOf gives a claim that has to be a string.
func (c *claims) textOf(name string) (string, bool) {
	if m := c.find(name); m != nil && m.kind == jsontext.KindString {
		return m.text, true
	}
	return "", false
}

// idOf gives a claim that is an identifier: a string, or a number as it stands; "" when there is none.
func (c *claims) idOf(name string) string {
	if m := c.find(name); m != nil && (m.kind == jsontext.KindString || m.kind == jsontext.KindNumber) {
		return m.text
	}
	return ""
}

func (m *member) isOneOf(values []string) bool {
	if m == nil {
		return false
	}
	switch m.kind {
	case jsontext.KindBeginArray:
		for _, one := range m.list {
			if among(one, values) {
				return true
			}
		}
		return false
	case jsontext.KindBeginObject, jsontext.KindNull:
		return false
	}
	return among(m.text, values)
}

func among(one string, values []string) bool {
	for _, v := range values {
		if v == one {
			return true
		}
	}
	return false
}

// parseClaims reads a decoded payload strictly (RFC 8259 with RFC 7493's demands): one object, no name twice, valid UTF-8,
// nothing behind it, bounded in depth and members.
func parseClaims(s *scratch, payload []byte) (*claims, bool) {
	if tooDeep(payload) {
		return nil, false
	}
	r := s.read(payload)
	if !r.open() {
		return nil, false
	}
	c := &claims{members: make([]member, 0, 12)}
	for r.more() {
		if len(c.members) == maxMembers {
			return nil, false
		}
		m, ok := r.member()
		if !ok {
			return nil, false
		}
		c.members = append(c.members, m)
	}
	if !r.close() {
		return nil, false
	}
	c.scopes = scopesOf(c)
	return c, true
}

// scopesOf reads scope, or else scp: a string with spaces (RFC 8693, 4.2), or a list of strings, which several providers send
// under either name.
func scopesOf(c *claims) []string {
	m := c.find("scope")
	if m == nil {
		m = c.find("scp")
	}
	switch {
	case m == nil:
		return nil
	case m.kind == jsontext.KindString:
		return strings.FieldsFunc(m.text, func(r rune) bool { return r == ' ' })
	case m.words:
		return m.list
	}
	return nil
}

// tooDeep counts brackets outside strings, before a decoder has to.
func tooDeep(text []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// printable reports whether a text can be the value of a header field: visible ASCII and inner spaces.
func printable(text string) bool {
	for i := 0; i < len(text); i++ {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return text != "" && text[0] != ' ' && text[len(text)-1] != ' '
}
