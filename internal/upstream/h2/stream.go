package h2

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/upstream/h1"
	"github.com/oncegate/oncegate/internal/wire"
)

// stream is an answer's body that is still arriving. A body that breaks off ends with an error, never with io.EOF; one that
// ends well brings its trailers. It is not pooled: a second Close would then hit somebody else's.
type stream struct {
	k        *call
	res      *http.Response
	trailers *pipeline.Trailers
	status   int
	left     int64 // of the announced length; -1: none was announced
	over     bool
	err      error         // what Read ends with
	ahead    chan struct{} // a read that was left alone when its claim's time was over; nil: none
	buf      []byte        // what it read
	bufErr   error
}

// Read gives what is there and waits at most the idle limit for more. The last bytes of an announced length come when the other
// end has said that they are the last: who counts them closes then, and an answer that is longer must not look whole.
func (s *stream) Read(p []byte) (int, error) {
	if s.err != nil || len(p) == 0 {
		return 0, s.err
	}
	n, err := s.wait(p)
	if s.left -= int64(n); s.left == 0 && n > 0 && err == nil {
		var past [1]byte
		var more int
		if more, err = s.wait(past[:]); more > 0 {
			err = errTooLong
		} else if err == pipeline.ErrPending {
			err = nil
		}
	}
	switch {
	case err == pipeline.ErrPending: // it may go on
		return n, err
	case err != nil && err != io.EOF:
		s.finish(err)
		return 0, s.err
	case err != nil:
		s.finish(err)
	}
	if n == 0 {
		return 0, s.err
	}
	return n, nil
}

var errTooLong = errors.New("the answer is longer than it was announced")

func (s *stream) wait(p []byte) (int, error) {
	clock := &s.k.clock
	clock.waits(time.Now(), true)
	defer func() { clock.waits(time.Now(), false) }()
	if s.k.keyed && !s.k.x.Deadline.IsZero() || s.ahead != nil || len(s.buf) > 0 {
		return s.claimed(p)
	}
	return s.res.Body.Read(p)
}

// claimed is Read while a claim is held: a body that drips must not hold the claim beyond its lease.
func (s *stream) claimed(p []byte) (int, error) {
	if s.ahead == nil && len(s.buf) == 0 && s.bufErr == nil {
		if !time.Now().Before(s.k.x.Deadline) {
			return 0, pipeline.ErrPending
		}
		done, room := make(chan struct{}), make([]byte, len(p))
		s.ahead = done
		go func() { // ends with the body, at the latest when the stream is closed
			defer close(done)
			n, err := s.res.Body.Read(room)
			s.buf, s.bufErr = room[:n], err
		}()
	}
	if s.ahead != nil {
		timer := time.NewTimer(time.Until(s.k.x.Deadline))
		defer timer.Stop()
		left := timer.C
		if !s.k.x.Keyed { // the claim is settled
			left = nil
		}
		select {
		case <-s.ahead:
			s.ahead = nil
		case <-left:
			return 0, pipeline.ErrPending
		}
	}
	n := copy(p, s.buf)
	if s.buf = s.buf[n:]; len(s.buf) > 0 {
		return n, nil
	}
	err := s.bufErr
	s.bufErr = nil
	return n, err
}

// finish fixes what Read returns from now on, and gives the place back.
func (s *stream) finish(err error) {
	why := s.k.clock.why()
	switch {
	case err == io.EOF && why == nil:
		s.takeTrailers()
		s.err = io.EOF
		s.close(s.whole())
	case blameless(why):
		s.err = why
		s.close(h1.BodyLeft)
	default:
		if why == nil {
			why = fmt.Errorf("%w: %w", pipeline.UpstreamFailed, plain(err))
		}
		s.k.x.Attempt.Broken = true
		s.err = fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, why)
		s.close(h1.BodyBroken)
	}
}

// whole is the end of a body. Behind that of a gRPC call stands how it ended, which is judged like an answer's status.
func (s *stream) whole() h1.BodyEnd {
	if status, ok := s.k.x.EndCall(); ok {
		s.status = status
		return h1.BodyJudged
	}
	return h1.BodyWhole
}

// blameless tells that the client ended the call: it left, or broke off its own body.
func blameless(why error) bool {
	switch kind := pipeline.KindOf(why); kind {
	case pipeline.UpstreamFailed, pipeline.UpstreamTimeout, pipeline.Internal, pipeline.Draining:
		return false
	default:
		return why != nil
	}
}

func (s *stream) takeTrailers() {
	for name, values := range s.res.Trailer {
		for _, v := range values {
			if wire.TrailerAllowed([]byte(name)) {
				s.trailers.Add(name, v)
			}
		}
	}
}

// Close resets the stream unless the body was read to its end.
func (s *stream) Close() error {
	if !s.over {
		s.err = io.ErrClosedPipe
		s.close(h1.BodyLeft)
	}
	return nil
}

func (s *stream) close(body h1.BodyEnd) {
	s.over = true
	s.k.cancel() // first: Close waits for the end of a request's body that is still being sent
	_ = s.res.Body.Close()
	s.k.end()
	if s.k.lim.Watch != nil {
		s.k.lim.Watch.Ended(s.status, body)
	}
}

// streamError is net/http's error for a stream that was reset: it fits by its fields (errors.As).
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (streamError) Error() string { return "the stream was reset" }

const refusedStream = 7 // RFC 9113 7

// net/http has no types for these. A test fails should their texts change.
const (
	goneAway  = "http2: Transport received Server's graceful shutdown GOAWAY"
	goneFirst = "http2: Transport received GOAWAY from server ErrCode:"
	notUsable = "http2: client conn not usable"
	notReady  = "http2: client conn could not be established"
	isClosed  = "http2: client conn is closed"
)

// unprocessed tells that the other end said, by GOAWAY, that it did not and will not look at the stream (RFC 9113 6.8).
func unprocessed(err error) bool {
	text := err.Error()
	return text == goneAway || len(text) > len(goneFirst) && text[:len(goneFirst)] == goneFirst
}

// unusable tells that a connection ended before the request was written on it.
func unusable(err error) bool {
	switch err.Error() {
	case notUsable, notReady, isClosed:
		return true
	}
	return false
}

// plain is an error without what the other end wrote into it: a GOAWAY brings text along.
func plain(err error) error {
	var reset streamError
	if errors.As(err, &reset) {
		return fmt.Errorf("the stream was reset with code %d", reset.Code)
	}
	if text := err.Error(); len(text) > 40 && text[:len("http2: server sent GOAWAY")] == "http2: server sent GOAWAY" {
		return errors.New("the connection ended after GOAWAY")
	}
	return err
}
