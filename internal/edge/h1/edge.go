// Package h1 is the HTTP/1.1 edge: it reads requests with fasthttp's codec under a Fiber app, checks them, has a
// pipeline.Handler answer, and renders the answer or the refusal.
//
// It promises that nothing of one request is ever taken for another, that an answer that broke off never looks complete, that
// every wait for a client has a bound, and that an exchange ends exactly once, after its last byte. Passing a request
// through allocates nothing. It doesn't route, knows no policy and keeps no state between requests but connections. A
// panic costs its request only.
package h1

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// maxBuffered bounds what all buffered request bodies together take.
const maxBuffered = 512 << 20

// Refuser is a Handler that also wants to see, for its log and metrics, requests that the edge refuses before they can be
// routed. It returns err, or what is to be rendered in its place.
type Refuser interface {
	Refuse(ctx context.Context, x *pipeline.Exchange, err error) error
}

// Edge serves one port. It is made by New.
type Edge struct {
	handler  pipeline.Handler
	refuser  Refuser // handler, when it is one
	proxies  *wire.Proxies
	log      *slog.Logger
	limits   limits
	app      *fiber.App
	through  fasthttp.RequestHandler // the app's own
	blank    fasthttp.ResponseHeader // an empty one with the server's settings
	learnt   atomic.Bool
	learning sync.Mutex
	memory   edge.Memory
	conns    registry

	handshakes edge.Handshakes
	faults     edge.Faults
	voucher    voucher // nil: the port asks for no certificates

	ctx      context.Context
	cancel   context.CancelFunc
	active   atomic.Int64
	draining atomic.Bool
	stopping atomic.Bool
	stopped  chan struct{}
	ln       atomic.Pointer[net.Listener]
}

type limits struct {
	header, headers   int
	body              int64
	read, write, idle time.Duration
	age               time.Duration // of a connection; 0: any
}

// New makes an edge; nothing listens yet. The error names a trusted proxy that can't be read.
func New(cfg edge.Config, handler pipeline.Handler, lg *slog.Logger) (*Edge, error) {
	proxies, err := wire.ParseProxies(cfg.TrustedProxies)
	if err != nil {
		return nil, fmt.Errorf("listen.trusted_proxies: %w", err)
	}
	if lg == nil {
		lg = slog.New(slog.DiscardHandler)
	}
	l := cfg.Limits
	e := &Edge{handler: handler, proxies: proxies, log: lg, stopped: make(chan struct{})}
	e.refuser, _ = handler.(Refuser)
	e.limits = limits{
		header: int(l.Header), headers: l.Headers, body: int64(l.Body),
		read: time.Duration(l.ReadTimeout), write: time.Duration(l.WriteTimeout), idle: time.Duration(l.IdleTimeout),
		age: time.Duration(l.ConnectionAge),
	}
	e.memory.Max = max(maxBuffered, 8*e.limits.body)
	e.conns.init(l.Connections, l.ConnectionsPerIP, func(n int) {
		e.log.Warn("connections refused: listen.limits.connections or connections_per_ip is reached", "since_last", n)
	})
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.build(l.Connections)
	return e, nil
}

// build sets up Fiber. Its time limits stay off: connections keep their own, per phase.
func (e *Edge) build(connections int) {
	e.app = fiber.New(fiber.Config{
		CaseSensitive: true, StrictRouting: true, DisableStartupMessage: true,
		StreamRequestBody: true, DisablePreParseMultipartForm: true,
		DisableHeaderNormalizing: true, DisableDefaultDate: true, DisableDefaultContentType: true,
		ReadBufferSize: e.limits.header, Concurrency: 2*connections + 16,
	})
	e.app.Use(func(c *fiber.Ctx) error { e.serve(c.Context()); return nil })
	e.through = e.app.Handler()
	srv := e.app.Server()
	srv.Handler = e.front
	srv.ErrorHandler = e.unreadable
	srv.HeaderReceived = withoutBody
	srv.Logger = connLog{e}
	srv.SecureErrorLogMessage = true
	srv.LazyRequestTime = true
	srv.KeepHijackedConns = true // tunnels close their own
}

// withoutBody has fasthttp believe that no body follows: bodies are read here, see conn.
func withoutBody(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	if h.ContentLength() != -2 {
		h.SetContentLength(-2)
	}
	if len(h.Peek("Expect")) > 0 {
		h.Del("Expect")
	}
	return fasthttp.RequestConfig{}
}

// front takes every request. Fiber refuses methods it does not know; those don't go through it, so that the route table
// alone says what is not allowed.
func (e *Edge) front(ctx *fasthttp.RequestCtx) {
	switch string(ctx.Method()) {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH":
		e.through(ctx)
	default:
		e.serve(ctx)
	}
}

func (e *Edge) serve(ctx *fasthttp.RequestCtx) {
	c, ok := ctx.Conn().(*conn)
	if !ok {
		ctx.SetStatusCode(fasthttp.StatusInternalServerError)
		return
	}
	c.phase.Store(phaseServing)
	defer e.rescue(ctx, c)
	ex := e.begin(ctx, c)
	err := ex.run()
	if ex.Switch.Tunnel != nil && ex.switchOver(err) {
		return
	}
	ex.render(err)
}

// rescue keeps a panic in our own rendering from ending the process: nothing is answered.
func (e *Edge) rescue(ctx *fasthttp.RequestCtx, c *conn) {
	if v := recover(); v != nil {
		_ = e.panicked(v)
		c.mute = true
		ctx.Response.SetBodyRaw(nil)
		ctx.SetConnectionClose()
	}
}

// learn keeps the header as the server hands it out. One of its settings can't be made from outside: that a Date is left
// as it is.
func (e *Edge) learn(h *fasthttp.ResponseHeader) {
	e.learning.Lock()
	defer e.learning.Unlock()
	if !e.learnt.Load() {
		h.CopyTo(&e.blank)
		e.learnt.Store(true)
	}
}

// Serve accepts connections until Shutdown, then returns nil.
func (e *Edge) Serve(ln net.Listener) error {
	e.ln.Store(&ln)
	e.voucher, _ = ln.(voucher)
	if e.stopping.Load() {
		return ln.Close()
	}
	err := e.app.Listener(&listener{ln, e})
	if e.stopping.Load() && (err == nil || errors.Is(err, net.ErrClosed)) {
		return nil
	}
	return err
}

// Drain has every answer from now on close its connection. New connections are still served.
func (e *Edge) Drain() { e.draining.Store(true) }

// Active is the number of running exchanges.
func (e *Edge) Active() int { return int(e.active.Load()) }

// pause waits, and is cut short by Shutdown: then it is false.
func (e *Edge) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-e.stopped:
		return false
	}
}

const (
	lastWords = 400 * time.Millisecond // for handlers to say that the gateway stops, before their connections are cut
	afterKill = time.Second            // for handlers whose connections are cut
)

// Shutdown stops accepting, closes connections that have no request, and waits for running exchanges. A request that has
// reached a waiting connection is still served. When ctx ends first handlers are told by their context, and then cut; the
// error says how many exchanges that were.
func (e *Edge) Shutdown(ctx context.Context) error {
	e.Drain()
	if e.stopping.Swap(true) {
		return nil
	}
	close(e.stopped)
	defer e.cancel()
	if ln := e.ln.Load(); ln != nil {
		_ = (*ln).Close()
	}
	done := e.conns.drained()
	e.conns.each((*conn).wake)
	if e.waitOrPart(ctx, done) {
		return nil
	}
	cut := e.Active()
	e.cancel()
	e.settle(lastWords)
	e.conns.each(func(c *conn) { _ = c.kill() })
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
