package h1

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/pipeline"
)

const (
	bodyNone = iota
	bodySized
	bodyChunked
)

// keepUnread is how much of a body that nobody wanted is read over to keep the connection.
const keepUnread = 64 << 10

var continueLine = []byte("HTTP/1.1 100 Continue\r\n\r\n")

// body is the running request's body as it stands on the connection.
type body struct {
	kind   uint8
	owes   bool  // the client waits for 100 Continue
	left   int64 // sized: bytes not read yet
	chunks chunks
	taken  int64 // bytes of content so far
	err    error // how it ended; io.EOF: whole
}

// begin readies the body for a request; n is as in pipeline.Request.ContentLength.
func (b *body) begin(n int64, expect bool) {
	*b = body{owes: expect && n != 0, left: n}
	switch {
	case n > 0:
		b.kind = bodySized
	case n < 0:
		b.kind = bodyChunked
	default:
		b.err = io.EOF
	}
}

// read gives content, with io.EOF at the latest after the last byte. Errors are refusals: BadRequest for broken framing,
// RequestTimeout for a pause that is too long, ClientGone. They stay.
func (b *body) read(c *conn, p []byte) (n int, err error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if b.owes {
		b.owes = false
		if len(c.spare.bytes()) == 0 { // RFC 9110 section 10.1.1: not needed once content has come
			if _, err := c.Write(continueLine); err != nil {
				b.err = pipeline.ClientGone
				return 0, b.err
			}
			c.wrote = false // that was no answer yet
		}
	}
	if b.kind == bodySized {
		n, err = c.readBody(p[:min(int64(len(p)), b.left)])
		if b.left -= int64(n); b.left == 0 {
			err = io.EOF
		} else if err != nil {
			err = broken(err)
		}
	} else {
		n, err = b.readChunked(c, p)
	}
	b.taken += int64(n)
	b.err = err
	return n, err
}

func (b *body) readChunked(c *conn, p []byte) (int, error) {
	for {
		if b.chunks.state == atData && len(c.spare.bytes()) == 0 {
			n, err := c.readBody(p[:min(int64(len(p)), b.chunks.left)])
			b.chunks.took(n)
			if n == 0 && err != nil {
				return 0, broken(err)
			}
			return n, nil
		}
		n, more, err := b.decode(c, p)
		if n > 0 || err != nil || !more {
			return n, err
		}
		if err := c.fill(); err != nil {
			return 0, broken(err)
		}
	}
}

// decode takes content from bytes that are already here. more: there were not enough.
func (b *body) decode(c *conn, p []byte) (n int, more bool, err error) {
	for in := c.spare.bytes(); len(in) > 0; in = c.spare.bytes() {
		if b.chunks.state == atData {
			in = in[:min(len(in), len(p))]
		}
		used, data, err := b.chunks.next(in)
		if n = len(data); n > len(p) { // framing and data in one step: what does not fit waits
			b.chunks.state = atData
			b.chunks.left += int64(n - len(p))
			used -= n - len(p)
			n = len(p)
		}
		c.spare.r += used
		switch {
		case err != nil:
			return 0, false, err
		case n > 0:
			return copy(p, data[:n]), false, nil
		case b.chunks.state == atEnd:
			return 0, false, io.EOF
		}
	}
	return 0, true, nil
}

// fill waits for more bytes and holds them.
func (c *conn) fill() error {
	buf := edge.Buffers.Get().(*[]byte)
	defer edge.Buffers.Put(buf)
	n, err := c.readBody((*buf)[:4<<10])
	if n == 0 {
		return err
	}
	c.spare = c.spare.putBack((*buf)[:n])
	return nil
}

// broken is the refusal for an error of the socket within a body.
func broken(err error) error {
	if isTimeout(err) {
		return pipeline.RequestTimeout
	}
	return pipeline.ClientGone
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// whole gives the content when all of it is here already, without a copy: valid until the exchange ends.
func (b *body) whole(c *conn) ([]byte, bool) {
	if b.kind != bodySized || b.taken > 0 || b.left > int64(len(c.spare.bytes())) {
		return nil, false
	}
	content := c.spare.bytes()[:b.left]
	c.spare.r += len(content)
	b.taken, b.left, b.err, b.owes = b.left, 0, io.EOF, false
	return content, true
}

// canSkip reports whether what is left unread is so little that the connection may be kept.
func (b *body) canSkip(c *conn) bool {
	switch {
	case b.err != nil:
		return b.err == io.EOF
	case b.owes:
		return false
	case b.kind == bodySized:
		return b.left <= keepUnread
	}
	drop := edge.Buffers.Get().(*[]byte)
	defer edge.Buffers.Put(drop)
	for more := false; !more && b.err == nil; {
		_, more, b.err = b.decode(c, *drop)
	}
	return b.err == io.EOF
}

// skipRest reads what nobody wanted, so that it is never taken for a request. It gives up when that takes as long as a head
// may take.
func (b *body) skipRest(c *conn) bool {
	if b.err == io.EOF || b.kind == bodyNone {
		return true
	}
	if _, ok := b.whole(c); ok {
		return true
	}
	drop := edge.Buffers.Get().(*[]byte)
	defer edge.Buffers.Put(drop)
	by := time.Now().Add(c.edge.limits.read)
	for b.err == nil && time.Now().Before(by) {
		_, _ = b.read(c, *drop)
	}
	return b.err == io.EOF
}
