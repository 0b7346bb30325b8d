package h1

import (
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/failpoint"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/sockio"
)

// The phases of a connection. Only its worker changes them; Shutdown reads them.
const (
	phaseNew     = iota // nothing has arrived
	phaseIdle           // between two requests
	phaseHead           // part of a head has arrived
	phaseServing        // a head is complete and its answer is not
)

// conn is what fasthttp serves. Read gives it heads only, one at a time: bodies and the bytes of the next request stay here,
// so fasthttp can't take one for the other, its buffer is empty after every request and each answer is flushed at once.
// Deadlines are kept here too, and set only when the time has really moved: a plain request sets none.
type conn struct {
	net.Conn // as fasthttp reads and writes it: TCP or TLS
	edge     *Edge
	socket   net.Conn     // below TLS
	plain    sockio.Conn  // the socket, when there is no TLS over it
	seat     *edge.Socket // of the port; nil: accepted without one
	live     liveness
	peer     netip.AddrPort
	peerIP   []byte
	secure   bool
	tls      *pipeline.TLS // nil until the first request, and without TLS
	cas      uint64        // generation of the CAs that stood for its certificate; 0: those of the handshake

	retires time.Time // see edge.Retires

	phase  atomic.Int32
	head   int // bytes of the request's head that were handed out
	end    terminator
	begun  [12]byte               // how the head begins: its method, for one that can't be read
	bad    bool                   // the head has a line that ends without CR, or does not begin like one
	cr     bool                   // its last byte was CR
	draft  draft                  // what is known of it, should it be unreadable
	spare  *spare                 // bytes read beyond a head; nil when there are none
	tunnel atomic.Pointer[tunnel] // what the connection has become; nil: it speaks HTTP
	body   body                   // of the running request; what is left of it is read before the next head

	now      time.Time // the last moment that was looked up
	headBy   time.Time // the head's deadline; zero until it takes a second read
	readBy   time.Time // deadlines as set on the socket
	writeBy  time.Time
	held     *[]byte // an answer's head waiting for its first bytes; nil: not held
	wrote    bool    // bytes of the current answer went out
	failed   bool    // writing failed
	mute     bool    // the client is gone: nothing is written
	swallow  bool    // the answer has been written: what fasthttp writes yet is dropped
	linger   bool    // the client may still be sending: close softly
	truncate bool    // what was sent must not look complete: close with a reset
}

// Read implements net.Conn for fasthttp: bytes of one head, at most up to its end.
func (c *conn) Read(p []byte) (int, error) {
	if c.phase.Load() == phaseIdle && !c.body.skipRest(c) {
		c.linger = true
		return 0, net.ErrClosed
	}
	n, err := c.spare.take(p), error(nil)
	if n == 0 {
		c.spare = c.spare.release()
		if n, err = c.readHead(p); n == 0 {
			c.draft.breakOff(err)
			return 0, err
		}
	}
	c.phase.Store(phaseHead)
	cut := c.end.find(p[:n])
	whole := cut >= 0
	if !whole {
		cut = n
	}
	c.judge(p[:cut], whole)
	c.draft.add(p, cut, whole)
	c.spare = c.spare.putBack(p[cut:n])
	c.head += cut
	return cut, err
}

// readHead waits for bytes of a head within the time of its phase.
func (c *conn) readHead(p []byte) (int, error) {
	if c.bad {
		return 0, pipeline.BadRequest // what is awaited might never come
	}
	limits := &c.edge.limits
	switch c.phase.Load() {
	case phaseNew:
		c.headBy = c.now.Add(limits.read) // from accept on
		c.setRead(c.headBy)
	case phaseIdle:
		c.armRead(limits.idle)
	default:
		if c.headBy.IsZero() {
			c.headBy = time.Now().Add(limits.read)
		}
		c.setRead(c.headBy)
	}
	if c.phase.Load() != phaseHead && c.edge.stopping.Load() && !c.live.readable() {
		return 0, net.ErrClosed // asked after the deadline was set, or wake could come to nothing
	}
	n, err := c.readSome(p)
	if err != nil && c.secure && c.phase.Load() == phaseNew {
		c.handshakeFailed(err)
	}
	if err != nil && c.woken(err) {
		if c.phase.Load() != phaseHead && !c.live.readable() {
			return 0, net.ErrClosed
		}
		c.setRead(time.Now().Add(limits.read)) // a request is there: it is served, as the last one
		return c.readSome(p)
	}
	return n, err
}

