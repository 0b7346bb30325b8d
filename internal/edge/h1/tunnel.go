package h1

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/pipeline"
)

const (
	goingAway  = 1001            // RFC 6455, 7.4.1
	tunnelRead = 512             // what a direction holds while it waits
	partTime   = time.Second     // for the rest of a frame, before a tunnel is closed without a word
	partBefore = 2 * time.Second // before the end of a drain tunnels are told
)

// tunnel is an exchange whose connections speak WebSocket: bytes pass as they come, both ways. It holds the exchange, and
// with it whatever its layers hold, until both directions have ended.
type tunnel struct {
	ex   *exchange
	c    *conn
	up   pipeline.Tunnel
	idle time.Duration
	end  time.Time
	code uint16

	last   atomic.Int64  // when something moved, in nanoseconds of the wall clock
	told   atomic.Uint32 // the code to part with; 0: nobody said so
	toldAt atomic.Int64
	broken atomic.Bool
	open   atomic.Int32 // directions
	in     direction
	out    direction
}

// direction is one way through a tunnel; one goroutine runs it.
type direction struct {
	t      *tunnel
	src    io.Reader
	from   net.Conn // src's deadlines
	dst    pipeline.Tunnel
	masked bool // towards the upstream we are the client
	write  time.Duration
	count  int64
	frames frames
}

// run passes bytes on until the source ends, something breaks, or it is time to part.
func (d *direction) run() {
	defer d.t.ended()
	small := make([]byte, tunnelRead)
	buf := small
	var large *[]byte
	for {
		now := time.Now()
		_ = d.from.SetReadDeadline(d.t.wait(now))
		if d.t.told.Load() != 0 && d.part(now) {
			break
		}
		n, err := d.src.Read(buf)
		if n > 0 && !d.pass(buf[:n]) {
			break
		}
		if err != nil && d.over(err) {
			break
		}
		switch { // a large buffer is held only while reads fill what they are given
		case n == len(buf) && large == nil:
			large = edge.Buffers.Get().(*[]byte)
			buf = *large
		case n < len(buf) && large != nil:
			edge.Buffers.Put(large)
			buf, large = small, nil
		}
	}
	if large != nil {
		edge.Buffers.Put(large)
	}
}

// pass writes what was read; false when that failed.
func (d *direction) pass(p []byte) bool {
	now := time.Now()
	_ = d.dst.SetWriteDeadline(now.Add(d.write))
	n, err := d.dst.Write(p)
	d.count += int64(n)
	if err != nil {
		d.t.fail()
		return false
	}
	d.frames.pass(p)
	d.t.last.Store(now.UnixNano())
	return true
}

// over judges an error of reading: is the direction at its end?
func (d *direction) over(err error) bool {
	switch {
	case err == io.EOF:
		_ = d.dst.CloseWrite()
		return true
	case !isTimeout(err):
		d.t.fail()
		return true
	}
	now := time.Now()
	switch {
	case d.t.told.Load() != 0:
	case !d.t.end.IsZero() && !now.Before(d.t.end):
		d.t.tell(d.t.code)
	case now.UnixNano()-d.t.last.Load() >= int64(d.t.idle):
		d.t.tell(goingAway)
	}
	return false
}

// part says goodbye where a frame may stand; true when the direction is over.
func (d *direction) part(now time.Time) bool {
	switch {
	case d.frames.closed && d.frames.between():
	case d.frames.between():
		_ = d.dst.SetWriteDeadline(now.Add(partTime))
		_, _ = d.dst.Write(closeFrame(uint16(d.t.told.Load()), d.masked))
	case now.UnixNano()-d.t.toldAt.Load() < int64(partTime):
		return false // the rest of the frame may come yet
	}
	return true
}

// wait is until when a read may take, seen from now.
func (t *tunnel) wait(now time.Time) time.Time {
	if at := t.toldAt.Load(); at != 0 {
		return time.Unix(0, at).Add(partTime)
	}
	by := time.Unix(0, t.last.Load()).Add(t.idle)
	if !t.end.IsZero() && t.end.Before(by) {
		by = t.end
	}
	if by.Before(now) {
		by = now
	}
	return by
}

// tell has both directions part. The first to say so is heard.
func (t *tunnel) tell(code uint16) {
	if t.toldAt.CompareAndSwap(0, time.Now().UnixNano()) {
		t.told.Store(uint32(code))
		t.wake()
	}
}

// fail ends both directions at once.
func (t *tunnel) fail() {
	t.broken.Store(true)
	_ = t.up.Close()
	_ = t.c.socket.SetDeadline(time.Unix(1, 0))
	t.tell(goingAway)
}

func (t *tunnel) wake() {
	_ = t.up.SetReadDeadline(time.Unix(1, 0))
	_ = t.c.Conn.SetReadDeadline(time.Unix(1, 0))
}

// ended is called by each direction; the last one ends the exchange.
func (t *tunnel) ended() {
	if v := recover(); v != nil {
		_ = t.ex.edge.panicked(v)
		t.fail()
	}
	if t.open.Add(-1) > 0 {
		return
	}
	ex, c, e := t.ex, t.c, t.ex.edge
	_ = t.up.Close()
	ex.finish(pipeline.End{Status: 101, At: time.Now(), BytesIn: t.in.count, BytesOut: t.out.count, Aborted: t.broken.Load()})
	ex.Switch = pipeline.Switch{}
	ex.req.end()
	e.active.Add(-1)
	c.failed, c.linger = t.broken.Load(), true
	_ = c.Close() // takes its time: what the client says to the end is read
}

// clientSide is the client's end of a tunnel.
type clientSide struct{ *conn }

// Read gives first what came behind the head.
func (s clientSide) Read(p []byte) (int, error) {
	if n := s.spare.take(p); n > 0 {
		return n, nil
	}
	s.spare = s.spare.release()
	return s.Conn.Read(p)
}

// Write implements net.Conn.
func (s clientSide) Write(p []byte) (int, error) { return s.Conn.Write(p) }

// SetReadDeadline implements net.Conn.
func (s clientSide) SetReadDeadline(by time.Time) error { return s.Conn.SetReadDeadline(by) }

// SetWriteDeadline implements net.Conn.
func (s clientSide) SetWriteDeadline(by time.Time) error { return s.Conn.SetWriteDeadline(by) }

// CloseWrite implements pipeline.Tunnel.
func (s clientSide) CloseWrite() error {
	if half, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// waitOrPart waits until no connection is left, or the time is up: false. Shortly before that tunnels are told to end.
func (e *Edge) waitOrPart(ctx context.Context, done <-chan struct{}) bool {
	var near <-chan time.Time
	if by, ok := ctx.Deadline(); ok {
		rest := time.Until(by)
		timer := time.NewTimer(rest - min(partBefore, rest/2))
		defer timer.Stop()
		near = timer.C
	}
	for {
		select {
		case <-done:
			return true
		case <-ctx.Done():
			return false
		case <-near:
			e.conns.each(func(c *conn) {
				if t := c.tunnel.Load(); t != nil {
					t.tell(goingAway)
				}
			})
		}
	}
}
