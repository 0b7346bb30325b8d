package h1

import (
	"crypto/tls"
	"net"
	"time"

	"github.com/oncegate/oncegate/internal/edge"
)

const (
	lingerTotal = 2 * time.Second        // a client gets at most this long to take a last answer
	lingerPause = 500 * time.Millisecond // and must keep sending meanwhile
	lingerBytes = 16 << 20
)

// Close implements net.Conn. fasthttp's worker calls it, once, after the last request.
func (c *conn) Close() error {
	if c.truncate {
		return c.kill()
	}
	if !c.failed && (c.linger || len(c.spare.bytes()) > 0 || c.live.readable()) {
		c.drainAndClose() // also when requests wait that nobody will answer
	}
	err := c.Conn.Close()
	c.spare = c.spare.release()
	c.edge.conns.remove(c)
	c.leave()
	return err
}

// kill closes at once and has the client see a reset. It may be called by anyone.
func (c *conn) kill() error {
	if tcp, ok := c.socket.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	err := c.socket.Close()
	c.edge.conns.remove(c)
	c.leave()
	return err
}

// drainAndClose says that no more will come and then reads for a while what the client still sends. Closing with unread
// bytes would make the kernel send a reset, which can overtake the answer (RFC 9112 section 9.6).
func (c *conn) drainAndClose() {
	switch s := c.Conn.(type) {
	case *tls.Conn:
		_ = c.Conn.SetWriteDeadline(time.Now().Add(lingerPause))
		_ = s.CloseWrite()
		if tcp, ok := c.socket.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
	case *net.TCPConn:
		_ = s.CloseWrite()
	default:
		return
	}
	buf := edge.Buffers.Get().(*[]byte)
	defer edge.Buffers.Put(buf)
	by := time.Now().Add(lingerTotal)
	for total := 0; total < lingerBytes; {
		now := time.Now()
		if !now.Before(by) {
			return
		}
		_ = c.socket.SetReadDeadline(now.Add(min(lingerPause, by.Sub(now))))
		n, err := c.socket.Read((*buf)[:cap(*buf)])
		if total += n; err != nil {
			return
		}
	}
}
