package h1

import (
	"bytes"
	"errors"

	"github.com/oncegate/oncegate/internal/wire"
)

var (
	errNotHTTP   = errors.New("the answer does not begin like HTTP/1")
	errLongHead  = errors.New("the answer's head is too long")
	errLine      = errors.New("a line of the answer's head is malformed")
	errLength    = errors.New("the answer's Content-Length is malformed or repeated")
	errEncoding  = errors.New("the answer's transfer coding is not chunked, or is beside a Content-Length")
	errStatus    = errors.New("the answer's status is out of range")
	errTooNamed  = errors.New("the answer's Connection field is too long")
	errHeadShape = errors.New("the answer's head can't be passed on")
)

// head is what the exchange has to know of an answer's head. No error quotes the head: it may hold secrets.
type head struct {
	status    int
	fields    []byte // the field lines to pass on, without the empty line; in the connection's buffer
	line      []byte // the status line with its CRLF
	raw       []byte // status line, kept fields and the empty line
	length    int64  // -1: no Content-Length
	chunked   bool
	old       bool // HTTP/1.0
	close     bool
	keep      int  // seconds of Keep-Alive: timeout; -1: none
	encodings int  // Content-Encoding fields
	upgrades  int  // Upgrade fields
	websocket bool // the last of them says websocket
	switches  bool // Connection has upgrade
	dropping  bool
	nnamed    int
	named     [128]byte // what Connection names, each followed by a comma
}

// headEnd gives the length of the head at the front of b, with its empty line; 0 when it is not complete. seen bytes were
// looked at before.
func headEnd(b []byte, seen int) (int, error) {
	const begin = "HTTP/1."
	if n := min(len(b), len(begin)); string(b[:n]) != begin[:n] {
		return 0, errNotHTTP
	}
	from := max(seen-3, 0)
	i := bytes.Index(b[from:], []byte("\r\n\r\n"))
	switch {
	case i >= 0 && from+i+4 <= maxHead:
		return from + i + 4, nil
	case i >= 0 || len(b) >= maxHead:
		return 0, errLongHead
	case bytes.Contains(b[from:], []byte("\n\n")):
		return 0, errLine // it ends in a way that we don't take: nothing more will come
	}
	return 0, nil
}

// peekStatus gives the status of the first final answer whose head is complete in b.
func peekStatus(b []byte) (int, bool) {
	for {
		n, err := headEnd(b, 0)
		if err != nil || n == 0 {
			return 0, false
		}
		var h head
		if h.statusLine(b[:bytes.IndexByte(b, '\n')-1]) != nil {
			return 0, false
		}
		if h.status >= 200 {
			return h.status, true
		}
		b = b[n:]
	}
}

// parse reads a complete head strictly: no folded lines, no bare CR or LF, no space before a colon, one framing. The fields
// that concern the connection only are taken out of b in place.
func (h *head) parse(b []byte) error {
	h.length, h.keep = -1, -1
	end := bytes.IndexByte(b, '\n')
	if b[end-1] != '\r' {
		return errLine
	}
	if err := h.statusLine(b[:end-1]); err != nil {
		return err
	}
	first := end + 1
	for at := first; at < len(b)-2; {
		n := bytes.IndexByte(b[at:], '\n')
		if n < 1 || b[at+n-1] != '\r' {
			return errLine
		}
		if err := h.field(b[at : at+n-1]); err != nil {
			return err
		}
		at += n + 1
	}
	if h.chunked && (h.length >= 0 || h.old) {
		return errEncoding
	}
	last := len(b) - 2
	if h.dropping || h.nnamed > 0 || h.status == 204 {
		last = h.compact(b, first, last)
	}
	copy(b[last:], "\r\n")
	b[len("HTTP/1.")] = '1' // the version is each connection's own
	h.line, h.fields, h.raw = b[:first], b[first:last], b[:last+2]
	return nil
}

// statusLine reads HTTP/1.x, three digits and an optional reason.
func (h *head) statusLine(line []byte) error {
	if len(line) < 12 || line[8] != ' ' || line[7] != '1' && line[7] != '0' || len(line) > 12 && line[12] != ' ' {
		return errLine
	}
	for _, c := range line {
		if !validValue[c] {
			return errLine
		}
	}
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return errStatus
		}
		h.status = h.status*10 + int(c-'0')
	}
	h.old = line[7] == '0'
	if h.status < 100 || h.status > 599 {
		return errStatus
	}
	return nil
}

func (h *head) field(line []byte) error {
	name, value, err := splitField(line)
	if err != nil {
		return err
	}
	switch len(name) {
	case 7:
		if wire.EqualFold(name, "upgrade") {
			h.upgrades++
			h.websocket = wire.EqualFold(value, "websocket")
		}
	case 10:
		if wire.EqualFold(name, "connection") {
			return h.connection(value)
		}
		if wire.EqualFold(name, "keep-alive") {
			h.keep = keepAliveTimeout(value)
		}
	case 14:
		if wire.EqualFold(name, "content-length") {
			return h.contentLength(value)
		}
	case 16:
		if wire.EqualFold(name, "content-encoding") {
			h.encodings++
		}
	case 17:
		if wire.EqualFold(name, "transfer-encoding") {
			if h.chunked || !wire.EqualFold(value, "chunked") {
				return errEncoding
			}
			h.chunked = true
		}
	}
	h.dropping = h.dropping || wire.HopByHop(name)
	return nil
}

func splitField(line []byte) (name, value []byte, err error) {
	colon := bytes.IndexByte(line, ':')
	if colon < 1 {
		return nil, nil, errLine
	}
	name, value = line[:colon], line[colon+1:]
	for _, c := range name {
		if !validName[c] {
			return nil, nil, errLine
		}
	}
	for _, c := range value {
		if !validValue[c] {
			return nil, nil, errLine
		}
	}
	return name, trimSpace(value), nil
}

func trimSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

func (h *head) contentLength(value []byte) error {
	if h.length >= 0 || len(value) == 0 || len(value) > 18 {
		return errLength
	}
	h.length = 0
	for _, c := range value {
		if c < '0' || c > '9' {
			return errLength
		}
		h.length = h.length*10 + int64(c-'0')
	}
	return nil
}