// readBody reads what comes after a head. Each call may take as long as the limit for pauses.
func (c *conn) readBody(p []byte) (int, error) {
	if n := c.spare.take(p); n > 0 {
		return n, nil
	}
	c.spare = c.spare.release()
	c.now = time.Now()
	c.armRead(c.edge.limits.read)
	n, err := c.readSome(p)
	if n == 0 && err != nil && c.woken(err) {
		c.setRead(c.now.Add(c.edge.limits.read))
		return c.readSome(p)
	}
	return n, err
}

// woken reports that a read failed because of wake and not by its own deadline, and has the next deadline set for sure.
func (c *conn) woken(err error) bool {
	if !c.edge.stopping.Load() || !isTimeout(err) || !time.Now().Before(c.readBy) {
		return false
	}
	c.readBy = time.Time{}
	return true
}

// armRead has reads fail after d from now, or up to an eighth of d earlier: while the deadline on the socket is near enough
// it is left alone.
func (c *conn) armRead(d time.Duration) {
	if rest := c.readBy.Sub(c.now); rest > d || rest < d-d/8 {
		c.setRead(c.now.Add(d))
	}
}

func (c *conn) setRead(t time.Time) {
	if !t.Equal(c.readBy) {
		c.readBy = t
		_ = c.Conn.SetReadDeadline(t)
	}
}

// wake ends the waiting of a connection that has no request, for Shutdown.
func (c *conn) wake() {
	if phase := c.phase.Load(); phase == phaseIdle || phase == phaseNew {
		_ = c.socket.SetReadDeadline(time.Unix(1, 0))
	}
}

// largestWrite bounds what one write deadline covers, so that the limit is one for pauses also when an answer is large.
const largestWrite = 256 << 10

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) { return c.writeAt(p, time.Time{}) }

// writeAt is Write for one who has just looked at the clock; zero: nobody has.
func (c *conn) writeAt(p []byte, now time.Time) (int, error) {
	if c.mute {
		return len(p), nil
	}
	if c.swallow {
		if c.failed {
			return 0, net.ErrClosed
		}
		return len(p), nil
	}
	if c.held != nil {
		*c.held = append(*c.held, p...)
		return len(p), nil
	}
	return c.write(p, now)
}

func (c *conn) write(p []byte, now time.Time) (int, error) {
	done := 0
	if failpoint.Enabled && failpoint.Due(failpoint.HalfAnswered) {
		_, _ = c.Conn.Write(p[:len(p)/2])
		failpoint.Kill()
	}
	for ; ; now = (time.Time{}) {
		part := p[done:min(len(p), done+largestWrite)]
		if c.now = now; now.IsZero() {
			c.now = time.Now()
		}
		if rest, d := c.writeBy.Sub(c.now), c.edge.limits.write; rest > d || rest < d-d/8 {
			c.writeBy = c.now.Add(d)
			_ = c.Conn.SetWriteDeadline(c.writeBy)
		}
		n, err := c.writeAll(part)
		done += n
		c.wrote = c.wrote || n > 0
		if err != nil {
			c.failed, c.now = true, time.Now() // it may have taken all of its time
			return done, err
		}
		if done == len(p) {
			if failpoint.Enabled {
				failpoint.Hit(failpoint.Answered)
			}
			return done, nil
		}
	}
}

// Deadlines are not fasthttp's business.

// SetDeadline does nothing.
func (c *conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (c *conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// Gone implements pipeline.Liveness: the client closed its side or the connection broke. A client that only half-closes
// counts as gone (RFC 9112 section 9.6 lets us).
func (c *conn) Gone() bool { return c.failed || c.live.gone() }

// nextRequest readies the connection when an exchange has ended.
func (c *conn) nextRequest() {
	c.head, c.headBy, c.wrote, c.held = 0, time.Time{}, false, nil
	c.bad, c.cr, c.swallow = false, false, false
	c.phase.Store(phaseIdle)
}
