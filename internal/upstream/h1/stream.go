package h1

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

type bodyKind uint8

const (
	bodySized bodyKind = iota
	bodyChunked
	bodyToClose
)

// stream is an answer's body that is still arriving. It owns the connection and puts it back only when the body was read to
// its end and nothing follows. A body that breaks off ends with an error, never with io.EOF. It is not pooled: a second Close
// would then hit somebody else's.
type stream struct {
	x        *pipeline.Exchange
	c        *Conn // nil once it was given back
	kind     bodyKind
	reusable bool
	left     int64 // bodySized
	chunks   chunks
	lim      *Limits
	status   int
	err      error // what Read ends with
}

func (k *call) stream(reusable bool, kind bodyKind, length int64) {
	k.held = false
	k.out.Streams = true
	s := &stream{x: k.x, c: k.c, kind: kind, reusable: reusable, left: length, lim: k.lim, status: k.out.Status}
	s.chunks.into = k.x.Trailers
	k.x.Response.SetStream(s, length)
}

// Read gives what is there and waits at most the idle limit for more.
func (s *stream) Read(p []byte) (int, error) {
	if s.err != nil || len(p) == 0 {
		return 0, s.err
	}
	n, err := s.read(p)
	switch {
	case err == pipeline.ErrPending: // it may go on
		return n, err
	case err != nil:
		s.end(err)
		if n == 0 {
			return 0, s.err
		}
	}
	return n, nil
}

func (s *stream) read(p []byte) (int, error) {
	switch s.kind {
	case bodyChunked:
		return s.readChunked(p)
	case bodySized:
		n, err := s.take(p[:min(int64(len(p)), s.left)])
		if s.left -= int64(n); s.left == 0 && err == nil {
			err = io.EOF
		}
		return n, err
	}
	n, err := s.take(p)
	if tls, ok := s.c.nc.(secureConn); err == errClosed && !(ok && tls.cut()) {
		err = io.EOF // the end of the connection is the end of the body
	}
	return n, err
}

// take gives buffered bytes, or reads straight into p.
func (s *stream) take(p []byte) (int, error) {
	if b := s.c.buffered(); len(b) > 0 {
		n := copy(p, b)
		s.c.r += n
		return n, nil
	}
	return s.wait(p)
}

func (s *stream) readChunked(p []byte) (int, error) {
	c := s.c
	for {
		skip, n, err := s.chunks.next(c.buffered())
		c.r += skip
		switch {
		case err == errNeedMore && s.chunks.step == inData && c.r == c.w:
			n, err := s.wait(p[:min(int64(len(p)), s.chunks.left)])
			s.chunks.took(n)
			return n, err
		case err == errNeedMore:
			if _, err := s.wait(nil); err != nil {
				return 0, err
			}
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		n = copy(p, c.buffered()[:n])
		c.r += n
		s.chunks.took(n)
		return n, nil
	}
}

// wait reads once into p, or into the connection's buffer when p is nil. Silence is cut into slices to see a client leave.
// While a claim is held it ends at the deadline: a body that drips must not hold the claim beyond its lease.
func (s *stream) wait(p []byte) (int, error) {
	start := time.Now()
	limit, claimed := start.Add(s.lim.IdleBody), s.x.Keyed && !s.x.Deadline.IsZero()
	if claimed {
		limit = earlier(limit, s.x.Deadline)
	}
	for now := start; ; now = time.Now() {
		if claimed && !now.Before(s.x.Deadline) {
			return 0, pipeline.ErrPending
		}
		if now.Sub(start) >= s.lim.IdleBody {
			return 0, fmt.Errorf("the answer's body stood still: %w", pipeline.UpstreamTimeout)
		}
		if now != start && !s.x.Keyed && s.x.Gone() {
			return 0, pipeline.ClientGone
		}
		s.c.armRead(now, limit)
		n, err := s.readOnce(p)
		if n > 0 {
			return n, nil
		}
		if err == io.EOF {
			err = errClosed
		}
		if err != nil && !timedOut(err) {
			return 0, err
		}
	}
}

func (s *stream) readOnce(p []byte) (int, error) {
	if p != nil {
		return s.c.nc.Read(p)
	}
	before := len(s.c.buffered())
	err := s.c.fill()
	return len(s.c.buffered()) - before, err
}

// Buffered tells how much of the body is here already, before the first Read.
func (s *stream) Buffered() int {
	if s.c == nil {
		return 0
	}
	b := s.c.buffered()
	if s.kind == bodyChunked { // a size line is no content
		_, b, _ = bytes.Cut(b, []byte{'\n'})
	}
	return len(b)
}

// end gives the connection back and fixes what Read returns from now on.
func (s *stream) end(err error) {
	c := s.c
	s.c = nil
	switch err {
	case io.EOF:
		s.err = io.EOF
		c.settle(s.reusable, time.Now(), s.lim)
		if status, ok := s.x.EndCall(); ok {
			s.status = status
			s.tell(BodyJudged)
			return
		}
		s.tell(BodyWhole)
		return
	case pipeline.ClientGone:
		s.err = err
		s.tell(BodyLeft)
	default:
		s.x.Attempt.Broken = true
		s.err = fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err)
		s.tell(BodyBroken)
	}
	c.pool.drop(c)
}

func (s *stream) tell(body BodyEnd) {
	if s.lim.Watch != nil {
		s.lim.Watch.Ended(s.status, body)
	}
}

// Close closes the connection unless the body was read to its end.
func (s *stream) Close() error {
	if s.c != nil {
		s.c.pool.drop(s.c)
		s.c, s.err = nil, io.ErrClosedPipe
		s.tell(BodyLeft)
	}
	return nil
}
