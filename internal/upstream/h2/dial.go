package h2

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/upstream/h1"
)

// Sizes and times of one connection. They are no settings: each is safe for every upstream.
const (
	streamBuffer = 256 << 10 // of an answer that its client does not read; also what the upstream may send ahead
	maxHead      = 64 << 10
	pingAfter    = 15 * time.Second // of silence
	pingWait     = 10 * time.Second
	maxLifetime  = 5 * time.Minute
)

var (
	errNotHTTP2 = errors.New("the other end does not speak HTTP/2")
	errSilent   = errors.New("the connection ended before its settings came")
)

// newTransport makes connections from sockets that stand in the context. TLS, if any, is done before: to net/http they all
// look alike.
func newTransport() *http.Transport {
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return ctx.Value(socketKey{}).(net.Conn), nil
		},
		DisableCompression: true, MaxResponseHeaderBytes: maxHead, Protocols: new(http.Protocols),
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: streamBuffer, SendPingTimeout: pingAfter, PingTimeout: pingWait,
			WriteByteTimeout: pingAfter},
	}
	t.Protocols.SetUnencryptedHTTP2(true)
	return t
}

type socketKey struct{}

// dial connects and waits for the other end's settings: a server that refuses a client certificate in TLS 1.3, or does not
// speak HTTP/2, says so only now. Nothing was asked by then.
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
	now := time.Now()
	life := time.Duration(float64(maxLifetime) * (0.9 + 0.2*rand.Float64()))
	return &Conn{cc: cc, pool: p, retire: now.Add(life), idleUntil: now.Add(limit)}, nil
}

// greeting notices the first bytes that come: they must be a SETTINGS frame (RFC 9113 3.4). net/http reads from one goroutine.
type greeting struct {
	net.Conn
	head  [4]byte
	n     int
	heard bool
	came  chan struct{} // closed when it is clear
	err   error         // valid then
}

func (g *greeting) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if !g.heard {
		g.n += copy(g.head[g.n:], p[:n])
		switch {
		case g.n == len(g.head) && g.head[3] != 4:
			g.hear(errNotHTTP2)
		case g.n == len(g.head):
			g.hear(nil)
		case err != nil && g.n > 0:
			g.hear(errSilent)
		case err != nil:
			g.hear(err)
		}
	}
	return n, err
}

func (g *greeting) hear(err error) {
	g.heard, g.err = true, err
	close(g.came)
}

// lost is the error of calls that found no connection in time.
func lost(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return h1.ConnectError("waiting for a connection", err)
	}
	return pipeline.Draining
}
