package h2

import (
	"errors"
	"io"
	"os"
	"strings"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// Body reads the content: what is buffered first, the rest from the stream.
func (r *request) Body() io.Reader {
	if r.Head.ContentLength() == 0 {
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
	if n := r.Head.ContentLength(); n > r.Limit {
		return 0, pipeline.TooLarge
	}
	if len(p) == 0 {
		return 0, nil
	}
	room := r.Limit - r.taken
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
		if err == io.EOF && !r.takeTrailers() {
			r.over = pipeline.BadRequest
		}
	}
	r.keep(p[:n])
	return n, r.over
}

// takeTrailers hands on what came after the body; false when something there belongs in a head. Only what the head announced is
// known: net/http forgets the rest.
func (r *request) takeTrailers() bool {
	for name, values := range r.ex.in.Trailer {
		switch {
		case len(values) == 0:
			continue
		case !wire.TrailerAllowed([]byte(name)):
			return false
		case strings.Contains(name, "_") || r.Strips([]byte(name)):
			continue // '_' is dropped from heads, too
		}
		for _, value := range values {
			r.ex.RequestTrailers.Add(name, strings.Trim(value, " \t"))
		}
	}
	return true
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
	length := r.Head.ContentLength()
	switch {
	case length == 0:
		return nil, nil
	case length > min(max, r.Limit):
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
func (r *request) collect(max int64) (err error) {
	r.collects = true
	r.buf, err = r.ex.edge.memory.Collect(r.buf, (*content)(r), r.Head.ContentLength(), min(max, r.Limit))
	r.collects, r.whole = false, err == nil
	return err
}

// content is a request read from the stream only.
type content request

func (c *content) Read(p []byte) (int, error) { return (*request)(c).read(p) }

// Buffered gives the body when it is in memory.
func (r *request) Buffered() (body []byte, whole bool) {
	if r.Head.ContentLength() == 0 {
		return nil, true
	}
	if !r.whole {
		return nil, false
	}
	return r.buf, true
}

// nothing makes sure that a body announced as empty is empty: its stream may still be open, and anything may follow.
func (r *request) nothing() error {
	if said := r.ex.in.Header["Content-Length"]; len(said) == 0 || r.ex.in.ContentLength != 0 {
		return nil
	}
	var one [1]byte
	r.over = nil
	switch n, err := r.receive(one[:]); {
	case n > 0:
		return pipeline.BadRequest
	case err == io.EOF:
		return nil
	default:
		return err
	}
}
