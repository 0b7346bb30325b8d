package h2

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// exchange is everything one request needs, pooled as a whole.
type exchange struct {
	pipeline.Exchange
	edge  *Edge
	out   http.ResponseWriter
	in    *http.Request
	req   request
	resp  response
	id    [40]byte
	text  []byte // the problem document
	err   error
	kind  pipeline.Refusal
	gone  context.Context
	sent  int64
	fails bool // the answer did not reach the client whole
	part  bool // GOAWAY goes out with the answer

	reads, writes     pauses // of the bodies
	cutRead, cutWrite func() // what ends them, made once
	held              bool   // net/http has bytes that were not flushed
}

var exchanges = sync.Pool{New: func() any {
	ex := &exchange{}
	ex.req.ex = ex
	ex.cutRead = func() { _ = http.NewResponseController(ex.out).SetReadDeadline(time.Unix(1, 0)) }
	ex.cutWrite = func() { _ = http.NewResponseController(ex.out).SetWriteDeadline(time.Unix(1, 0)) }
	return ex
}}

// ServeHTTP implements http.Handler. A panic with http.ErrAbortHandler has net/http reset the stream.
func (e *Edge) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	ex := e.begin(w, q)
	whole, waits, indivisible := false, time.Duration(0), false
	defer func() {
		if v := recover(); v != nil {
			_ = e.panicked(v)
		}
		ex.close()
		if !whole {
			panic(http.ErrAbortHandler)
		}
		if waits > 0 { // with nothing held any more
			linger(w, q, waits, indivisible)
		}
	}()
	ex.prepare(ex.run())
	if whole = ex.send(); whole {
		waits, indivisible = ex.lingers(), ex.indivisible()
	}
}

func (e *Edge) begin(w http.ResponseWriter, q *http.Request) *exchange {
	ex := exchanges.Get().(*exchange)
	ex.edge, ex.out, ex.in, ex.err, ex.kind, ex.sent, ex.fails, ex.part = e, w, q, nil, 0, 0, true, false
	ex.gone = q.Context()
	ex.resp.begin()
	ex.Begin(&ex.req, &ex.resp, ex)
	ex.Start = time.Now()
	ex.HTTP2 = true
	if c, ok := ex.gone.Value(connectionKey{}).(*connection); ok {
		ex.Peer, ex.PeerIP, ex.TLS = c.peer, c.peerIP, c.tls
		ex.part = edge.Retired(c.retires, ex.Start)
	}
	e.active.Add(1)
	return ex
}

// Gone implements pipeline.Liveness: the client reset the stream, or its connection ended.
func (ex *exchange) Gone() bool { return ex.gone.Err() != nil }

// Left is closed when the client leaves.
func (ex *exchange) Left() <-chan struct{} { return ex.gone.Done() }

// run has the handler answer, or refuse what the door refused. A panic is an internal error, never the end of the process.
func (ex *exchange) run() (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = ex.edge.panicked(v)
			ex.resp.Reset()
		}
	}()
	err = ex.req.begin(ex.in, &ex.edge.limits)
	ex.identify(err == nil)
	if err != nil {
		refusal := edge.RefusalOf(err)
		if refusal == pipeline.MethodNotAllowed {
			ex.resp.Set("Allow", []byte(edge.Methods))
		}
		return ex.refused(refusal)
	}
	if c, _ := ex.gone.Value(connectionKey{}).(*connection); !ex.edge.vouched(c) {
		ex.part = true // on a new connection the client learns from the handshake that it has to have another certificate
		return ex.refused(pipeline.Misdirected)
	}
	if err := ex.req.nothing(); err != nil {
		return ex.refused(err)
	}
	return ex.edge.handler.Serve(ex.edge.ctx, &ex.Exchange)
}

// identify finds out who asks, as far as proxies can be believed, and what the request is called.
func (ex *exchange) identify(readable bool) {
	from := ex.edge.proxies.Resolve(ex.Peer.Addr(), &ex.req.Head.Fields)
	ex.ClientIP = from.Client
	ex.Hops, ex.Asked = from.Chain, from.Host
	ex.Secure = ex.TLS != nil || from.Proto == "https"
	id := ex.req.Head.RequestID()
	if !readable {
		id = wire.FindRequestID(ex.req.raw)
	}
	if ex.ID = id; id == nil {
		ex.ID = wire.AppendRequestID(ex.id[:0])
	}
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

// watchRead bounds the pauses of the request's body.
func (ex *exchange) watchRead() *pauses {
	ex.reads.start(ex.edge.limits.read, ex.cutRead)
	return &ex.reads
}

// close ends the exchange.
func (ex *exchange) close() {
	if ex.req.pauses != nil {
		ex.req.pauses.stop()
	}
	if ex.err == nil {
		ex.err = ex.resp.err
	}
	end := pipeline.End{
		Status: ex.resp.final, Kind: ex.kind, Err: ex.err, At: time.Now(),
		BytesIn: ex.req.taken, BytesOut: ex.sent, Aborted: ex.fails,
	}
	for !ex.finished(end) { // a panic in one layer's part must not keep what the others hold
	}
	ex.req.end()
	ex.resp.end()
	ex.edge.active.Add(-1)
	ex.edge, ex.out, ex.in, ex.gone, ex.err = nil, nil, nil, nil, nil
	exchanges.Put(ex)
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
