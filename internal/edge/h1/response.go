package h1

import (
	"io"

	"github.com/valyala/fasthttp"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// inPlace is the largest body that fasthttp's write buffer takes together with a usual head.
const inPlace = 3 << 10

// response is pipeline.Response over fasthttp's.
type response struct {
	ex     *exchange
	fast   *fasthttp.Response
	stream stream
	splice splice
	final  int   // the status that was rendered
	length int64 // of a body in memory that was rendered
	last   bool  // the connection closes after this answer
}

func (r *response) begin(fast *fasthttp.Response) {
	r.fast, r.final, r.length, r.last, r.splice.on = fast, 0, 0, false, false
}

func (r *response) end() {
	if r.fast.BodyStream() != nil { // writing it panicked: fasthttp must not close it when it is somebody else's
		_ = r.fast.CloseBodyStream()
	}
	r.stream.release()
	r.fast = nil
}

// FastHTTP gives the response itself, so that an upstream of the same codec can parse its answer's head straight into it.
// Bodies go through SetBody and SetStream, and it must not be reset: Reset does that.
func (r *response) FastHTTP() *fasthttp.Response {
	r.unsplice()
	return r.fast
}

// Status gives the status.
func (r *response) Status() int {
	if r.splice.on {
		return r.splice.status
	}
	return r.fast.StatusCode()
}

// SetStatus sets the status.
func (r *response) SetStatus(code int) {
	r.unsplice()
	r.fast.SetStatusCode(code)
}

// Header gives the first value of a field.
func (r *response) Header(name string) []byte {
	if r.splice.on {
		v, _ := r.splice.find(name)
		return v
	}
	if v := r.fast.Header.Peek(name); len(v) > 0 {
		return v
	}
	for k, v := range r.fast.Header.All() {
		if wire.EqualFold(k, name) {
			return v
		}
	}
	return nil
}

// Set replaces all fields of that name, a single one in its place.
func (r *response) Set(name string, value []byte) {
	if r.splice.on {
		if _, found := r.splice.find(name); !found && r.splice.add(name, value) {
			return
		}
		r.unsplice()
	}
	h, found := &r.fast.Header, 0
	var key []byte
	for k := range h.All() {
		if wire.EqualFold(k, name) {
			key = k
			found++
		}
	}
	switch {
	case found == 1 && !wire.EqualFold(key, "Date"):
		h.SetBytesKV(key, value)
		return
	case found > 0:
		r.Del(name)
	}
	r.Add(name, value)
}

// Add appends a field. fasthttp would ignore a Date.
func (r *response) Add(name string, value []byte) {
	if r.splice.on && r.splice.add(name, value) {
		return
	}
	r.unsplice()
	if len(name) == len("Date") && wire.EqualFold([]byte(name), "Date") {
		addDate(&r.fast.Header, value)
		return
	}
	r.fast.Header.AddBytesV(name, value)
}

// Del removes all fields of that name, however they are written.
func (r *response) Del(name string) {
	if r.splice.on {
		if _, found := r.splice.find(name); !found {
			return
		}
		r.unsplice()
	}
	h := &r.fast.Header
	for again := true; again; {
		again = false
		for k := range h.All() {
			if wire.EqualFold(k, name) {
				h.DelBytes(k)
				again = h.Len() > 0
				break
			}
		}
	}
}

// EachField gives all fields.
func (r *response) EachField(f func(name, value []byte)) {
	if r.splice.on {
		r.splice.each(f)
		return
	}
	for k, v := range r.fast.Header.All() {
		f(k, v)
	}
}

// HasAny looks at each field once.
func (r *response) HasAny(names pipeline.Names) bool {
	if r.splice.on {
		return r.splice.hasAny(names)
	}
	for k := range r.fast.Header.All() {
		if names.Has(k) {
			return true
		}
	}
	return false
}

// SetBody copies b. What is too long for fasthttp's buffer becomes a stream from memory, written at once with the head.
func (r *response) SetBody(b []byte) {
	r.unsplice()
	r.fast.ResetBody()
	if len(b) <= inPlace {
		r.fast.SetBody(b)
		return
	}
	r.stream.fromMemory(b)
	r.fast.SetBodyStream(&r.stream, len(b))
}

// SetStream has the body read from src when the head is out.
func (r *response) SetStream(src io.ReadCloser, n int64) {
	r.unsplice()
	r.fast.ResetBody()
	r.stream.fromReader(src, n)
	r.fast.SetBodyStream(&r.stream, int(n))
}

// Buffer takes the body into memory if it is at most max bytes long.
func (r *response) Buffer(max int64) ([]byte, bool, error) {
	if r.splice.on {
		b := r.splice.buf[r.splice.body:]
		return b, int64(len(b)) <= max, nil
	}
	if r.fast.BodyStream() == nil {
		b := r.fast.Body()
		return b, int64(len(b)) <= max, nil
	}
	return r.stream.buffer(max)
}

// Reset makes it an empty 200.
func (r *response) Reset() {
	r.splice.on = false
	r.fast.ResetBody()
	r.ex.edge.blank.CopyTo(&r.fast.Header)
	if r.last {
		r.fast.Header.SetConnectionClose()
	}
}

// sent is how much of the body went out, as far as is known here.
func (r *response) sent() int64 {
	if r.ex.conn.failed || r.ex.conn.mute {
		return r.stream.sent
	}
	return r.length + r.stream.sent
}

var _ pipeline.Response = (*response)(nil)
