package h1

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// The layout of a stream's buffer: room for the head and a chunk's size, data, the line end behind a chunk.
const (
	headRoom = 2 << 10
	dataRoom = 32 << 10
)

var streamBuffers = sync.Pool{New: func() any { b := make([]byte, headRoom+dataRoom+2); return &b }}

type framing uint8

const (
	framedBySize framing = iota
	framedByChunks
	framedByClose // for HTTP/1.0
)

// stream is the body of an answer on its way to the client. It writes each piece as it comes, past fasthttp's buffer, with
// the first piece in one write with the head when it is there already. What ends with an error never looks complete.
type stream struct {
	ex      *response
	src     io.ReadCloser // nil: all of it is in memory
	size    int64         // -1: not known
	buf     *[]byte
	ready   int // bytes in buf that are still to go out
	sent    int64
	framing framing
	open    bool
	err     error // reading failed, or it was not as long as announced
}

func (s *stream) fromMemory(b []byte) {
	s.reset(nil, int64(len(b)))
	s.reserve(len(b))
	s.ready = copy((*s.buf)[headRoom:], b)
}

func (s *stream) fromReader(src io.ReadCloser, n int64) { s.reset(src, n) }

func (s *stream) reset(src io.ReadCloser, n int64) {
	s.src, s.size, s.open = src, n, true
	s.ready, s.sent, s.framing, s.err = 0, 0, framedBySize, nil
	if n < 0 {
		s.framing = framedByChunks
	}
}

// reserve has buf hold n bytes of data, keeping what is ready.
func (s *stream) reserve(n int) {
	if s.buf != nil && len(*s.buf) >= headRoom+n+2 {
		return
	}
	if s.buf == nil && n <= dataRoom {
		s.buf = streamBuffers.Get().(*[]byte)
		return
	}
	grown := make([]byte, headRoom+n+2)
	if s.buf != nil {
		copy(grown[headRoom:], (*s.buf)[headRoom:headRoom+s.ready])
	}
	s.buf = &grown
}

// Close is called when nothing more will be written, also when nothing was.
func (s *stream) Close() error {
	if !s.open {
		return nil
	}
	s.open = false
	if s.src == nil {
		return nil
	}
	src := s.src
	s.src = nil
	return src.Close()
}

func (s *stream) release() {
	_ = s.Close()
	if s.buf != nil && len(*s.buf) == headRoom+dataRoom+2 {
		streamBuffers.Put(s.buf)
	}
	s.buf, s.ready, s.sent, s.size, s.err = nil, 0, 0, 0, nil
}

// broke reports that the client did not get all of it.
func (s *stream) broke() bool { return s.err != nil }

// buffer is pipeline.Response's Buffer.
func (s *stream) buffer(max int64) ([]byte, bool, error) {
	if s.size > max {
		return nil, false, nil
	}
	for s.src != nil && int64(s.ready) <= max {
		s.reserve(min(s.ready*2+4<<10, int(max)+1))
		room := (*s.buf)[headRoom+s.ready : len(*s.buf)-2]
		n, err := s.src.Read(room[:min(int64(len(room)), max+1-int64(s.ready))])
		s.ready += n
		if err == io.EOF && (s.size < 0 || int64(s.ready) == s.size) {
			_ = s.src.Close()
			s.src, s.size, s.framing = nil, int64(s.ready), framedBySize
			s.ex.fast.Header.SetContentLength(s.ready)
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
	if int64(s.ready) > max {
		return nil, false, nil
	}
	if s.buf == nil {
		return nil, true, nil
	}
	return (*s.buf)[headRoom : headRoom+s.ready], true, nil
}

// SupportsBodyWriteTo has fasthttp call WriteTo.
func (s *stream) SupportsBodyWriteTo() bool { return true }

// Read is there because fasthttp wants a reader; WriteTo is used.
func (s *stream) Read([]byte) (int, error) { return 0, io.ErrNoProgress }

// prompt reports that the first bytes are here, so that the head may wait for them.
func (s *stream) prompt() bool {
	if s.ready > 0 || s.src == nil {
		return true
	}
	b, ok := s.src.(interface{ Buffered() int })
	return ok && b.Buffered() > 0
}

// WriteTo writes the body to the connection; fasthttp has written the head, which may be held there. It returns the number
// of bytes that fasthttp has to find there: none for a body that the connection's end delimits.
func (s *stream) WriteTo(io.Writer) (int64, error) {
	s.err = errUnfinished // stays if reading panics
	s.reserve(dataRoom)
	err := s.copy()
	if s.err = err; err != nil {
		s.fail()
	}
	if s.framing == framedByClose {
		return 0, err
	}
	return s.sent, err
}

func (s *stream) copy() error {
	if s.ready > 0 || s.src == nil {
		if err := s.write(s.ready); err != nil || s.src == nil {
			return err
		}
		s.ready = 0
	}
	for s.size < 0 || s.sent < s.size {
		data := (*s.buf)[headRoom : headRoom+dataRoom]
		n, err := s.src.Read(data)
		if n > 0 {
			if s.size >= 0 && s.sent+int64(n) > s.size {
				return fmt.Errorf("answer is longer than announced: %w", pipeline.UpstreamFailed)
			}
			if werr := s.write(n); werr != nil {
				return werr
			}
		}
		switch {
		case err == nil:
		case err != io.EOF:
			return err
		case s.size < 0:
			return s.flushHeld()
		case s.sent < s.size:
			return io.ErrUnexpectedEOF
		}
	}
	return nil
}

// write sends n bytes of data with their framing, and the head before them if it is held.
func (s *stream) write(n int) error {
	c := s.ex.ex.conn
	buf, from, to := *s.buf, headRoom, headRoom+n
	if s.framing == framedByChunks {
		var size [18]byte
		line := append(strconv.AppendUint(size[:0], uint64(n), 16), '\r', '\n')
		from -= len(line)
		copy(buf[from:], line)
		to += copy(buf[to:], "\r\n")
	}
	if held := c.held; held != nil {
		c.held = nil
		if len(*held) <= from {
			from -= len(*held)
			copy(buf[from:], *held)
		} else if _, err := c.Write(*held); err != nil {
			return err
		}
	}
	if from == to {
		return nil
	}
	_, err := c.Write(buf[from:to])
	if err == nil {
		s.sent += int64(n)
	}
	return err
}

// flushHeld writes a head whose body turned out to be empty.
func (s *stream) flushHeld() error {
	c := s.ex.ex.conn
	if c.held == nil {
		return nil
	}
	held := *c.held
	c.held = nil
	_, err := c.Write(held)
	return err
}

// fail sees to it that the client notices: a length or a missing last chunk tells it, a body that ends with the connection
// needs a reset.
func (s *stream) fail() {
	ex := s.ex.ex
	_ = s.flushHeld()
	ex.Attempt.Broken = ex.Attempt.Broken || !ex.conn.failed && pipeline.KindOf(s.err) != pipeline.ClientGone
	ex.conn.truncate = s.framing == framedByClose
	ex.conn.linger = true // answers that came before it on the connection are whole, and must arrive
}

var errUnfinished = errors.New("answer was not finished")
