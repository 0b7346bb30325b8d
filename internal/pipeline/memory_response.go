package pipeline

import (
	"bytes"
	"errors"
	"io"
	"strings"
)

// MemoryResponse is the answer of a Memory.
type MemoryResponse struct {
	status int
	fields []memoryField
	body   []byte

	stream io.ReadCloser
	length int64
	closed int
	resets int
}

// Status implements Response.
func (r *MemoryResponse) Status() int { return r.status }

// SetStatus implements Response.
func (r *MemoryResponse) SetStatus(code int) { r.status = code }

// Header implements Response.
func (r *MemoryResponse) Header(name string) []byte {
	for _, f := range r.fields {
		if strings.EqualFold(f.name, name) {
			return []byte(f.value)
		}
	}
	return nil
}

// Values gives the values of all fields of that name, in order.
func (r *MemoryResponse) Values(name string) []string {
	var all []string
	for _, f := range r.fields {
		if strings.EqualFold(f.name, name) {
			all = append(all, f.value)
		}
	}
	return all
}

// Set implements Response.
func (r *MemoryResponse) Set(name string, value []byte) {
	r.Del(name)
	r.Add(name, value)
}

// Add implements Response.
func (r *MemoryResponse) Add(name string, value []byte) {
	r.fields = append(r.fields, memoryField{name, string(value), false})
}

// Del implements Response.
func (r *MemoryResponse) Del(name string) {
	kept := r.fields[:0]
	for _, f := range r.fields {
		if !strings.EqualFold(f.name, name) {
			kept = append(kept, f)
		}
	}
	r.fields = kept
}

// EachField implements Response.
func (r *MemoryResponse) EachField(f func(name, value []byte)) {
	for _, field := range r.fields {
		f([]byte(field.name), []byte(field.value))
	}
}

// HasAny implements Response.
func (r *MemoryResponse) HasAny(names Names) bool {
	for _, f := range r.fields {
		if names.Has([]byte(f.name)) {
			return true
		}
	}
	return false
}

// SetBody implements Response.
func (r *MemoryResponse) SetBody(b []byte) {
	r.closeStream()
	r.body = bytes.Clone(b)
}

// SetStream implements Response.
func (r *MemoryResponse) SetStream(body io.ReadCloser, n int64) {
	r.closeStream()
	r.body, r.stream, r.length = nil, body, n
}

// Buffer implements Response.
func (r *MemoryResponse) Buffer(max int64) ([]byte, bool, error) {
	if r.stream == nil {
		return r.body, int64(len(r.body)) <= max, nil
	}
	if r.length > max {
		return nil, false, nil
	}
	head, err := io.ReadAll(io.LimitReader(r.stream, max+1))
	pending := errors.Is(err, ErrPending)
	if err != nil && !pending {
		return nil, false, err
	}
	if pending || int64(len(head)) > max {
		r.stream = spliced{io.MultiReader(bytes.NewReader(head), r.stream), r.stream}
		return nil, false, nil
	}
	r.closeStream()
	r.body = head
	return head, true, nil
}

type spliced struct {
	io.Reader
	io.Closer
}

// Reset implements Response.
func (r *MemoryResponse) Reset() {
	r.closeStream()
	r.status, r.fields, r.body = 200, nil, nil
	r.resets++
}

// Body gives the whole body as a client would get it: a stream is read to its end and closed.
func (r *MemoryResponse) Body() []byte {
	b, _ := r.ReadBody()
	return b
}

// ReadBody is Body with the error that a broken stream ends with.
func (r *MemoryResponse) ReadBody() ([]byte, error) {
	if r.stream == nil {
		return r.body, nil
	}
	b, err := io.ReadAll(r.stream)
	r.closeStream()
	r.body = b
	return b, err
}

// Streaming reports that the body is a stream that nobody has read yet.
func (r *MemoryResponse) Streaming() bool { return r.stream != nil }

// StreamClosed tells how many streams were closed so far.
func (r *MemoryResponse) StreamClosed() int { return r.closed }

// Resets tells how often Reset was called.
func (r *MemoryResponse) Resets() int { return r.resets }

func (r *MemoryResponse) closeStream() {
	if r.stream != nil {
		_ = r.stream.Close()
		r.stream = nil
		r.closed++
	}
}
