package h1

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Dialer makes connections to one target.
type Dialer struct {
	Addr string      // host:port
	TLS  *tls.Config // nil: plain TCP
}

// dial connects, with the TLS handshake, until end. Errors wrap UpstreamFailed or UpstreamTimeout.
func (d *Dialer) dial(ctx context.Context, p *Pool, end time.Time) (*Conn, error) {
	dialer := net.Dialer{Deadline: end}
	nc, err := dialer.DialContext(ctx, "tcp", d.Addr)
	if err != nil {
		return nil, connectError("connecting", err)
	}
	var socket syscall.RawConn
	if sc, ok := nc.(syscall.Conn); ok {
		socket, _ = sc.SyscallConn()
	}
	if d.TLS != nil {
		if nc, err = d.handshake(ctx, nc, end); err != nil {
			return nil, err
		}
	}
	return newConn(nc, socket, d.TLS != nil, p, time.Now(), 0.9+0.2*rand.Float64()), nil
}

func (d *Dialer) handshake(ctx context.Context, nc net.Conn, end time.Time) (net.Conn, error) {
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	watched := &endWatch{Conn: nc}
	secure := tls.Client(watched, d.TLS)
	err := secure.HandshakeContext(ctx)
	if err == nil {
		if got := secure.ConnectionState().NegotiatedProtocol; got != "" && got != "http/1.1" {
			err = fmt.Errorf("protocol %q was chosen", got)
		}
	}
	if err != nil {
		_ = nc.Close()
		return nil, connectError("TLS handshake", err)
	}
	return secureConn{secure, watched}, nil
}

// secureConn knows whether TLS announced the end of what the upstream sent. crypto/tls does not tell: it takes the end of the
// TCP stream for an end as good as the alert, though anybody on the way can make one.
type secureConn struct {
	*tls.Conn
	tcp *endWatch
}

func (s secureConn) cut() bool { return s.tcp.ended }

// endWatch notes that TCP ended; after the closing alert crypto/tls reads no further.
type endWatch struct {
	net.Conn
	ended bool
}

func (w *endWatch) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	w.ended = w.ended || err == io.EOF
	return n, err
}

// stopped tells the end of a time from the end of the gateway.
func stopped(err error) pipeline.Refusal {
	if errors.Is(err, context.Canceled) {
		return pipeline.Draining
	}
	return pipeline.UpstreamTimeout
}

func connectError(what string, err error) error {
	kind := pipeline.UpstreamFailed
	var ne net.Error
	switch {
	case errors.Is(err, context.Canceled):
		kind = pipeline.Draining
	case errors.Is(err, context.DeadlineExceeded) || errors.As(err, &ne) && ne.Timeout():
		kind = pipeline.UpstreamTimeout
	}
	return fmt.Errorf("%w: %s: %w", kind, what, err)
}
