package h1

import "bytes"

// judge looks at a piece of a head for what fasthttp lets pass or waits on: a line that ends with a bare LF, and a beginning
// that no request has. Field lines of a head that came whole are left to wire, which sees all of them.
func (c *conn) judge(p []byte, whole bool) {
	line := p
	if c.head == 0 {
		for len(line) >= 2 && line[0] == '\r' && line[1] == '\n' {
			line = line[2:] // RFC 9112 section 2.2 wants empty lines before a request passed over
		}
		n := copy(c.begun[:], line)
		clear(c.begun[n:])
		c.bad = len(line) > 0 && !token[line[0]] && line[0] != '\r'
		if whole {
			i := bytes.IndexByte(line, '\n')
			c.bad = c.bad || i < 1 || line[i-1] != '\r'
			return
		}
	}
	for i, b := range p {
		if b == '\n' && !(i > 0 && p[i-1] == '\r' || i == 0 && c.cr) {
			c.bad = true
		}
	}
	c.cr = len(p) > 0 && p[len(p)-1] == '\r'
}

// method is what an unreadable head began with, as far as that is a method.
func (c *conn) method() []byte {
	name, _, found := bytes.Cut(c.begun[:], []byte{' '})
	for _, b := range name {
		if !found || !token[b] {
			return nil
		}
	}
	return name
}
