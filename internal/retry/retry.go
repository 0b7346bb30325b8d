// Package retry makes further calls to an upstream when one has failed, or is slow.
//
// It promises: a request is sent again only when no byte of it was sent, or when its method is one that may be repeated, or
// it is a keyed write whose claim agrees (below), and its body is still whole in memory; never after its answer began to reach the client; never beyond the
// route's deadline; and all retries of an upstream together stay within one budget. The last answer of an upstream is passed
// on, not one of our own. It does not pick targets, and it does not know what a breaker is: it asks one question (Ready). A
// keyed write is sent again only when the first call was proven not to have been sent, or when dedup, which holds its claim,
// agrees (Redispatch): its upstream deduplicates by itself. There is no store that could fail.
package retry

import (
	"context"
	"strconv"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

const (
	keptBody = 64 << 10              // a request body up to this size is kept for a retry
	leastTry = 10 * time.Millisecond // no try is begun with less time than this
	look     = 250 * time.Millisecond
)

// Recorder hears of retries, for metrics. Words are of fixed lists. It must not block.
type Recorder interface {
	Retried(upstream, why string)                // connect, reset, timeout, or a status
	RetryRefused(upstream, why string)           // budget, breaker, deadline, pushback: a retry that was due and not made
	Hedged(upstream string, second, budget bool) // second: the hedge won; budget false: none was made for want of it
}

// Deps are what the layer works with. Ready tells whether a call would be let through now; nil: always. Recorder may be nil.
type Deps struct {
	State    *State
	Ready    func(now time.Time) bool
	Recorder Recorder
}

// State is what an upstream's retries share, over all routes and reloads.
type State struct {
	Budget  *Budget
	latency quantile
}

// NewState makes the state of an upstream.
func NewState() *State { return &State{Budget: NewBudget()} }

type retrier struct {
	upstream string
	cfg      Config
	on       failures
	methods  []string
	deps     Deps
	next     pipeline.Handler
}

// New makes the layer of an upstream.
func New(upstream string, cfg Config, deps Deps) pipeline.Layer {
	if deps.Ready == nil {
		deps.Ready = func(time.Time) bool { return true }
	}
	if deps.Recorder == nil {
		deps.Recorder = nobody{}
	}
	return func(next pipeline.Handler) pipeline.Handler {
		return &retrier{upstream, cfg, cfg.failures(), cfg.methods(), deps, next}
	}
}

type nobody struct{}

func (nobody) Retried(string, string)      {}
func (nobody) RetryRefused(string, string) {}
func (nobody) Hedged(string, bool, bool)   {}

// Serve implements pipeline.Handler.
func (r *retrier) Serve(ctx context.Context, x *pipeline.Exchange) error {
	r.deps.State.Budget.Call(time.Now())
	marked := tried(x)
	repeat := !marked && r.repeatable(x)
	if repeat {
		if err := keepBody(x); err != nil {
			return err
		}
	}
	sent, problem, mark := x.Effect, x.Problem, x.Mark()
	once := x.Attempt.Once
	x.Attempt.Once = !marked
	defer func() { x.Attempt.Once = once }() // whoever calls another upstream next decides for itself
	for n := 1; ; n++ {
		x.Effect = pipeline.EffectNone
		err := r.try(ctx, x, n)
		last := x.Effect
		x.Effect = max(x.Effect, sent)
		sent = x.Effect
		why := r.why(x, err, last, repeat)
		if why == "" || n >= r.cfg.Attempts || marked {
			return err
		}
		wait, refused := r.wait(x, err, n+1)
		if refused != "" {
			r.deps.Recorder.RetryRefused(r.upstream, refused)
			return r.late(err, refused)
		}
		if x.Keyed && last > pipeline.EffectNone && !x.Again.Redispatch(ctx) {
			return err
		}
		x.Abandon(mark, pipeline.End{Status: x.Response.Status(), Kind: pipeline.KindOf(err), Err: err, At: time.Now()})
		x.Problem = problem
		if err := pause(ctx, x, wait); err != nil {
			return err
		}
		x.Attempt.Retried = why
		r.deps.Recorder.Retried(r.upstream, why)
	}
}

// try makes one call; the first of a request that may be hedged is a race.
func (r *retrier) try(ctx context.Context, x *pipeline.Exchange, n int) error {
	if n == 1 && r.hedgeable(x) {
		return r.race(ctx, x)
	}
	return r.call(ctx, x, n)
}

// call is one call, announced when the upstream is to know.
func (r *retrier) call(ctx context.Context, x *pipeline.Exchange, n int) error {
	if !r.cfg.Announce {
		return r.next.Serve(ctx, x)
	}
	return r.announced(ctx, x, n)
}

// repeatable: a request that may reach the upstream twice. A keyed write may only where the upstream deduplicates.
func (r *retrier) repeatable(x *pipeline.Exchange) bool {
	if x.Keyed {
		return x.Again != nil && !x.Calls()
	}
	method := x.Request.Method()
	for _, m := range r.methods {
		if string(method) == m {
			return true
		}
	}
	return false
}

// keepBody reads a short body now, so that it can be sent again.
func keepBody(x *pipeline.Exchange) error {
	if x.Calls() {
		keepStream(x)
		return nil
	}
	return x.KeepBody(keptBody)
}

// why gives the word of a failure that may be tried again, or "". effect is that of the last try alone.
func (r *retrier) why(x *pipeline.Exchange, err error, effect pipeline.Effect, repeat bool) string {
	kind := pipeline.KindOf(err)
	failed := kind == pipeline.UpstreamFailed || kind == pipeline.UpstreamTimeout
	if failed && effect == pipeline.EffectNone && r.on.connect {
		return "connect"
	}
	if !repeat || effect == pipeline.EffectNone {
		return ""
	}
	if _, whole := x.Request.Buffered(); !whole {
		return ""
	}
	switch {
	case x.Calls():
		if err != nil {
			return ""
		}
		return r.refusedCall(x)
	case kind == pipeline.UpstreamFailed && r.on.reset:
		return "reset"
	case kind == pipeline.UpstreamTimeout && r.on.timeout:
		return "timeout"
	case err == nil && x.Keyed && x.Response.Status() != 502 && x.Response.Status() != 504:
		return "" // the upstream knows what became of it, and said so
	case err == nil:
		return r.answered(x.Response.Status())
	}
	return ""
}

func (r *retrier) answered(status int) string {
	if status < 0 || status >= len(r.on.statuses) || !r.on.statuses[status] {
		return ""
	}
	for _, word := range statuses {
		if n, _ := strconv.Atoi(word); n == status {
			return word
		}
	}
	return ""
}
