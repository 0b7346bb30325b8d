package pipeline

import (
	"bytes"
	"io"
	"slices"
)

// Detached is a copy of an exchange that owns all its bytes: what is sent beside the exchange itself, as a hedge or to a
// mirror, and may outlive it. Its request is the original's with its body, if any, in memory; its answer stays with it. It
// has no Liveness: whoever made it ends it by its context and its Deadline.
type Detached struct {
	Exchange
	request  detachedRequest
	response MemoryResponse
}

// Detach copies x as it stands. body is copied, too; nil: the request has none. What x has registered with AtEnd is not taken
// over; the owner calls Finish.
func (x *Exchange) Detach(body []byte) *Detached {
	d := &Detached{response: MemoryResponse{status: 200}}
	d.request.copyFrom(x.Request, body)
	d.Begin(&d.request, &d.response, nil)
	d.Peer, d.PeerIP, d.ClientIP, d.Secure, d.TLS = x.Peer, bytes.Clone(x.PeerIP), x.ClientIP, x.Secure, x.TLS
	d.Hops, d.Asked, d.ID = bytes.Clone(x.Hops), bytes.Clone(x.Asked), bytes.Clone(x.ID)
	d.Trace, d.HTTP2 = x.Trace, x.HTTP2
	d.Trace.State = bytes.Clone(x.Trace.State)
	d.Start, d.Deadline = x.Start, x.Deadline
	d.Route, d.Client = x.Route, x.Client
	d.Params.Names = x.Params.Names
	for i := range x.Params.Names {
		d.Params.Values[i] = bytes.Clone(x.Params.Values[i])
	}
	d.Outgoing.Host, d.Outgoing.Path = bytes.Clone(x.Outgoing.Host), bytes.Clone(x.Outgoing.Path)
	d.Outgoing.Authorization = x.Outgoing.Authorization
	for _, f := range x.Outgoing.Fields() {
		d.Outgoing.Set(f.Name, bytes.Clone(f.Value))
	}
	return d
}

// Deliver moves the answer of d into x: status, fields and body, what d says of its attempt, and what d has registered with
// AtEnd. A stream goes along and is closed by x's edge; it sees x's client leave.
func (d *Detached) Deliver(x *Exchange) {
	r := &d.response
	x.Response.SetStatus(r.status)
	for _, f := range r.fields {
		x.Response.Add(f.name, []byte(f.value))
	}
	if r.stream != nil {
		x.Response.SetStream(r.stream, r.length)
		r.stream = nil
	} else {
		x.Response.SetBody(r.body)
	}
	x.Effect, x.Trailers = max(x.Effect, d.Effect), d.Trailers
	x.Attempt.Join(d.Attempt)
	d.liveness = x.liveness
	x.AtEnd(func(x *Exchange, end End) {
		x.Attempt.Broken = d.Attempt.Broken
		d.Finish(end)
	})
}

// detachedRequest is the request of a Detached.
type detachedRequest struct {
	method, host, authority, path, query []byte

	fields []detachedField
	body   []byte
	length int64 // 0: none
	limit  int64 // -1: none
}

type detachedField struct{ name, value []byte }

func (r *detachedRequest) copyFrom(from Request, body []byte) {
	r.method, r.host, r.authority = bytes.Clone(from.Method()), bytes.Clone(from.Host()), bytes.Clone(from.Authority())
	r.path, r.query = bytes.Clone(from.Path()), bytes.Clone(from.Query())
	r.fields = make([]detachedField, 0, from.Fields())
	for i := range from.Fields() {
		if name, value := from.Field(i); name != nil {
			r.fields = append(r.fields, detachedField{bytes.Clone(name), nonNil(value)})
		}
	}
	r.body, r.length, r.limit = bytes.Clone(body), int64(len(body)), -1
}

// nonNil is a copy that is nil for nothing: an empty field is not an absent one.
func nonNil(b []byte) []byte { return append([]byte{}, b...) }

// Method implements Request.
func (r *detachedRequest) Method() []byte { return r.method }

// Host implements Request.
func (r *detachedRequest) Host() []byte { return r.host }

// Authority implements Request.
func (r *detachedRequest) Authority() []byte { return r.authority }

// Path implements Request.
func (r *detachedRequest) Path() []byte { return r.path }

// Query implements Request.
func (r *detachedRequest) Query() []byte { return r.query }

// Header implements Request.
func (r *detachedRequest) Header(name string) []byte {
	for _, f := range r.fields {
		if bytes.EqualFold(f.name, []byte(name)) {
			return f.value
		}
	}
	return nil
}

// Fields implements Request.
func (r *detachedRequest) Fields() int { return len(r.fields) }

// Field implements Request.
func (r *detachedRequest) Field(i int) (name, value []byte) {
	return r.fields[i].name, r.fields[i].value
}

// Strip implements Request.
func (r *detachedRequest) Strip(names Names) {
	r.fields = slices.DeleteFunc(r.fields, func(f detachedField) bool { return names.Has(f.name) })
}

// ContentLength implements Request.
func (r *detachedRequest) ContentLength() int64 { return r.length }

// LimitBody implements Request.
func (r *detachedRequest) LimitBody(max int64) { r.limit = max }

// Body implements Request.
func (r *detachedRequest) Body() io.Reader {
	if r.length == 0 {
		return nil
	}
	return bytes.NewReader(r.body)
}

// Buffer implements Request.
func (r *detachedRequest) Buffer(max int64) ([]byte, error) {
	if r.length > max || r.limit >= 0 && r.length > r.limit {
		return nil, TooLarge
	}
	return r.body, nil
}

// Buffered implements Request.
func (r *detachedRequest) Buffered() (body []byte, whole bool) { return r.body, true }
