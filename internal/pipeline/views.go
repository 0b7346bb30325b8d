package pipeline

import (
	"errors"
	"io"
	"strings"
)

// ErrPending is what reading a stream gives once the deadline has passed while a claim is held (Keyed): more may come, and
// can be read when the claim is settled, but a claim must not wait for it.
var ErrPending = errors.New("pipeline: the body is not whole by the deadline")

// Request is the view that layers have of a request. All []byte results are borrowed. Field names are compared without
// regard to case; fields that hygiene or Strip dropped are not seen by anybody.
type Request interface {
	Method() []byte
	Host() []byte      // the effective host, lower case, without port
	Authority() []byte // host and port as received
	Path() []byte      // the canonical path, the only one that is matched, authorised and forwarded
	Query() []byte     // as sent, without '?'; nil when there was no '?', empty for a bare one

	Header(name string) []byte // first value; nil when absent, not nil when empty
	Fields() int
	Field(i int) (name, value []byte) // as sent, in order, repetitions kept; name is nil for a dropped field
	Strip(names Names)                // drops every field whose name the set holds

	ContentLength() int64                // -1: not known (chunked); 0: no body
	LimitBody(max int64)                 // reading further gives TooLarge
	Body() io.Reader                     // nil when there is none; from the start again after Buffer
	Buffer(max int64) ([]byte, error)    // the whole body; TooLarge above max; may be called again
	Buffered() (body []byte, whole bool) // whole: the body is in memory and can be sent again
}

// Response is the view of an answer under construction.
type Response interface {
	Status() int
	SetStatus(code int)
	Header(name string) []byte
	Set(name string, value []byte) // replaces all fields of that name; copies value
	Add(name string, value []byte) // copies value
	Del(name string)
	EachField(f func(name, value []byte)) // cold paths only
	HasAny(names Names) bool              // whether a field is there whose name the set holds

	SetBody(b []byte)                       // copies
	SetStream(body io.ReadCloser, n int64)  // n -1: length not known; closed by the edge in every case
	Buffer(max int64) ([]byte, bool, error) // the body if it is at most max bytes and not ErrPending, true; else it stays a stream, false
	Reset()                                 // status, fields and body; closes a stream
}

// Names is a set of field names; Has compares without regard to case, and '_' equals '-'.
type Names interface{ Has(name []byte) bool }

// Outgoing is how the head that goes upstream differs from the head that came in. The end removes hop-by-hop fields and sets
// X-Request-Id, traceparent and X-Forwarded-*; layers say the rest here.
type Outgoing struct {
	Host          []byte  // nil: as received
	Path          []byte  // nil: the canonical path
	Authorization bool    // pass the client's Authorization and DPoP on
	fields        []Field // kept from request to request
}

const maxOutgoing = 24

// Field is one header field to send.
type Field struct {
	Name  string
	Value []byte // nil: remove what the client sent
}

func (o *Outgoing) reset() {
	clear(o.fields)
	o.Host, o.Path, o.Authorization, o.fields = nil, nil, false, o.fields[:0]
}

// Set replaces all fields of that name, however it is written, by one. value is borrowed until the exchange ends. Past 24 names false is returned
// and nothing is set: the caller refuses.
func (o *Outgoing) Set(name string, value []byte) bool {
	for i := range o.fields {
		if len(o.fields[i].Name) == len(name) && strings.EqualFold(o.fields[i].Name, name) {
			o.fields[i].Value = value
			return true
		}
	}
	if len(o.fields) == maxOutgoing {
		return false
	}
	if cap(o.fields) == 0 {
		o.fields = make([]Field, 0, maxOutgoing)
	}
	o.fields = append(o.fields, Field{name, value})
	return true
}

// Remove has no field of that name sent.
func (o *Outgoing) Remove(name string) bool { return o.Set(name, nil) }

// Fields are the changes so far.
func (o *Outgoing) Fields() []Field { return o.fields }

// Params are the values of path parameters, borrowed from the path. Names belong to the route.
type Params struct {
	Names  []string
	Values [8][]byte
}

// Get gives the value of a parameter, nil when the route has none of that name.
func (p *Params) Get(name string) []byte {
	for i, n := range p.Names {
		if n == name {
			return p.Values[i]
		}
	}
	return nil
}
