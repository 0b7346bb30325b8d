package h2

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/oncegate/oncegate/internal/upstream/h1"
)

// Sizes and times of one connection. They are no settings: each is safe for every upstream.
const (
	streamBuffer = 256 << 10 // of an answer that its client does not read; also what the upstream may send ahead
	maxHead      = 64 << 10
	writeWait    = 15 * time.Second // for the other end to take anything at all
	maxLifetime  = 5 * time.Minute
)

var (
	errNotHTTP2 = errors.New("the other end does not speak HTTP/2")
	errSilent   = errors.New("the connection ended before its settings came")
)

// newTransport makes connections from sockets that stand in the context. TLS, if any, is done before: to net/http they all
// look alike. It sends no pings: servers of gRPC end connections that are pinged more often than every five minutes. TCP looks
// for hosts that are gone, and so does release.
func newTransport() *http.Transport {
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return ctx.Value(socketKey{}).(net.Conn), nil
		},
		DisableCompression: true, MaxResponseHeaderBytes: maxHead, Protocols: new(http.Protocols),
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: streamBuffer, WriteByteTimeout: writeWait},
	}
	t.Protocols.SetUnencryptedHTTP2(true)
	return t
}

type socketKey struct{}

// dial connects and waits until the other end's settings are in force: a server that refuses a client certificate in TLS 1.3,
// or does not speak HTTP/2, says so only now, and how many calls it takes at once. Nothing was asked by then.
func (p *Pool) dial(ctx context.Context, limit time.Duration) (*Conn, error) {
	end := time.Now().Add(limit)
	nc, _, err := p.dialer.Connect(ctx, end)
	if err != nil {
		return nil, err
	}
	first := &greeting{Conn: nc, came: make(chan struct{})}
	cc, err := p.transport.NewClientConn(context.WithValue(ctx, socketKey{}, net.Conn(first)), "http", p.dialer.Addr)
	if err != nil {
		_ = nc.Close()
		return nil, h1.ConnectError("HTTP/2", err)
	}
	timer := time.NewTimer(time.Until(end))
	defer timer.Stop()
	select {
	case <-first.came:
		err = first.err
	case <-timer.C:
		err = context.DeadlineExceeded
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		_ = cc.Close()
		return nil, h1.ConnectError("HTTP/2", err)
	}
	cc.SetStateHook(func(*http.ClientConn) { p.freed.ring() })
	now := time.Now()
	return &Conn{cc: cc, wire: first, pool: p, retire: now.Add(lifetime()), idleUntil: now.Add(limit)}, nil
}

// lifetime is how long a connection gets new calls: with a tenth more or less, so that not all of them end at once.
func lifetime() time.Duration {
	return time.Duration(float64(maxLifetime) * (0.9 + 0.2*rand.Float64()))
}

// greeting notices that the other end speaks HTTP/2: the first bytes must be a SETTINGS frame (RFC 9113 3.4), and net/http's
// next write acknowledges it, the values being in force. It reads from one goroutine, which writes that, too.
type greeting struct {
	net.Conn
	reads atomic.Uint64 // that brought something
	head  [4]byte
	n     int
	heard atomic.Bool
	came  chan struct{} // closed when it is clear
	err   error         // valid then
}

func (g *greeting) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if n > 0 {
		g.reads.Add(1)
	}
	if !g.heard.Load() {
		g.n += copy(g.head[g.n:], p[:n])
		switch {
		case g.n == len(g.head) && g.head[3] != 4:
			g.hear(errNotHTTP2)
		case err != nil && g.n > 0:
			g.hear(errSilent)
		case err != nil:
			g.hear(err)
		}
	}
	return n, err
}

func (g *greeting) Write(p []byte) (int, error) {
	n, err := g.Conn.Write(p)
	if !g.heard.Load() && g.n == len(g.head) {
		g.hear(err)
	}
	return n, err
}

// Close also ends the wait when net/http did not like the settings.
func (g *greeting) Close() error {
	g.hear(errSilent)
	return g.Conn.Close()
}

func (g *greeting) hear(err error) {
	if g.heard.CompareAndSwap(false, true) {
		g.err = err
		close(g.came)
	}
}
