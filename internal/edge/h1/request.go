package h1

import (
	"bytes"
	"io"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// request is pipeline.Request over the bytes that came in.
type request struct {
	edge.View
	ex    *exchange
	buf   []byte
	owned bool // buf is ours and counts against the budget; else it lies in the connection's spare bytes
	whole bool // buf is all of the body
	at    int  // how much of buf the reader has given
}

func (r *request) begin(method []byte, limit int64) {
	r.Renew(method, limit)
	r.buf, r.owned, r.whole, r.at = nil, false, false, 0
}

func (r *request) end() {
	if r.owned {
		r.ex.edge.memory.Free(r.buf)
	}
	r.buf, r.Verb = nil, nil
}

// Body reads the content: what is buffered first, the rest from the connection.
func (r *request) Body() io.Reader {
	if r.Head.ContentLength() == 0 {
		return nil
	}
	r.at = 0
	return (*reader)(r)
}

// reader is a request read as a body, so that handing it out allocates nothing.
type reader request

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

// read takes content from the connection, at most up to the limit.
func (r *request) read(p []byte) (int, error) {
	c := r.ex.conn
	room := r.Limit - c.body.taken
	if c.body.kind == bodySized && c.body.left > room {
		return 0, pipeline.TooLarge
	}
	if room <= 0 && c.body.err == nil {
		return r.readPast()
	}
	n, err := c.body.read(c, p[:min(int64(len(p)), max(room, 1))])
	if err == io.EOF && len(c.body.chunks.trailers) > 0 {
		r.takeTrailers()
	}
	return n, err
}

// announced takes a Trailer field.
func announced(names []byte) *pipeline.Trailers {
	t := &pipeline.Trailers{}
	for name := range bytes.SplitSeq(names, []byte{','}) {
		if name = bytes.Trim(name, " \t"); wire.TrailerAllowed(name) && bytes.IndexByte(name, '_') < 0 {
			t.Announce(string(name))
		}
	}
	return t
}

// readPast is read at the limit: only the end may follow.
func (r *request) readPast() (int, error) {
	var over [1]byte
	n, err := r.ex.conn.body.read(r.ex.conn, over[:])
	if n > 0 {
		return 0, pipeline.TooLarge
	}
	if err == io.EOF && len(r.ex.conn.body.chunks.trailers) > 0 {
		r.takeTrailers()
	}
	return 0, err
}

// takeTrailers hands on what came after the body, once.
func (r *request) takeTrailers() {
	if r.ex.RequestTrailers == nil {
		r.ex.RequestTrailers = &pipeline.Trailers{}
	}
	r.ex.conn.body.chunks.each(func(name, value []byte) {
		if !r.Strips(name) {
			r.ex.RequestTrailers.Add(string(name), string(value))
		}
	})
	r.ex.conn.body.chunks.trailers = nil
}

// Buffer takes the whole body into memory. Content that came together with the head is used where it lies.
func (r *request) Buffer(max int64) ([]byte, error) {
	length := r.Head.ContentLength()
	switch {
	case length == 0:
		return nil, nil
	case length > min(max, r.Limit):
		return nil, pipeline.TooLarge
	case r.whole:
		return r.upTo(max)
	}
	if content, ok := r.ex.conn.body.whole(r.ex.conn); ok {
		r.buf, r.whole = content, true
		return r.buf, nil
	}
	if err := r.collect(max); err != nil {
		return nil, err
	}
	return r.upTo(max)
}

func (r *request) upTo(max int64) ([]byte, error) {
	if int64(len(r.buf)) > max {
		return nil, pipeline.TooLarge
	}
	return r.buf, nil
}

// collect reads to the end, or to just above max: then what was read stays and Body begins with it.
func (r *request) collect(max int64) (err error) {
	r.owned = true
	r.buf, err = r.ex.edge.memory.Collect(r.buf, (*content)(r), r.Head.ContentLength(), min(max, r.Limit))
	r.whole = err == nil
	return err
}

// content is a request read from the connection only.
type content request

func (c *content) Read(p []byte) (int, error) { return (*request)(c).read(p) }

// Buffered gives the body when it is in memory, which a short one usually is from the start.
func (r *request) Buffered() (body []byte, whole bool) {
	if r.Head.ContentLength() == 0 {
		return nil, true
	}
	if !r.whole && r.buf == nil && r.Head.ContentLength() <= r.Limit {
		if content, ok := r.ex.conn.body.whole(r.ex.conn); ok {
			r.buf, r.whole = content, true
		}
	}
	if !r.whole {
		return nil, false
	}
	return r.buf, true
}
