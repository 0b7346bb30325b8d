// Package health asks targets whether they are well, on connections of its own.
//
// It promises one question at a time for each target, spread over the interval, and that a target changes sides only after a
// number of equal answers in a row. A target is well until it is proven otherwise. What checks are worth beside what calls found
// is the caller's business.
package health

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Settings are what is asked and how often. They are comparable: equal ones need no new checker.
type Settings struct {
	TCP                bool // a connection is enough
	GRPC               bool // grpc.health.v1 is asked
	Service            string
	Path               string
	Expect             Statuses
	Interval, Timeout  time.Duration
	Unhealthy, Healthy int // answers in a row
}

// Target is who is asked.
type Target struct {
	Addr, Host string
	TLS        func() *tls.Config // asked for each connection; nil: plain
	HTTP2      bool
	Either     bool // the handshake may choose HTTP/1.1 all the same; not for gRPC
}

// Watch is told of each check, when it began and how it ended, and then when the target changes sides, with what the last check
// said; why is "" when it is well.
type Watch interface {
	Checked(passed bool, began time.Time)
	Health(well bool, why string)
}

// Run checks t until ctx ends. well is what is believed of it at the start. The first check comes within an interval.
func Run(ctx context.Context, s Settings, t Target, well bool, w Watch) {
	p := newProbe(&s, &t)
	defer p.close()
	timer := time.NewTimer(time.Duration(rand.Float64() * float64(s.Interval)))
	defer timer.Stop()
	for against := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		began := time.Now()
		err := p.ask(ctx)
		if ctx.Err() != nil {
			return
		}
		w.Checked(err == nil, began)
		limit := s.Unhealthy
		if !well {
			limit = s.Healthy
		}
		if against++; (err == nil) == well {
			against = 0
		}
		if against >= limit {
			well, against = !well, 0
			w.Health(well, words(err))
		}
		timer.Reset(time.Duration((0.9 + 0.2*rand.Float64()) * float64(s.Interval)))
	}
}

func words(err error) string {
	if err == nil {
		return ""
	}
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err // without the URL
	}
	return err.Error()
}

type probe struct {
	s      *Settings
	t      *Target
	client *http.Client
}

func newProbe(s *Settings, t *Target) *probe {
	p := &probe{s: s, t: t}
	if s.TCP {
		return p
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!t.HTTP2 || p.either())
	protocols.SetHTTP2(t.HTTP2)
	protocols.SetUnencryptedHTTP2(t.HTTP2 && t.TLS == nil)
	p.client = &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true, // whether it takes new connections is part of the question
			Protocols:         protocols,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", t.Addr)
			},
			DialTLSContext:         p.secure,
			MaxResponseHeaderBytes: 64 << 10, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return p
}

func (p *probe) either() bool { return p.t.Either && !p.s.GRPC }

func (p *probe) scheme() string {
	if p.t.TLS != nil {
		return "https://"
	}
	return "http://"
}

// secure connects with TLS; what the handshake chose is what net/http speaks then.
func (p *probe) secure(ctx context.Context, _, _ string) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", p.t.Addr)
	if err != nil {
		return nil, err
	}
	secure := tls.Client(nc, p.t.TLS())
	err = secure.HandshakeContext(ctx)
	if err == nil && p.t.HTTP2 && !p.either() && secure.ConnectionState().NegotiatedProtocol != "h2" {
		err = errors.New("HTTP/2 was not chosen")
	}
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	return secure, nil
}

func (p *probe) close() {
	if p.client != nil {
		p.client.CloseIdleConnections()
	}
}

func (p *probe) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.s.Timeout)
	defer cancel()
	if p.s.TCP {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", p.t.Addr)
		if err != nil {
			return err
		}
		return c.Close()
	}
	if p.s.GRPC {
		return p.askGRPC(ctx)
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, p.scheme()+p.t.Host+p.s.Path, nil)
	if err != nil {
		return errors.New("the path can't be asked for")
	}
	q.Header.Set("User-Agent", "oncegate-health")
	answer, err := p.client.Do(q)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.CopyN(io.Discard, answer.Body, 64<<10); err != nil && err != io.EOF {
		return err
	}
	if !p.s.Expect.Has(answer.StatusCode) {
		return fmt.Errorf("status %d", answer.StatusCode)
	}
	return nil
}
