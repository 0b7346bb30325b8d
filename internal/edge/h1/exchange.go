package h1

import (
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// exchange is everything one request needs, pooled as a whole. Its views alias the request's bytes, so it ends before
// fasthttp reuses them: Close is called by fasthttp when it resets the request, after the last byte was written.
type exchange struct {
	pipeline.Exchange
	edge *Edge
	conn *conn
	ctx  *fasthttp.RequestCtx
	req  request
	resp response
	id   [40]byte
	err  error
	kind pipeline.Refusal
	text []byte // the problem document, and the held head of a stream
}

var exchanges = sync.Pool{New: func() any {
	ex := &exchange{}
	ex.req.ex, ex.resp.ex, ex.resp.stream.ex = ex, ex, &ex.resp
	return ex
}}

// endKey files the exchange with fasthttp's request, which closes it.
const endKey = "oncegate.exchange"

func (e *Edge) begin(ctx *fasthttp.RequestCtx, c *conn) *exchange {
	ex := exchanges.Get().(*exchange)
	ex.edge, ex.conn, ex.ctx, ex.err, ex.kind = e, c, ctx, nil, 0
	ex.Begin(&ex.req, &ex.resp, c)
	ex.Start = time.Now()
	ex.Peer, ex.PeerIP, ex.TLS = c.peer, c.peerIP, c.handshake()
	if !e.learnt.Load() {
		e.learn(&ctx.Response.Header)
	}
	ex.resp.begin(&ctx.Response)
	ctx.SetUserValue(endKey, ex)
	e.active.Add(1)
	return ex
}

// check reads the head. What it refuses, nobody may read on from: the connection closes.
func (ex *exchange) check() error {
	h := &ex.ctx.Request.Header
	method, target, proto, raw := h.Method(), h.RequestURI(), h.Protocol(), h.RawHeaders()
	ex.req.begin(method, int64(ex.edge.limits.body))
	err := ex.req.Head.Check(method, target, proto, raw, wire.Limits{Headers: ex.edge.limits.headers})
	if err == nil && ex.conn.bad {
		err = wire.BadRequest
	}
	if err != nil {
		ex.identify(false)
		ex.giveUp()
		refusal := edge.RefusalOf(err)
		if refusal == pipeline.MethodNotAllowed {
			ex.resp.Set("Allow", []byte(edge.Methods))
		}
		return refusal
	}
	if !ex.conn.vouched() { // on a new connection the client learns from the handshake that it has to have another certificate
		ex.identify(true)
		ex.giveUp()
		return pipeline.Misdirected
	}
	head := &ex.req.Head
	if size := len(method) + len(target) + len(proto) + len("  \r\n") + max(len(raw), len("\r\n")); size != ex.conn.head {
		ex.close() // fasthttp took other bytes for the head than we gave it: the rest can't be trusted
	}
	if !head.KeepAlive() {
		ex.close()
	}
	ex.conn.body.begin(head.ContentLength(), head.ExpectContinue())
	if names := head.Trails(); names != nil {
		ex.RequestTrailers = announced(names)
	}
	ex.Switch.Asked = head.WebSocket() && string(method) == "GET"
	ex.identify(true)
	return nil
}

// giveUp has the connection closed: nobody can say where the next request would begin.
func (ex *exchange) giveUp() {
	ex.conn.body.begin(0, false)
	ex.conn.linger = true
	ex.close()
}

// identify finds out who asks, as far as proxies can be believed, and what the request is called.
func (ex *exchange) identify(readable bool) {
	from := ex.edge.proxies.Resolve(ex.Peer.Addr(), &ex.req.Head.Fields)
	ex.ClientIP = from.Client
	ex.Hops, ex.Asked = from.Chain, from.Host
	ex.Secure = ex.conn.secure || from.Proto == "https"
	id := ex.req.Head.RequestID()
	if !readable {
		id = ex.conn.draft.id
	}
	if ex.ID = id; len(id) == 0 {
		ex.ID = wire.AppendRequestID(ex.id[:0])
	}
}

// run has the handler answer, or refuse what the door refused. A panic is an internal error, never the end of the process.
func (ex *exchange) run() (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = ex.edge.panicked(v)
			ex.resp.Reset()
		}
	}()
	if err := ex.check(); err != nil {
		return ex.refused(err)
	}
	return ex.edge.handler.Serve(ex.edge.ctx, &ex.Exchange)
}

// refused lets the handler see what never reaches it.
func (ex *exchange) refused(err error) error {
	if ex.edge.refuser == nil {
		return err
	}
	return ex.edge.refuser.Refuse(ex.edge.ctx, &ex.Exchange, err)
}

func (e *Edge) panicked(v any) error {
	e.log.Error("panic while serving a request", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	return fmt.Errorf("panic: %w", pipeline.Internal)
}

// close has the connection closed after this answer.
func (ex *exchange) close() { ex.ctx.Response.Header.SetConnectionClose(); ex.resp.last = true }

// Close ends the exchange. fasthttp calls it, see endKey.
func (ex *exchange) Close() error {
	c := ex.conn
	broke := ex.resp.stream.broke()
	if !c.wrote || broke { // of what broke off, the last byte may lie long ago
		c.now = time.Now()
	}
	if ex.err == nil {
		ex.err = ex.resp.stream.err
	}
	end := pipeline.End{
		Status: ex.resp.final, Kind: ex.kind, Err: ex.err, At: c.now,
		BytesIn: c.body.taken, BytesOut: ex.resp.sent(), Aborted: c.failed || c.mute || broke,
	}
	ex.finish(end)
	ex.req.end()
	ex.resp.end()
	c.nextRequest()
	ex.edge.active.Add(-1)
	ex.edge, ex.conn, ex.ctx, ex.err = nil, nil, nil, nil
	exchanges.Put(ex)
	return nil
}

// finish ends every layer's part: a panic in one of them must not keep what the others hold.
func (ex *exchange) finish(end pipeline.End) {
	for !ex.finished(end) {
	}
}

func (ex *exchange) finished(end pipeline.End) (all bool) {
	defer func() {
		if v := recover(); v != nil {
			_ = ex.edge.panicked(v)
		}
	}()
	ex.Finish(end)
	return true
}
