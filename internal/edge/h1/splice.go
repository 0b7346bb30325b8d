package h1

import (
	"bytes"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

const (
	spliceHead  = 4 << 10  // longer heads go through fasthttp
	spliceBody  = 16 << 10 // the same for bodies
	spliceLines = 64       // the same for heads with more lines
	spliceExtra = 1 << 10  // what layers and the edge may add to the head
)

// splice is an answer that is passed on as it came: the lines of its head and its body, without being taken apart and put
// together again. Layers may look at it and add fields; whatever else they do turns it into fasthttp's form (unsplice).
type splice struct {
	on     bool
	dated  bool
	status int
	head   int    // buf[:head] are the status line and the fields
	body   int    // buf[body:] is the body; what is between is room for extra
	buf    []byte // kept for the next exchange
	lines  int    // of the head, the first one included
	starts [spliceLines]uint16
	extra  []byte // lines to add
}

// Splice takes an answer whole: head is its status line and field lines, each with CRLF, free of what belongs to one
// connection and checked byte by byte, with a Content-Length that is the body's. Both are copied. False: the answer has to
// be given field by field.
func (r *response) Splice(status int, head, body []byte) bool {
	if len(head) > spliceHead || len(body) > spliceBody || r.ex.isHead() || r.ex.req.Head.HTTP10() || bodyless(status) {
		return false
	}
	if len(head) <= len("HTTP/1.1 200 ") || head[len("HTTP/1.1 200")] != ' ' {
		return false // without a reason the blank may be missing, too, which not every client takes
	}
	r.fast.ResetBody()
	s := &r.splice
	s.dated, s.status, s.extra = false, status, s.extra[:0]
	s.body = len(head) + spliceExtra
	if size := s.body + len(body); cap(s.buf) < size {
		s.buf = make([]byte, max(size, 4<<10))
	}
	s.buf = s.buf[:s.body+len(body)]
	copy(s.buf[s.body:], body)
	s.on = s.copyHead(head)
	return s.on
}

// copyHead leaves the upstream's request id out: the answer has ours. False: there are too many lines.
func (s *splice) copyHead(head []byte) bool {
	s.head, s.lines = 0, 0
	for at := 0; at < len(head); {
		next := at + bytes.IndexByte(head[at:], '\n') + 1
		line := head[at:next]
		at = next
		if isField(line, "X-Request-Id") {
			continue
		}
		if s.lines == len(s.starts) {
			return false
		}
		s.dated = s.dated || isField(line, "Date")
		s.starts[s.lines] = uint16(s.head)
		s.lines++
		s.head += copy(s.buf[s.head:], line)
	}
	return s.lines > 0
}

// line gives a line of the head without its end.
func (s *splice) line(i int) []byte {
	end := s.head
	if i+1 < s.lines {
		end = int(s.starts[i+1])
	}
	return s.buf[s.starts[i] : end-2]
}

// isField reports whether a line is a field of this name.
func isField(line []byte, name string) bool {
	return len(line) > len(name) && line[len(name)] == ':' && wire.EqualFold(line[:len(name)], name)
}

// trimmed cuts blanks off; what is left is empty but not nil.
func trimmed(value []byte) []byte {
	for len(value) > 0 && (value[0] == ' ' || value[0] == '\t') {
		value = value[1:]
	}
	for len(value) > 0 && (value[len(value)-1] == ' ' || value[len(value)-1] == '\t') {
		value = value[:len(value)-1]
	}
	return value
}

// each gives the fields.
func (s *splice) each(f func(name, value []byte)) {
	for i := 1; i < s.lines; i++ {
		name, value, _ := bytes.Cut(s.line(i), []byte{':'})
		f(name, trimmed(value))
	}
	for lines := s.extra; len(lines) > 0; {
		var line []byte
		line, lines, _ = bytes.Cut(lines, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte{':'})
		f(name, trimmed(value))
	}
}

// find gives the first value of a field.
func (s *splice) find(wanted string) (value []byte, found bool) {
	for i := 1; i < s.lines; i++ {
		if line := s.line(i); isField(line, wanted) {
			return trimmed(line[len(wanted)+1:]), true
		}
	}
	for lines := s.extra; len(lines) > 0; {
		var line []byte
		if line, lines, _ = bytes.Cut(lines, []byte("\r\n")); isField(line, wanted) {
			return trimmed(line[len(wanted)+1:]), true
		}
	}
	return nil, false
}

// hasAny reports whether a field is there whose name the set holds.
func (s *splice) hasAny(names pipeline.Names) bool {
	for i := 1; i < s.lines; i++ {
		line := s.line(i)
		if names.Has(line[:max(bytes.IndexByte(line, ':'), 0)]) {
			return true
		}
	}
	for lines := s.extra; len(lines) > 0; {
		if names.Has(lines[:max(bytes.IndexByte(lines, ':'), 0)]) {
			return true
		}
		lines = lines[bytes.IndexByte(lines, '\n')+1:]
	}
	return false
}

// add appends a field; false when it has to be done in fasthttp's form.
func (s *splice) add(name string, value []byte) bool {
	if special(name) || bytes.IndexByte(value, '\n') >= 0 || bytes.IndexByte(value, '\r') >= 0 {
		return false
	}
	s.addLine(name, value)
	return true
}

func (s *splice) addLine(name string, value []byte) {
	s.extra = append(s.extra, name...)
	s.extra = append(s.extra, ':', ' ')
	s.extra = append(s.extra, value...)
	s.extra = append(s.extra, '\r', '\n')
}

// special tells fields that frame the answer, or of which there is one only.
func special(name string) bool {
	switch len(name) {
	case 4, 12, 14:
		n := []byte(name)
		if wire.EqualFold(n, "Date") || wire.EqualFold(n, "X-Request-Id") || wire.EqualFold(n, "Content-Type") || wire.EqualFold(n, "Content-Length") {
			return true
		}
	}
	return wire.HopByHop([]byte(name))
}

// unsplice gives the answer to fasthttp, for layers that change it.
func (r *response) unsplice() {
	s := &r.splice
	if !s.on {
		return
	}
	s.on = false
	h := &r.fast.Header
	h.SetStatusCode(s.status)
	if line := s.line(0); len(line) > len("HTTP/1.1 200 ") {
		h.SetStatusMessage(line[len("HTTP/1.1 200 "):])
	}
	s.each(func(name, value []byte) {
		switch {
		case wire.EqualFold(name, "Content-Length"):
		case wire.EqualFold(name, "Date"):
			addDate(h, value)
		default:
			h.AddBytesKV(name, value)
		}
	})
	r.SetBody(s.buf[s.body:])
}

// writeSpliced sends the answer; fasthttp's own, which is empty, is swallowed then. False: it did not fit.
func (ex *exchange) writeSpliced() bool {
	s, c := &ex.resp.splice, ex.conn
	s.addLine("X-Request-Id", ex.ID)
	if !s.dated {
		s.addLine("Date", dateOf(ex.Start))
	}
	if ex.resp.last {
		s.addLine("Connection", closeOption)
	}
	s.extra = append(s.extra, '\r', '\n')
	from := s.body - len(s.extra) - s.head
	if from < 0 {
		return false
	}
	copy(s.buf[from:], s.buf[:s.head])
	copy(s.buf[from+s.head:], s.extra)
	var now time.Time
	if string(ex.req.Verb) == "GET" { // nothing waits between the upstream's answer and ours
		now = ex.Attempt.At
	}
	_, _ = c.writeAt(s.buf[from:], now) // an error is noted as failed
	c.swallow = true
	return true
}

var closeOption = []byte("close")
