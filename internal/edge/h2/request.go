package h2

import (
	"errors"
	"io"
	"net/http"
	"os"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// request is pipeline.Request over net/http's. Its head is written down as the lines that an HTTP/1.1 client would have sent,
// so that one set of rules judges both.
type request struct {
	ex       *exchange
	head     wire.Head
	method   []byte
	target   []byte
	raw      []byte // the lines
	limit    int64  // of the body
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
	r.method, r.target = append(r.method[:0], q.Method...), append(r.target[:0], q.RequestURI...)
	r.limit, r.taken, r.over, r.whole, r.at, r.pauses, r.keeps = lim.body, 0, nil, false, 0, nil, 0
	r.buf = nil
	if q.ContentLength == 0 {
		r.over = io.EOF
	}
	r.raw = appendLines(r.raw[:0], q)
	err := r.head.Check(r.method, r.target, http11, r.raw, wire.Limits{Headers: lim.headers})
	if size := len(r.method) + len(r.target) + len("  HTTP/1.1\r\n") + len(r.raw); size > lim.header && err == nil {
		err = wire.HeaderTooLarge
	}
	if err == nil && !agrees(q) {
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

func (r *request) Method() []byte                   { return r.method }
func (r *request) Host() []byte                     { return r.head.Host() }
func (r *request) Authority() []byte                { return r.head.Authority() }
func (r *request) Path() []byte                     { return r.head.Path() }
func (r *request) Query() []byte                    { return r.head.Query() }
func (r *request) Header(name string) []byte        { return r.head.Get(name) }
func (r *request) Fields() int                      { return r.head.Len() }
func (r *request) Field(i int) (name, value []byte) { return r.head.At(i) }
func (r *request) ContentLength() int64             { return r.head.ContentLength() }
func (r *request) LimitBody(max int64)              { r.limit = max }

// Strip drops every field that names holds.
func (r *request) Strip(names pipeline.Names) {
	if set, ok := names.(*wire.Names); ok {
		r.head.DropNames(set)
		return
	}
	for i := range r.head.Len() {
		if name, _ := r.head.At(i); name != nil && names.Has(name) {
			r.head.Drop(i)
		}
	}
}

// Body reads the content: what is buffered first, the rest from the stream.
func (r *request) Body() io.Reader {
	if r.head.ContentLength() == 0 {
		return nil
	}
	r.at = 0
	return (*reader)(r)
}

// reader is a request read as a body.
type reader request

// Interrupt has a Read that waits in another goroutine end, and all that follow.
func (b *reader) Interrupt() { _ = b.ex.in.Body.Close() }

func (b *reader) Read(p []byte) (int, error) {
	r := (*request)(b)
	if n := copy(p, r.buf[r.at:]); n > 0 {
		r.at += n
		return n, nil
	}
	if r.whole {
		return 0, io.EOF
	}
	return r.read(p)
}

// read takes content from the stream, at most up to the limit.
func (r *request) read(p []byte) (int, error) {
	if r.over != nil {
		return 0, r.over
	}
	if n := r.head.ContentLength(); n > r.limit {
		return 0, pipeline.TooLarge
	}
	if len(p) == 0 {
		return 0, nil
	}
	room := r.limit - r.taken
	if room > 0 {
		return r.receive(p[:min(int64(len(p)), room)])
	}
	var past [1]byte // at the limit: only the end may follow
	n, err := r.receive(past[:])
	if n > 0 {
		r.over = pipeline.TooLarge
		return 0, r.over
	}
	return 0, err
}

// receive waits for content within the time for a pause. Errors are refusals and stay.
func (r *request) receive(p []byte) (int, error) {
	if r.pauses == nil {
		r.pauses = r.ex.watchRead()
	}
	// Calls of gRPC may rest for as long as both sides like, and pings find dead clients. One that is to be here whole can't wait
	// for an answer.
	streams := !r.collects && pipeline.IsGRPC(r.Header("Content-Type"))
	if !streams {
		r.pauses.begin()
	}
	n, err := r.ex.in.Body.Read(p)
	if !streams {
		r.pauses.end()
	}
	r.taken += int64(n)
	if err != nil {
		r.over = ended(err)
		if err == io.EOF {
			r.ex.takeTrailers()
		}
	}
	r.keep(p[:n])
	return n, r.over
}

// ended is the refusal for how a body ended.
func ended(err error) error {
	switch {
	case err == io.EOF:
		return io.EOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		return pipeline.RequestTimeout
	}
	return pipeline.ClientGone
}

// Buffer takes the whole body into memory.
func (r *request) Buffer(max int64) ([]byte, error) {
	length := r.head.ContentLength()
	switch {
	case length == 0:
		return nil, nil
	case length > min(max, r.limit):
		return nil, pipeline.TooLarge
	case !r.whole:
		if err := r.collect(max); err != nil {
			return nil, err
		}
	}
	if int64(len(r.buf)) > max {
		return nil, pipeline.TooLarge
	}
	return r.buf, nil
}

// collect reads to the end, or to just above max: then what was read stays and Body begins with it.
func (r *request) collect(max int64) error {
	r.collects = true
	defer func() { r.collects = false }()
	max = min(max, r.limit)
	step := r.head.ContentLength()
	if step < 0 {
		step = 4 << 10
	}
	for int64(len(r.buf)) <= max {
		room := 1
		if cap(r.buf) == 0 {
			room = int(step)
		}
		var ok bool
		if r.buf, ok = r.ex.edge.memory.Grow(r.buf, room, max+1); !ok {
			return pipeline.Overloaded
		}
		n, err := r.read(r.buf[len(r.buf):cap(r.buf)])
		r.buf = r.buf[:len(r.buf)+n]
		if err == io.EOF {
			r.whole = true
			return nil
		}
		if err != nil {
			return err
		}
	}
	return pipeline.TooLarge
}

// Buffered gives the body when it is in memory.
func (r *request) Buffered() (body []byte, whole bool) {
	if r.head.ContentLength() == 0 {
		return nil, true
	}
	if !r.whole {
		return nil, false
	}
	return r.buf, true
}
