package h1

import (
	"bytes"
	"sync"
)

// spare holds bytes that were read but not yet handed on. A nil *spare holds none.
type spare struct {
	buf  []byte
	r, w int
}

var spares = sync.Pool{New: func() any { return &spare{buf: make([]byte, 0)} }}

// take moves bytes to p.
func (s *spare) take(p []byte) int {
	if s == nil {
		return 0
	}
	n := copy(p, s.buf[s.r:s.w])
	s.r += n
	return n
}

// bytes are what is held.
func (s *spare) bytes() []byte {
	if s == nil {
		return nil
	}
	return s.buf[s.r:s.w]
}

// putBack puts b in front of what is held.
func (s *spare) putBack(b []byte) *spare {
	if len(b) == 0 {
		return s
	}
	if s == nil {
		s = spares.Get().(*spare)
		s.r, s.w = 0, 0
	}
	if s.r >= len(b) { // the usual case with held bytes: b was just taken from here
		s.r -= len(b)
		copy(s.buf[s.r:], b)
		return s
	}
	held := s.w - s.r
	if len(s.buf) < len(b)+held {
		grown := make([]byte, len(b)+held)
		copy(grown[len(b):], s.buf[s.r:s.w])
		s.buf = grown
	} else {
		copy(s.buf[len(b):], s.buf[s.r:s.w])
	}
	copy(s.buf, b)
	s.r, s.w = 0, len(b)+held
	return s
}

// release gives an empty spare back to the pool; one that holds bytes is kept.
func (s *spare) release() *spare {
	if s == nil {
		return nil
	}
	if s.r < s.w {
		return s
	}
	if cap(s.buf) <= 64<<10 {
		spares.Put(s)
	}
	return nil
}

var headEnd = []byte("\r\n\r\n")

// terminator finds the end of a head, CRLF CRLF, in a stream of pieces. Its value is how much of it the last piece ended with.
type terminator uint8

// find gives the offset after the terminator, -1 when p does not complete one.
func (t *terminator) find(p []byte) int {
	i := 0
	for *t > 0 && i < len(p) {
		if t.next(p[i]); *t == 4 {
			*t = 0
			return i + 1
		}
		i++
	}
	if i < len(p) {
		if at := bytes.Index(p[i:], headEnd); at >= 0 {
			return i + at + len(headEnd)
		}
		for _, b := range p[max(i, len(p)-3):] {
			t.next(b)
		}
	}
	return -1
}

func (t *terminator) next(b byte) {
	switch {
	case b == headEnd[*t]:
		*t++
	case b == '\r':
		*t = 1
	default:
		*t = 0
	}
}
