package h2

import (
	"io"
	"net/http"
	"strings"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// request is pipeline.Request over net/http's. Its head is written down as the lines that an HTTP/1.1 client would have sent,
// so that one set of rules judges both.
type request struct {
	edge.View
	ex       *exchange
	target   []byte
	raw      []byte // the lines
	taken    int64  // bytes of content so far
	over     error  // how the body ended; nil: not yet
	buf      []byte
	whole    bool  // buf is all of the body
	collects bool  // the whole body is being read
	keeps    int64 // what is read is kept up to so many bytes
	at       int   // how much of buf the reader has given
	pauses   *pauses
}

const (
	hostField = "Host"
	maxKept   = 64 << 10 // larger buffers are not kept for the next exchange
)

// begin writes the head down and checks it.
func (r *request) begin(q *http.Request, lim *limits) error {
	r.Renew(append(r.Verb[:0], q.Method...), lim.body)
	r.target = append(r.target[:0], q.RequestURI...)
	r.taken, r.over, r.whole, r.at, r.pauses, r.keeps = 0, nil, false, 0, nil, 0
	r.buf = nil
	if q.ContentLength == 0 {
		r.over = io.EOF
	}
	if len(q.Trailer) > 0 {
		r.ex.RequestTrailers = &pipeline.Trailers{}
		for name := range q.Trailer {
			if wire.TrailerAllowed([]byte(name)) && !strings.Contains(name, "_") {
				r.ex.RequestTrailers.Announce(name)
			}
		}
	}
	r.raw = appendLines(r.raw[:0], q)
	err := r.Head.Check(r.Verb, r.target, http11, r.raw, wire.Limits{Headers: lim.headers})
	if size := len(r.Verb) + len(r.target) + len("  HTTP/1.1\r\n") + len(r.raw); size > lim.header {
		err = wire.HeaderTooLarge // first, as an HTTP/1.1 edge reads no further
	}
	if err == nil && (!agrees(q) || r.target[0] != '/') { // :path is a path, never a URI (RFC 9113 8.3.1)
		err = wire.BadRequest
	}
	return err
}

var http11 = []byte("HTTP/1.1")

func appendLines(raw []byte, q *http.Request) []byte {
	raw = appendLine(raw, hostField, q.Host)
	for name, values := range q.Header {
		if name == hostField {
			continue
		}
		for _, value := range values {
			raw = appendLine(raw, name, value)
		}
	}
	if _, said := q.Header["Content-Length"]; !said && q.ContentLength < 0 {
		raw = appendLine(raw, "Transfer-Encoding", "chunked")
	}
	return append(raw, "\r\n"...)
}

func appendLine(raw []byte, name, value string) []byte {
	raw = append(raw, name...)
	raw = append(raw, ':', ' ')
	raw = append(raw, value...)
	return append(raw, '\r', '\n')
}

// agrees reports that nothing is said twice and differently: Host beside :authority, a length beside no body.
func agrees(q *http.Request) bool {
	for _, host := range q.Header[hostField] {
		if !wire.EqualFold([]byte(host), q.Host) {
			return false
		}
	}
	if said := q.Header["Content-Length"]; len(said) > 0 && q.ContentLength == 0 {
		for _, c := range []byte(said[0]) {
			if c != '0' {
				return false
			}
		}
	}
	return len(q.Header[hostField]) <= 1
}

func (r *request) end() {
	if r.buf != nil {
		r.ex.edge.memory.Free(r.buf)
	}
	r.buf = nil
	if cap(r.raw) > maxKept {
		r.raw = nil
	}
	if cap(r.target) > maxKept {
		r.target = nil
	}
}
