package pipeline

import (
	"io"
	"strings"
)

// MemoryRequest is the request of a Memory.
type MemoryRequest struct {
	method, authority, path string
	query                   []byte
	fields                  []memoryField

	content []byte
	length  int64
	limit   int64
	fail    error
	read    int // bytes that were taken so far
	whole   bool
}

type memoryField struct {
	name, value string
	dropped     bool
}

func newMemoryRequest(method, target string) *MemoryRequest {
	r := &MemoryRequest{method: method, authority: "api.example.com", limit: -1}
	if _, rest, ok := strings.Cut(target, "://"); ok {
		r.authority, target, _ = strings.Cut(rest, "/")
		target = "/" + target
	}
	path, query, ok := strings.Cut(target, "?")
	if ok {
		r.query = []byte(query)
	}
	r.path = path
	return r
}

// Method implements Request.
func (r *MemoryRequest) Method() []byte { return []byte(r.method) }

// Host implements Request.
func (r *MemoryRequest) Host() []byte {
	host := strings.ToLower(r.authority)
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		host = host[:i]
	}
	return []byte(host)
}

// Authority implements Request.
func (r *MemoryRequest) Authority() []byte { return []byte(r.authority) }

// Path implements Request. The target's path is taken as it was given.
func (r *MemoryRequest) Path() []byte { return []byte(r.path) }

// Query implements Request.
func (r *MemoryRequest) Query() []byte { return r.query }

// Header implements Request.
func (r *MemoryRequest) Header(name string) []byte {
	for _, f := range r.fields {
		if !f.dropped && strings.EqualFold(f.name, name) {
			return []byte(f.value)
		}
	}
	return nil
}

// Fields implements Request.
func (r *MemoryRequest) Fields() int { return len(r.fields) }

// Field implements Request.
func (r *MemoryRequest) Field(i int) (name, value []byte) {
	if r.fields[i].dropped {
		return nil, nil
	}
	return []byte(r.fields[i].name), []byte(r.fields[i].value)
}

// Strip implements Request.
func (r *MemoryRequest) Strip(names Names) {
	for i := range r.fields {
		if names.Has([]byte(r.fields[i].name)) {
			r.fields[i].dropped = true
		}
	}
}

// ContentLength implements Request.
func (r *MemoryRequest) ContentLength() int64 { return r.length }

// LimitBody implements Request.
func (r *MemoryRequest) LimitBody(max int64) { r.limit = max }

// Body implements Request.
func (r *MemoryRequest) Body() io.Reader {
	if r.length == 0 {
		return nil
	}
	if r.whole {
		r.read = 0
	}
	return memoryBody{r}
}

// Buffer implements Request.
func (r *MemoryRequest) Buffer(max int64) ([]byte, error) {
	switch {
	case r.whole:
	case r.limit >= 0 && int64(len(r.content)) > r.limit:
		return nil, TooLarge
	case r.fail != nil:
		return nil, r.fail
	}
	if int64(len(r.content)) > max {
		return nil, TooLarge
	}
	r.whole = true
	return r.content, nil
}

// Buffered implements Request.
func (r *MemoryRequest) Buffered() (body []byte, whole bool) {
	if r.length == 0 {
		return nil, true
	}
	if !r.whole {
		return nil, false
	}
	return r.content, true
}

// Read reports how many bytes of the body were taken through Body since it was last handed out.
func (r *MemoryRequest) Read() int { return r.read }

type memoryBody struct{ r *MemoryRequest }

func (b memoryBody) Read(p []byte) (int, error) {
	r := b.r
	left := r.content[r.read:]
	if r.limit >= 0 && int64(r.read+len(left)) > r.limit {
		left = left[:max(0, int(r.limit)-r.read)]
		if len(left) == 0 {
			return 0, TooLarge
		}
	}
	if len(left) == 0 {
		if r.fail != nil {
			return 0, r.fail
		}
		return 0, io.EOF
	}
	n := copy(p, left)
	r.read += n
	return n, nil
}
