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

	"golang.org/x/sys/unix"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Dialer makes connections to one target.
type Dialer struct {
	Addr  string             // host:port
	TLS   func() *tls.Config // asked for each connection; nil: plain TCP
	HTTP2 bool               // TLS must choose h2, see ErrNotHTTP2; else it must not
}

// ErrNotHTTP2 is in the error of a connection whose TLS handshake chose HTTP/1.1, or nothing.
var ErrNotHTTP2 = errors.New("HTTP/2 was not chosen")

func (d *Dialer) dial(ctx context.Context, p *Pool, end time.Time) (*Conn, error) {
	nc, socket, err := d.Connect(ctx, end)
	if err != nil {
		return nil, err
	}
	return newConn(nc, socket, d.TLS != nil, p, time.Now(), 0.9+0.2*rand.Float64()), nil
}

// Connect connects, with the TLS handshake, until end. Errors wrap UpstreamFailed or UpstreamTimeout.
func (d *Dialer) Connect(ctx context.Context, end time.Time) (nc net.Conn, socket syscall.RawConn, err error) {
	dialer := net.Dialer{Deadline: end}
	if nc, err = dialer.DialContext(ctx, "tcp", d.Addr); err != nil {
		return nil, nil, ConnectError("connecting", err)
	}
	if sc, ok := nc.(syscall.Conn); ok {
		socket, _ = sc.SyscallConn()
	}
	if d.TLS != nil {
		if nc, err = d.handshake(ctx, nc, socket, end); err != nil {
			return nil, nil, err
		}
	}
	return nc, socket, nil
}

func (d *Dialer) handshake(ctx context.Context, nc net.Conn, socket syscall.RawConn, end time.Time) (net.Conn, error) {
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	watched := &endWatch{Conn: nc}
	cfg, asked := watchAsked(d.TLS())
	secure := tls.Client(watched, cfg)
	err := secure.HandshakeContext(ctx)
	if err == nil {
		state := secure.ConnectionState()
		switch got := state.NegotiatedProtocol; {
		case d.HTTP2 && got != "h2":
			err = ErrNotHTTP2
		case !d.HTTP2 && got != "" && got != "http/1.1":
			err = fmt.Errorf("protocol %q was chosen", got)
		case !d.HTTP2 && *asked && state.Version == tls.VersionTLS13:
			err = verdict(secure, nc, socket, end)
		}
	}
	if err != nil {
		_ = nc.Close()
		return nil, ConnectError("TLS handshake", err)
	}
	return secureConn{secure, watched}, nil
}

// watchAsked notes whether the other end wants a client certificate.
func watchAsked(cfg *tls.Config) (*tls.Config, *bool) {
	asked := new(bool)
	get := cfg.GetClientCertificate
	cfg = cfg.Clone()
	cfg.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		*asked = true
		if get == nil {
			return &tls.Certificate{}, nil
		}
		return get(info)
	}
	return cfg, asked
}

// verdictWait is the time for what a server says about a client certificate. Those that accept it send a session ticket;
// one that stays silent is believed.
const verdictWait = 100 * time.Millisecond

// verdict waits for what a TLS 1.3 server says about the client certificate. The handshake ends before that: without the wait
// a request would be sent, and nobody could tell what became of it.
func verdict(secure *tls.Conn, nc net.Conn, socket syscall.RawConn, end time.Time) error {
	if socket == nil {
		return nil
	}
	_ = nc.SetReadDeadline(earlier(end, time.Now().Add(verdictWait)))
	defer func() { _ = nc.SetReadDeadline(time.Time{}) }()
	err := socket.Read(func(fd uintptr) bool {
		fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds[:], 0)
		return n > 0 || err != nil && err != unix.EINTR
	})
	if err != nil {
		return nil // silence
	}
	_ = nc.SetReadDeadline(time.Now().Add(time.Millisecond))
	n, err := secure.Read(make([]byte, 1))
	switch {
	case n > 0:
		return errUnsolicited
	case timedOut(err):
		return nil
	}
	return err
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

// Stopped tells the end of a time from the end of the gateway.
func Stopped(err error) pipeline.Refusal {
	if errors.Is(err, context.Canceled) {
		return pipeline.Draining
	}
	return pipeline.UpstreamTimeout
}

// ConnectError names what became of an attempt to connect.
func ConnectError(what string, err error) error {
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
