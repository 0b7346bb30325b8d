package retry

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// hedgeable: a second call may be made beside the first without anybody noticing.
func (r *retrier) hedgeable(x *pipeline.Exchange) bool {
	if r.cfg.Hedge == nil || x.Keyed || x.Switch.Granted || x.Request.ContentLength() != 0 {
		return false
	}
	method := string(x.Request.Method())
	return method == "GET" || method == "HEAD"
}

// leg is one of two calls of a race.
type leg struct {
	*pipeline.Detached
	cancel context.CancelFunc
	took   time.Duration
	err    error
	second bool
}

// race makes a call, and a second one when the first takes long. The first good answer is taken; the other call is cancelled,
// which closes its connection, and counts for nothing.
func (r *retrier) race(ctx context.Context, x *pipeline.Exchange) error {
	done := make(chan *leg, 2)
	legs := []*leg{r.start(ctx, x, done, 1)}
	defer func() {
		for _, l := range legs {
			l.cancel() // those whose answers were not taken
		}
	}()
	wait := time.NewTimer(r.patience())
	defer wait.Stop()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for running := 1; ; {
		select {
		case l := <-done:
			running--
			if good := r.good(l); good || running == 0 {
				return r.settle(x, l, legs, running, done)
			}
			x.Effect = max(x.Effect, l.Effect)
			discard(l, nil, 0)
		case <-wait.C:
			if r.deps.State.Budget.Take(float64(r.cfg.Budget), r.cfg.Floor, time.Now()) {
				legs = append(legs, r.start(ctx, x, done, 2))
				running++
			} else {
				r.deps.Recorder.Hedged(r.upstream, false, false)
			}
		case <-tick.C:
			if x.Gone() {
				go discard(nil, done, running)
				return pipeline.ClientGone
			}
		}
	}
}

// start begins a call in a goroutine of its own, which ends with the call: by its deadline at the latest.
func (r *retrier) start(ctx context.Context, x *pipeline.Exchange, done chan<- *leg, n int) *leg {
	ctx, cancel := context.WithCancel(ctx)
	l := &leg{Detached: x.Detach(nil), cancel: cancel, second: n == 2}
	l.Attempt.Once = x.Attempt.Once
	began := time.Now()
	go func() {
		defer func() {
			if p := recover(); p != nil {
				l.err = fmt.Errorf("%w: panic: %v\n%s", pipeline.Internal, p, debug.Stack())
			}
			l.took = time.Since(began)
			done <- l
		}()
		l.err = r.call(ctx, &l.Exchange, n)
	}()
	return l
}

// good: an answer that no retry is made on.
func (r *retrier) good(l *leg) bool {
	return l.err == nil && r.answered(l.Response.Status()) == ""
}

// settle takes the answer of l, and ends the other call.
func (r *retrier) settle(x *pipeline.Exchange, l *leg, legs []*leg, running int, done <-chan *leg) error {
	for _, one := range legs {
		if one != l {
			one.cancel()
		}
	}
	if running > 0 {
		go discard(nil, done, running)
	}
	if l.err == nil {
		r.deps.State.latency.add(l.took)
	}
	if len(legs) > 1 {
		l.Attempt.Retried = "hedge"
		r.deps.Recorder.Hedged(r.upstream, l.second, true)
	}
	l.Attempt.Count = max(len(legs), l.Attempt.Count) // what still runs can't be asked
	if l.err == nil {
		cancel := l.cancel
		l.cancel = func() {} // its body is still to come
		l.Deliver(x)
		x.AtEnd(func(*pipeline.Exchange, pipeline.End) { cancel() })
	} else {
		x.Effect, x.Problem = max(x.Effect, l.Effect), l.Problem
		x.Attempt.Join(l.Attempt)
		l.Finish(pipeline.End{Kind: pipeline.KindOf(l.err), Err: l.err, At: time.Now()})
	}
	return l.err
}

// discard ends calls whose answers nobody takes: one that is over, or those that still run.
func discard(l *leg, done <-chan *leg, running int) {
	for l != nil || running > 0 {
		if l == nil {
			l = <-done
			running--
		}
		l.Response.Reset()
		l.Finish(pipeline.End{Kind: pipeline.ClientGone, Err: pipeline.ClientGone, At: time.Now()})
		l.cancel()
		l = nil
	}
}

// patience is how long the first call is waited for before a second is made.
func (r *retrier) patience() time.Duration {
	if after := r.cfg.Hedge.After.Std(); after > 0 {
		return after
	}
	return max(r.deps.State.latency.value(), r.cfg.Hedge.Least.Std())
}
