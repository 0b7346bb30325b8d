// Package observe tells operators what happens: one access line a request, metrics, trace ids, and recovery from panics.
//
// It promises that every request that ends is counted and that its line is whole, one line of JSON, and free of query
// values, cookies, tokens, keys and bodies. It does not promise that every line reaches the sink: when the sink blocks,
// lines are dropped and counted, because requests must not wait for a log. Labels come from the document and from fixed
// lists, never from a request.
package observe

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Unrouted is the route label of requests that no route took.
const Unrouted = "none"

// Observer makes the outermost layer of every plan. One serves the process; it outlives reloads.
type Observer struct {
	metrics *Metrics
	log     *AccessLog
	logger  *slog.Logger
	lines   sync.Pool // *[]byte
}

// New joins the three sinks. log nil: no access lines; logger nil: nothing about panics is said.
func New(m *Metrics, log *AccessLog, logger *slog.Logger) *Observer {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if log != nil {
		m.accessLog.Store(log)
	}
	o := &Observer{metrics: m, log: log, logger: logger}
	o.lines.New = func() any { line := make([]byte, 0, 1024); return &line }
	return o
}

// Layer observes a route; "" is for requests without one and counts as Unrouted.
func (o *Observer) Layer(route string) pipeline.Layer {
	label := route
	if label == "" {
		label = Unrouted
	}
	return func(next pipeline.Handler) pipeline.Handler {
		p := &probe{observer: o, route: route, counts: o.metrics.routes.get(label), next: next}
		p.atEnd = p.end
		return p
	}
}

// probe is the layer of one route.
type probe struct {
	observer *Observer
	route    string
	counts   *routeCounts
	next     pipeline.Handler
	atEnd    func(*pipeline.Exchange, pipeline.End) // made once: a fresh closure would be allocated for every request
}

// Serve gives the request its trace, and turns a panic below into an internal error.
func (p *probe) Serve(ctx context.Context, x *pipeline.Exchange) (err error) {
	Begin(x)
	p.counts.inFlight.Add(1)
	x.AtEnd(p.atEnd)
	defer func() {
		if v := recover(); v != nil {
			err = p.recovered(ctx, x, v)
		}
	}()
	return p.next.Serve(ctx, x)
}

// recovered logs where it happened. What the handler had begun to answer is dropped.
func (p *probe) recovered(ctx context.Context, x *pipeline.Exchange, v any) error {
	p.observer.logger.LogAttrs(ctx, slog.LevelError, "panic",
		slog.String("request_id", string(x.ID)),
		slog.String("route", p.route),
		slog.String("panic", cut(fmt.Sprint(v), maxText)),
		slog.String("stack", string(debug.Stack())))
	x.Response.Reset()
	return pipeline.Internal
}

// end runs after the last byte.
func (p *probe) end(x *pipeline.Exchange, end pipeline.End) {
	p.counts.inFlight.Add(-1)
	if end.At.IsZero() {
		end.At = time.Now()
	}
	end.Status = statusOf(end)
	p.counts.count(x, end)
	p.observer.metrics.called(x, end)
	if p.observer.log != nil {
		line := p.observer.lines.Get().(*[]byte)
		*line = appendLine((*line)[:0], x, end, p.route)
		p.observer.log.Write(*line)
		p.observer.lines.Put(line)
	}
}

// statusOf is the status that lines and labels show: 499 when nobody was left to read one.
func statusOf(end pipeline.End) int {
	switch {
	case end.Kind == pipeline.ClientGone:
		return pipeline.ClientGone.Status()
	case end.Status == 0 && end.Kind != 0:
		return end.Kind.Status()
	}
	return end.Status
}
