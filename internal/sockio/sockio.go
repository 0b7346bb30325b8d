// Package sockio reads and writes a TCP socket that is ready, without telling Go's scheduler.
//
// A call to the kernel is announced to the scheduler, which may lend the processor to another thread meanwhile. For a socket
// that never blocks nothing is gained by that, and the announcement costs more than a read that finds nothing. Waiting,
// deadlines and closing stay the runtime's (syscall.RawConn).
package sockio

import (
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Conn reads and writes one socket. One goroutine at a time may read and one may write; anybody may close the socket or set
// its deadlines meanwhile. The zero value has no socket.
type Conn struct {
	raw     syscall.RawConn
	in, out half
}

type half struct {
	turn func(fd uintptr) (done bool) // bound once: a method value per call would allocate
	buf  []byte
	n    int
	err  error
}

// Of takes over reading and writing of a socket; false when it is none of the system's.
func (c *Conn) Of(socket net.Conn) bool {
	sc, ok := socket.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	c.raw, c.in.turn, c.out.turn = raw, c.readOnce, c.writeOnce
	return true
}

// Ready reports that there is a socket.
func (c *Conn) Ready() bool { return c.raw != nil }

// Read is io.Reader's: at least one byte or an error. It waits up to the read deadline; then the error is an
// os.ErrDeadlineExceeded.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	h := &c.in
	h.buf, h.n, h.err = p, 0, nil
	err := c.raw.Read(h.turn)
	h.buf = nil
	switch {
	case err != nil:
		return 0, err
	case h.n == 0 && h.err == nil:
		return 0, io.EOF
	}
	return h.n, h.err
}

func (c *Conn) readOnce(fd uintptr) bool {
	c.in.n, c.in.err = Read(fd, c.in.buf)
	return c.in.err != unix.EAGAIN
}

// Write is io.Writer's: all of p or an error. It waits up to the write deadline.
func (c *Conn) Write(p []byte) (int, error) {
	h := &c.out
	h.buf, h.n, h.err = p, 0, nil
	err := c.raw.Write(h.turn)
	h.buf = nil
	if err == nil {
		err = h.err
	}
	return h.n, err
}

func (c *Conn) writeOnce(fd uintptr) bool {
	h := &c.out
	for h.n < len(h.buf) {
		n, err := Write(fd, h.buf[h.n:])
		h.n += n
		switch {
		case err == unix.EAGAIN:
			return false
		case err != nil:
			h.err = err
			return true
		}
	}
	return true
}
