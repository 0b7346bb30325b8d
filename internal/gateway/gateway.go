// Package gateway compiles a document into one immutable snapshot of plans and swaps snapshots.
//
// It promises that a request stays with the snapshot that it began with, that a reload either takes effect whole or changes
// nothing, and that state (buckets, records, breakers, pools, key sets) outlives every reload. It does not listen, read
// files or know transports. When a document can't be compiled the old snapshot stays, a metric says so, and the problems can
// be read on the admin port.
package gateway

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/oncegate/oncegate/internal/config"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// Gateway is the pipeline.Handler that an edge is given.
type Gateway struct {
	current atomic.Pointer[Snapshot]
	state   *State

	mu sync.Mutex // one reload at a time
}

// New compiles the first document. A *config.Error is not among its errors: the document has been checked.
func New(doc *config.Document, state *State) (*Gateway, error) {
	snap, err := compile(doc, state, nil)
	if err != nil {
		return nil, err
	}
	g := &Gateway{state: state}
	g.current.Store(snap)
	snap.settle()
	state.look()
	state.Live(snap)
	state.Metrics.Gauge("gateway_auth_issuers_without_keys", "Issuers whose tokens are answered 503, because their keys never came or are too old.", func() float64 {
		return float64(len(g.Snapshot().Authority.Ready()))
	})
	return g, nil
}

// Serve answers an exchange by the snapshot of this moment; it loads the pointer once.
func (g *Gateway) Serve(ctx context.Context, x *pipeline.Exchange) error {
	return g.current.Load().Serve(ctx, x)
}

// Refuse lets log and metrics see what the edge refuses before it can be routed. It gives back err.
func (g *Gateway) Refuse(ctx context.Context, x *pipeline.Exchange, err error) error {
	x.Deferred = err
	return g.current.Load().unrouted.Serve(ctx, x)
}

// Snapshot is the running configuration.
func (g *Gateway) Snapshot() *Snapshot { return g.current.Load() }

// State is what outlives snapshots.
func (g *Gateway) State() *State { return g.state }

// Apply makes doc the running configuration, or returns an error and changes nothing.
func (g *Gateway) Apply(doc *config.Document) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.current.Load()
	if keys := fixed(old.Document, doc); len(keys) > 0 {
		return &RestartError{keys}
	}
	next, err := compile(doc, g.state, old)
	if err != nil {
		g.state.forgetFlags(old.flags)
		return err
	}
	g.current.Store(next)
	next.settle()
	g.state.look()
	old.close()
	old.Authority.Retire(next.Authority)
	g.state.Live(next)
	return nil
}

// Close ends background work. No exchange may be running.
func (g *Gateway) Close() error {
	live := g.current.Load()
	live.Authority.Close()
	err := g.state.Close()
	live.close()
	return err
}
