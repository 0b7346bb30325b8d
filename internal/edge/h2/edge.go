// Package h2 is the HTTP/2 edge, over TLS and on clear text: net/http reads frames and gives requests, which are checked by the
// rules of the HTTP/1.1 edge, answered by the same pipeline.Handler and rendered to the same answers.
//
// It promises one reading of a request with h1, that an answer that broke off never looks complete (RST_STREAM), that every
// wait for a client has a bound, and that an exchange ends exactly once. Streams pass both ways at once, unbuffered. It
// doesn't route, knows no policy and keeps no state between requests but connections. A panic costs its request only.
// What frames may cost (header lists, CONTINUATION, resets, pings) is bounded by net/http; requests that it refuses itself
// are seen by no handler.
package h2

import (
	"context"
	"crypto/tls"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// Refuser is a Handler that also wants to see, for its log and metrics, requests that the edge refuses before they can be
// routed. It returns err, or what is to be rendered in its place.
type Refuser interface {
	Refuse(ctx context.Context, x *pipeline.Exchange, err error) error
}

// Edge serves the HTTP/2 connections of the port. It is made by New.
type Edge struct {
	handler pipeline.Handler
	refuser Refuser // handler, when it is one
	proxies *wire.Proxies
	log     *slog.Logger
	limits  limits
	memory  edge.Memory
	server  http.Server
	voucher voucher // nil: the port asks for no certificates
	faults  edge.Faults

	ctx      context.Context
	cancel   context.CancelFunc
	active   atomic.Int64
	draining atomic.Bool
	stopping atomic.Bool
}

type limits struct {
	header, headers int
	body            int64
	read, write     time.Duration
	age             time.Duration // of a connection; 0: any
}

const (
	maxBuffered  = 512 << 20 // what all buffered request bodies together take
	headerSlack  = 64 << 10  // heads above the limit by less get a problem document, those above by more end their connection
	perField     = 32        // what HTTP/2 adds to each field's size (RFC 9113 6.5.2)
	streamWindow = 256 << 10 // what a client may send of one request ahead of its reader
	connWindow   = 1 << 20   // and on one connection
	pingAfter    = 30 * time.Second
	pingTimeout  = 15 * time.Second
)

// New makes an edge; nothing is served yet. The error names a trusted proxy that can't be read.
func New(cfg edge.Config, handler pipeline.Handler, lg *slog.Logger) (*Edge, error) {
	proxies, err := wire.ParseProxies(cfg.TrustedProxies)
	if err != nil {
		return nil, fmt.Errorf("listen.trusted_proxies: %w", err)
	}
	if lg == nil {
		lg = slog.New(slog.DiscardHandler)
	}
	l := cfg.Limits
	e := &Edge{handler: handler, proxies: proxies, log: lg}
	e.refuser, _ = handler.(Refuser)
	e.limits = limits{
		header: int(l.Header), headers: l.Headers, body: int64(l.Body), read: l.ReadTimeout.Std(), write: l.WriteTimeout.Std(),
		age: l.ConnectionAge.Std(),
	}
	e.memory.Max = max(maxBuffered, 8*e.limits.body)
	e.ctx, e.cancel = context.WithCancel(context.Background())
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	e.server = http.Server{
		Handler: e, Protocols: protocols, DisableGeneralOptionsHandler: true, ConnContext: e.meet, ErrorLog: log.New(chatter{lg, &e.faults}, "", 0),
		MaxHeaderBytes: e.limits.header + perField*e.limits.headers + headerSlack,
		IdleTimeout:    l.IdleTimeout.Std(), ReadHeaderTimeout: e.limits.read,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: l.Streams, MaxReceiveBufferPerStream: streamWindow, MaxReceiveBufferPerConnection: connWindow,
			SendPingTimeout: pingAfter, PingTimeout: pingTimeout, WriteByteTimeout: e.limits.write,
			CountError: func(what string) { e.faults.Add(faultOf(what)) },
		},
	}
	return e, nil
}

// connection is what all requests of a connection share.
type connection struct {
	peer    netip.AddrPort
	peerIP  []byte
	retires time.Time // see edge.Retires
	tls     *pipeline.TLS
	state   *tls.ConnectionState // of a connection with a certificate
	cas     atomic.Uint64        // the generation of CAs that vouched for it last; 0: those of the handshake
}

// voucher is a port whose CAs can change while connections live, see edge.Port.
type voucher interface {
	Generation() uint64 // of the CAs, from 1 on
	Trusts(state *tls.ConnectionState) bool
}

// vouched reports that the CAs of this moment stand for the connection's certificate, as those of its handshake did.
func (e *Edge) vouched(c *connection) bool {
	if e.voucher == nil || c == nil || c.state == nil {
		return true
	}
	present := e.voucher.Generation()
	if present == c.cas.Load() {
		return true
	}
	if !e.voucher.Trusts(c.state) {
		return false
	}
	c.cas.Store(present)
	return true
}

type connectionKey struct{}

// meet notes who is at the other end.
func (e *Edge) meet(ctx context.Context, nc net.Conn) context.Context {
	c := &connection{retires: edge.Retires(time.Now(), e.limits.age)}
	if t, ok := nc.(*tls.Conn); ok {
		state := t.ConnectionState()
		if c.tls = edge.Said(&state); c.tls.Certificate != nil {
			c.state = &state
		}
	}
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		p := a.AddrPort()
		c.peer = netip.AddrPortFrom(p.Addr().Unmap().WithZone(""), p.Port())
		c.peerIP = c.peer.Addr().AppendTo(nil)
	}
	return context.WithValue(ctx, connectionKey{}, c)
}

// Serve takes connections from ln until Shutdown, then returns nil. They begin with HTTP/2's preface, or their handshake is
// made and chose it.
func (e *Edge) Serve(ln net.Listener) error {
	e.voucher, _ = ln.(voucher)
	err := e.server.Serve(ln)
	if e.stopping.Load() {
		return nil
	}
	return err
}

// Drain has every answer from now on tell its client to open no further stream (GOAWAY). New connections are still served.
func (e *Edge) Drain() { e.draining.Store(true) }

// Faults are what clients did against the protocol, as far as net/http tells: see docs/protocols.md.
func (e *Edge) Faults() *edge.Faults { return &e.faults }

// Active is the number of running exchanges.
func (e *Edge) Active() int { return int(e.active.Load()) }

const (
	lastWords = 400 * time.Millisecond // for handlers to say that the gateway stops, before their connections are cut
	afterKill = time.Second            // for handlers whose connections are cut
)

// Shutdown takes no more connections, sends GOAWAY, and waits for running exchanges. When ctx ends first handlers are told by
// their context, and then cut; the error says how many exchanges that were.
func (e *Edge) Shutdown(ctx context.Context) error {
	e.Drain()
	if e.stopping.Swap(true) {
		return nil
	}
	defer e.cancel()
	if e.server.Shutdown(ctx) == nil {
		e.settle(afterKill) // the last byte is out; the ends of exchanges may yet be running
		return nil
	}
	cut := e.Active()
	e.cancel()
	e.settle(lastWords)
	_ = e.server.Close()
	e.settle(afterKill)
	if cut > 0 {
		return fmt.Errorf("%d running exchanges were cut: %w", cut, ctx.Err())
	}
	return nil
}

// settle waits until no exchange runs, at most for limit.
func (e *Edge) settle(limit time.Duration) {
	for by := time.Now().Add(limit); e.Active() > 0 && time.Now().Before(by); {
		time.Sleep(time.Millisecond)
	}
}
