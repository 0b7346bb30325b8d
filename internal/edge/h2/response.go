package h2

import (
	"bytes"
	"errors"
	"io"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// response is pipeline.Response: fields as offsets into one text, which becomes net/http's map when it is sent.
type response struct {
	status int
	text   []byte
	fields []field
	body   []byte
	stream io.ReadCloser // what follows body; nil: nothing
	size   int64         // of body and stream; -1: not known
	final  int           // the status that was sent
	err    error         // sending it failed
}

type field struct{ name, nameEnd, value, valueEnd uint32 }

func (r *response) begin() {
	r.clear()
	r.final, r.err = 0, nil
}

func (r *response) clear() {
	r.status, r.text, r.fields, r.body, r.size = 200, r.text[:0], r.fields[:0], r.body[:0], 0
}

func (r *response) end() {
	r.drop()
	if cap(r.body) > maxKept {
		r.body = nil
	}
	if cap(r.text) > maxKept {
		r.text = nil
	}
}

// drop closes a stream.
func (r *response) drop() {
	if s := r.stream; s != nil {
		r.stream = nil
		_ = s.Close()
	}
}

func (r *response) nameOf(f *field) []byte  { return r.text[f.name:f.nameEnd:f.nameEnd] }
func (r *response) valueOf(f *field) []byte { return r.text[f.value:f.valueEnd:f.valueEnd] }

// Status gives the status.
func (r *response) Status() int { return r.status }

// SetStatus sets the status.
func (r *response) SetStatus(code int) { r.status = code }

// Header gives the first value of a field.
func (r *response) Header(name string) []byte {
	for i := range r.fields {
		if f := &r.fields[i]; wire.EqualFold(r.nameOf(f), name) {
			return r.valueOf(f)
		}
	}
	return nil
}

// Set replaces all fields of that name, the first one in its place.
func (r *response) Set(name string, value []byte) {
	for i := range r.fields {
		if f := &r.fields[i]; wire.EqualFold(r.nameOf(f), name) {
			f.value, f.valueEnd = r.put(value)
			r.remove(name, i+1)
			return
		}
	}
	r.Add(name, value)
}

func (r *response) put(b []byte) (from, to uint32) {
	from = uint32(len(r.text))
	r.text = append(r.text, b...)
	return from, uint32(len(r.text))
}

// Add appends a field.
func (r *response) Add(name string, value []byte) {
	var f field
	f.name = uint32(len(r.text))
	r.text = append(r.text, name...)
	f.nameEnd = uint32(len(r.text))
	f.value, f.valueEnd = r.put(value)
	r.fields = append(r.fields, f)
}

// Del removes all fields of that name.
func (r *response) Del(name string) { r.remove(name, 0) }

func (r *response) remove(name string, from int) {
	kept := r.fields[:from]
	for i := from; i < len(r.fields); i++ {
		if f := r.fields[i]; !wire.EqualFold(r.nameOf(&f), name) {
			kept = append(kept, f)
		}
	}
	r.fields = kept
}

// EachField gives all fields.
func (r *response) EachField(f func(name, value []byte)) {
	for i := range r.fields {
		f(r.nameOf(&r.fields[i]), r.valueOf(&r.fields[i]))
	}
}

// HasAny looks at each field once.
func (r *response) HasAny(names pipeline.Names) bool {
	for i := range r.fields {
		if names.Has(r.nameOf(&r.fields[i])) {
			return true
		}
	}
	return false
}

// SetBody copies b, which may be what Buffer gave.
func (r *response) SetBody(b []byte) {
	r.drop()
	r.body = append(r.body[:0], b...)
	r.size = int64(len(b))
}

// SetStream has the body read from src when the head is out.
func (r *response) SetStream(src io.ReadCloser, n int64) {
	r.drop()
	r.body, r.stream, r.size = r.body[:0], src, n
}

// Buffer takes the body into memory if it is at most max bytes long.
func (r *response) Buffer(max int64) ([]byte, bool, error) {
	if r.size > max {
		return nil, false, nil
	}
	for r.stream != nil && int64(len(r.body)) <= max {
		if len(r.body) == cap(r.body) {
			r.body = append(r.body, make([]byte, min(len(r.body)+4<<10, int(max)+1))...)[:len(r.body)]
		}
		room := r.body[len(r.body):cap(r.body)]
		n, err := r.stream.Read(room[:min(int64(len(room)), max+1-int64(len(r.body)))])
		r.body = r.body[:len(r.body)+n]
		if err == io.EOF && (r.size < 0 || int64(len(r.body)) == r.size) {
			r.drop()
			r.size = int64(len(r.body))
			break
		}
		switch {
		case errors.Is(err, pipeline.ErrPending):
			return nil, false, nil
		case err == io.EOF:
			return nil, false, io.ErrUnexpectedEOF
		case err != nil:
			return nil, false, err
		}
	}
	if int64(len(r.body)) > max || r.stream != nil {
		return nil, false, nil
	}
	return r.body, true, nil
}

// Reset makes it an empty 200.
func (r *response) Reset() {
	r.drop()
	r.clear()
}

// Splice takes an answer whole: head is its status line and field lines, each with CRLF, free of what belongs to one
// connection and checked byte by byte, with a Content-Length that is the body's.
func (r *response) Splice(status int, head, body []byte) bool {
	r.Reset()
	r.status = status
	_, lines, _ := bytes.Cut(head, []byte{'\n'})
	for len(lines) > 0 {
		var line []byte
		line, lines, _ = bytes.Cut(lines, []byte{'\n'})
		line = bytes.TrimSuffix(line, []byte{'\r'})
		colon := bytes.IndexByte(line, ':')
		if colon < 0 || wire.EqualFold(line[:colon], "Content-Length") {
			continue
		}
		var f field
		f.name, f.nameEnd = r.put(line[:colon])
		f.value, f.valueEnd = r.put(bytes.Trim(line[colon+1:], " \t"))
		r.fields = append(r.fields, f)
	}
	r.SetBody(body)
	return true
}

var _ pipeline.Response = (*response)(nil)
