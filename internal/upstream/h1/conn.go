package h1

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oncegate/oncegate/internal/sockio"
)

// Sizes and times of one connection. They are no settings: each is safe for every upstream.
const (
	readBuffer  = 16 << 10               // answers up to this size need no stream
	maxHead     = 64 << 10               // an answer's head
	inlineBody  = 16 << 10               // a request body up to this size goes out in one write with its head
	copyBuffer  = 32 << 10               // pieces of a longer one
	maxInterim  = 100                    // 1xx heads before the answer
	waitSlice   = 250 * time.Millisecond // how often a wait looks whether the client left
	earlyWait   = 50 * time.Millisecond  // for an answer after a write failed
	maxLifetime = 5 * time.Minute
)

var (
	errClosed      = errors.New("connection closed before an answer")
	errStale       = errors.New("connection was closed while idle")
	errUnsolicited = errors.New("bytes arrived that nobody asked for")
)

// Conn is one connection to a target. One exchange at a time owns it.
type Conn struct {
	nc     net.Conn
	raw    syscall.RawConn // of the TCP socket, under TLS too; nil when there is none
	secure bool
	pool   *Pool

	buf  []byte // buf[r:w] was read and is not consumed yet
	r, w int
	out  []byte // the request's head and what goes out with it

	reused    bool
	waited    bool // Acquire had to wait for it
	jitter    float64
	retire    time.Time     // end of life
	idleUntil time.Time     // set when it is put back
	keep      time.Duration // the upstream's own limit less a second; 0: it named none
	readBy    time.Time     // the read deadline as it is set on the socket

	turn     func(uintptr) bool // c.oneTurn, bound once: a method value per call would allocate
	poll     func(uintptr)
	pollFds  [1]unix.PollFd
	probed   bool // the look before the write found nothing
	complete bool // nothing follows out: wait for the answer in the same turn
	sent     int
	fault    error
}

func newConn(nc net.Conn, socket syscall.RawConn, secure bool, p *Pool, now time.Time, jitter float64) *Conn {
	c := &Conn{nc: nc, raw: socket, secure: secure, pool: p, buf: make([]byte, readBuffer), jitter: jitter}
	c.retire = now.Add(time.Duration(float64(maxLifetime) * jitter))
	c.turn, c.poll = c.oneTurn, c.pollOnce
	return c
}

// dispatch sends c.out. Before the first byte it looks at the socket: what waits there can't be an answer to a request that
// was not sent. It returns the number of bytes that left and what went wrong; a deadline that passes while the answer is
// awaited is not an error here.
func (c *Conn) dispatch(complete bool) (int, error) {
	if c.secure || c.raw == nil {
		return c.dispatchChecked()
	}
	c.probed, c.complete, c.sent, c.fault = false, complete, 0, nil
	err := c.raw.Read(c.turn)
	switch {
	case c.fault != nil:
		return c.sent, c.fault
	case err != nil && !(c.probed && timedOut(err)):
		return c.sent, err
	}
	return c.sent, nil
}

// oneTurn runs under the runtime's poller: look, write, and come back when something can be read. The look takes the place
// of the read that would find nothing, so it costs no system call of its own.
func (c *Conn) oneTurn(fd uintptr) (done bool) {
	if !c.probed {
		n, err := sockio.Read(fd, c.buf)
		switch {
		case n > 0:
			c.fault = errUnsolicited
		case err != unix.EAGAIN:
			c.fault = errStale
		}
		if c.fault != nil {
			return true
		}
		c.probed = true
		if c.sent, err = sockio.Write(fd, c.out); err != nil && err != unix.EAGAIN {
			c.fault = err
		}
		return c.fault != nil || c.sent < len(c.out) || !c.complete
	}
	n, err := sockio.Read(fd, c.buf[c.w:])
	switch {
	case n > 0:
		c.w += n
	case err == unix.EAGAIN:
		return false
	case err == nil:
		c.fault = errClosed
	default:
		c.fault = err
	}
	return true
}

// dispatchChecked is dispatch for TLS, where waiting bytes may be a session ticket.
func (c *Conn) dispatchChecked() (int, error) {
	if err := c.checkIdle(); err != nil {
		return 0, err
	}
	n, err := c.nc.Write(c.out)
	if err != nil && n == 0 {
		n = 1 // a part of a record may have left
	}
	return n, err
}

func (c *Conn) checkIdle() error {
	ready, hungUp := c.readable()
	switch {
	case hungUp:
		return errStale
	case !ready:
		return nil
	}
	c.setRead(time.Now().Add(time.Millisecond))
	n, err := c.nc.Read(c.buf[:1])
	c.setRead(time.Now().Add(waitSlice))
	switch {
	case n > 0:
		return errUnsolicited
	case timedOut(err):
		return nil
	}
	return errStale
}

// readable asks the socket, without waiting, whether a read would find something and whether the other end hung up.
func (c *Conn) readable() (ready, hungUp bool) {
	if c.raw == nil || c.raw.Control(c.poll) != nil {
		return false, c.raw != nil
	}
	got := c.pollFds[0].Revents
	return got != 0, got&(pollHangup|unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0
}

func (c *Conn) pollOnce(fd uintptr) {
	c.pollFds[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN | pollHangup}
	for {
		if _, err := unix.Poll(c.pollFds[:], 0); err != unix.EINTR {
			return
		}
	}
}

// armRead has reads fail one slice after now, or by limit when that is sooner. A deadline that is near enough stays as it is:
// who waits looks at the clock when it passes, so it may come early but not late.
func (c *Conn) armRead(now, limit time.Time) {
	by := earlier(limit, now.Add(waitSlice))
	if c.readBy.After(by) || c.readBy.Sub(now) < waitSlice/2 {
		c.setRead(by)
	}
}

func (c *Conn) setRead(by time.Time) {
	c.readBy = by
	_ = c.nc.SetReadDeadline(by)
}

// fill reads once into the buffer and blocks until the read deadline. A full buffer grows up to maxHead.
func (c *Conn) fill() error {
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	if c.w == len(c.buf) && c.r > 0 {
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	if c.w == len(c.buf) {
		c.buf = append(c.buf, make([]byte, maxHead-len(c.buf))...)
	}
	n, err := c.nc.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	if err == io.EOF {
		return errClosed
	}
	return err
}

func (c *Conn) buffered() []byte { return c.buf[c.r:c.w] }

// clear readies the buffers for the next exchange; big ones are given up, so that an idle connection stays small.
func (c *Conn) clear() {
	c.r, c.w = 0, 0
	if len(c.buf) > readBuffer {
		c.buf = make([]byte, readBuffer)
	}
	if cap(c.out) > 2*inlineBody+copyBuffer {
		c.out = nil
	}
}

func timedOut(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
