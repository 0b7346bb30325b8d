//go:build linux

package h1

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// liveness asks the kernel about a socket without waiting. It is a system call; the closure is made once so that asking
// allocates nothing.
type liveness struct {
	raw    syscall.RawConn
	ask    func(fd uintptr)
	events int16
	found  int16
}

func (l *liveness) init(socket net.Conn) {
	sc, ok := socket.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	l.raw = raw
	l.ask = l.poll
}

func (l *liveness) poll(fd uintptr) {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: l.events}}
	l.found = 0
	if n, err := unix.Poll(fds[:], 0); err == nil && n > 0 {
		l.found = fds[0].Revents
	}
}

// gone reports that the other end closed or broke the connection, also behind unread bytes.
func (l *liveness) gone() bool {
	return l.has(unix.POLLRDHUP, unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR)
}

// readable reports that bytes wait in the socket.
func (l *liveness) readable() bool { return l.has(unix.POLLIN, unix.POLLIN) && !l.gone() }

func (l *liveness) has(ask, want int16) bool {
	if l.raw == nil {
		return false
	}
	l.events = ask
	if err := l.raw.Control(l.ask); err != nil {
		return true // closed
	}
	return l.found&want != 0
}
