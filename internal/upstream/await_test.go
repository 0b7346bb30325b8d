package upstream

import (
	"crypto/tls"
	"net"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// hangUp closes c, and returns when the other end's kernel knows.
func hangUp(t testing.TB, c net.Conn) {
	t.Helper()
	raw := c
	if secure, ok := c.(*tls.Conn); ok {
		_ = secure.CloseWrite()
		raw = secure.NetConn()
	}
	_ = raw.(*net.TCPConn).CloseWrite()
	arrive(t, c)
	_ = c.Close()
}

// arrive waits until c's other end, a socket of this process that read all before, has something to read or c's end. Who owns
// that socket may not be told by it, so it is looked for among the open files.
func arrive(t testing.TB, c net.Conn) {
	t.Helper()
	from, to := c.RemoteAddr().(*net.TCPAddr).Port, c.LocalAddr().(*net.TCPAddr).Port
	for fd := range 4096 {
		local, err := unix.Getsockname(fd)
		if err != nil || portOf(local) != from {
			continue
		}
		if remote, err := unix.Getpeername(fd); err == nil && portOf(remote) == to {
			n, err := 0, error(unix.EINTR)
			for err == unix.EINTR {
				n, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 5000)
			}
			if n == 0 {
				t.Error("nothing arrives")
			}
			return
		}
	}
}

func portOf(a unix.Sockaddr) int {
	if a, ok := a.(*unix.SockaddrInet4); ok {
		return a.Port
	}
	return 0
}

// queued waits until a call queues for a connection.
func queued(t *testing.T) {
	t.Helper()
	buf := make([]byte, 1<<20)
	eventually(t, "a call that waits for a connection", func() bool {
		for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			head, calls, _ := strings.Cut(g, "\n")
			if strings.Contains(head, "[select") && strings.HasPrefix(calls, "github.com/oncegate/oncegate/internal/upstream/h1.(*Pool).waitLocked(") {
				return true
			}
		}
		return false
	})
}
