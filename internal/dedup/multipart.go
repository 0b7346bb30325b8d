package dedup

import (
	"bytes"
	"strings"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// A multipart body is written with a boundary that clients choose afresh for every attempt (RFC 2046, section 5.1.1). A
// repetition with another boundary is the same request, so the boundary is left out of the fingerprint: out of the Content-Type
// and out of the lines that delimit the parts. All else counts byte by byte. Boundaries of parts within parts stay.

// mostBoundary is RFC 2046's bound.
const mostBoundary = 70

// boundary is where the boundary stands in a Content-Type: value[from:to], with its quotes. The text is without them.
type boundary struct {
	text     []byte
	from, to int
}

// multipart finds the boundary of a request's only Content-Type. ok is false for all other requests, and for whatever is in doubt:
// then every byte counts.
func multipart(r pipeline.Request) (b boundary, ok bool) {
	const kind = "multipart/"
	first := r.Header("Content-Type")
	if len(first) < len(kind) || !wire.EqualFold(first[:len(kind)], kind) {
		return boundary{}, false
	}
	value := single(r, "Content-Type")
	at := bytes.IndexByte(value, ';')
	for at >= 0 && at < len(value) {
		name, from, to, next := parameter(value, at+1)
		if next < 0 {
			return boundary{}, false
		}
		if wire.EqualFold(name, "boundary") {
			if ok { // twice: nobody knows which one counts
				return boundary{}, false
			}
			b, ok = boundary{bytes.Trim(value[from:to], `"`), from, to}, true
		}
		at = next
	}
	if !ok || !legal(b.text) {
		return boundary{}, false
	}
	return b, true
}

// parameter reads one parameter from a place behind a semicolon; value[from:to] is what it says, next the place of the next
// semicolon or the end. next is -1 when the text is malformed or escapes anything.
func parameter(value []byte, at int) (name []byte, from, to, next int) {
	is := bytes.IndexByte(value[at:], '=')
	if is < 0 {
		return nil, 0, 0, -1
	}
	name, from = bytes.Trim(value[at:at+is], " \t"), at+is+1
	if from < len(value) && value[from] == '"' {
		end := bytes.IndexByte(value[from+1:], '"')
		if end < 0 || bytes.IndexByte(value[from+1:from+1+end], '\\') >= 0 {
			return nil, 0, 0, -1
		}
		to = from + 1 + end + 1
	} else {
		to = from
		for to < len(value) && value[to] != ';' && value[to] != ' ' && value[to] != '\t' {
			if value[to] == '"' {
				return nil, 0, 0, -1
			}
			to++
		}
	}
	for next = to; next < len(value) && value[next] != ';'; next++ {
		if value[next] != ' ' && value[next] != '\t' {
			return nil, 0, 0, -1
		}
	}
	return name, from, to, next
}

// legal tells whether a boundary is of RFC 2046's characters, space at the end excluded.
func legal(text []byte) bool {
	if len(text) == 0 || len(text) > mostBoundary || text[len(text)-1] == ' ' {
		return false
	}
	for _, c := range text {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && strings.IndexByte(`'()+_,-./:=? `, c) < 0 {
			return false
		}
	}
	return true
}

// multipart adds a body as the texts between its boundaries.
func (d *digest) multipart(body, text []byte) {
	var room [4 + mostBoundary]byte
	line := append(append(room[:0], "\r\n--"...), text...)
	start, at := 0, 0 // of a text, and where to look on
	if bytes.HasPrefix(body, line[2:]) && delimits(body[len(line)-2:]) {
		d.text(body[:2]) // the first line has no line break before it
		start = len(line) - 2
	}
	for at = start; ; {
		found := bytes.Index(body[at:], line)
		if found < 0 {
			break
		}
		at += found + len(line)
		if delimits(body[at:]) { // else it is a longer word that only begins like it
			d.text(body[start : at-len(text)])
			start = at
		}
	}
	d.byte(0)
	d.part(body[start:])
}

// field adds the value of a chosen field, a Content-Type without its boundary.
func (d *digest) field(name string, value []byte, edge boundary) {
	if edge.text != nil && strings.EqualFold(name, "Content-Type") {
		d.byte(2)
		d.part(value[:edge.from])
		d.part(value[edge.to:])
		return
	}
	d.byte(1)
	d.part(value)
}

// text adds what comes before a boundary.
func (d *digest) text(b []byte) {
	d.byte(1)
	d.part(b)
}

// delimits tells whether the rest of a line makes it a delimiter: perhaps two hyphens, and white space.
func delimits(rest []byte) bool {
	rest = bytes.TrimPrefix(rest, []byte("--"))
	rest = bytes.TrimLeft(rest, " \t")
	return len(rest) == 0 || bytes.HasPrefix(rest, []byte("\r\n"))
}
