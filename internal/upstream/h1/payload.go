package h1

import (
	"io"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Payload is the body of a request: none, bytes, or a stream.
type Payload struct {
	none     bool
	declared bool // none, but the client said so: Content-Length: 0
	bytes    []byte
	stream   io.Reader
	length   int64 // -1: not known, sent as chunks
	took     time.Duration
}

// Prepare decides how the body of x is sent. A short one is read now, before a connection is taken: a slow client holds none,
// and one that breaks off has done nothing. The time it took does not count against the deadline.
func Prepare(x *pipeline.Exchange) (b Payload, err error) {
	b.length = x.Request.ContentLength()
	if b.length == 0 {
		b.none = true
		b.declared = x.Request.Header("Content-Length") != nil
		return b, nil
	}
	if whole, ok := x.Request.Buffered(); ok {
		b.bytes, b.length = whole, int64(len(whole))
		return b, nil
	}
	if b.length < 0 || b.length > inlineBody {
		b.stream = x.Request.Body()
		return b, nil
	}
	start := time.Now()
	whole, err := x.Request.Buffer(inlineBody)
	b.took = time.Since(start)
	if err != nil {
		return b, err
	}
	postpone(x, b.took)
	if int64(len(whole)) != b.length {
		return b, short()
	}
	b.bytes = whole
	return b, nil
}

// Took is how long Prepare waited for the client; the clock of a try begins behind it.
func (b *Payload) Took() time.Duration { return b.took }

// Bytes is a body that is whole in memory; nil for none and for a stream. It is borrowed.
func (b *Payload) Bytes() []byte { return b.bytes }

// Stream is a body that still has to be read; nil when there is none.
func (b *Payload) Stream() io.Reader { return b.stream }

// Length is the body's; -1: not known.
func (b *Payload) Length() int64 { return b.length }

// Empty reports that there is no body.
func (b *Payload) Empty() bool { return b.none }

func postpone(x *pipeline.Exchange, d time.Duration) {
	if !x.Deadline.IsZero() {
		x.Deadline = x.Deadline.Add(d)
	}
}
