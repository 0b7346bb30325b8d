package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// FailedLogins stands directly outside auth and counts credentials that were refused, by address: limit is a Bucket by ip. When
// the address has spent it, a refused credential gets rate-limited in place of unauthenticated. A good credential always
// passes, and a request without one is not counted: whoever floods an address locks nobody else out of it. Nor is a refusal
// that says Harmless: all was good, and the client only has to send it again.
// fields are those in which a credential may come.
func FailedLogins(limit *Limit, fields []string, store Store, rec Recorder) pipeline.Layer {
	if rec == nil {
		rec = silent{}
	}
	return func(next pipeline.Handler) pipeline.Handler {
		l := &logins{limit: limit, fields: fields, Deps: Deps{Store: store, Recorder: rec}, next: next}
		l.calls.New = func() any { return &call{charges: make([]Charge, 1)} }
		return l
	}
}

type logins struct {
	limit  *Limit
	fields []string
	Deps
	calls sync.Pool
	next  pipeline.Handler
}

// Serve implements pipeline.Handler.
func (l *logins) Serve(ctx context.Context, x *pipeline.Exchange) error {
	err := l.next.Serve(ctx, x)
	if pipeline.KindOf(err) != pipeline.Unauthenticated || harmless(err) || !l.tried(x.Request) {
		return err
	}
	return l.failed(ctx, x, err)
}

func harmless(err error) bool {
	var says interface{ Harmless() bool }
	return errors.As(err, &says) && says.Harmless()
}

// tried reports that a credential came: one that did not know that it needs one guesses nothing.
func (l *logins) tried(r pipeline.Request) bool {
	for _, name := range l.fields {
		if r.Header(name) != nil {
			return true
		}
	}
	return false
}

// failed counts a refused credential, and gives what the client is told.
func (l *logins) failed(ctx context.Context, x *pipeline.Exchange, refused error) error {
	c := l.calls.Get().(*call)
	defer l.calls.Put(c)
	c.charges[0] = Charge{Limit: l.limit, Key: appendAddress(append(c.charges[0].Key[:0], l.limit.prefix...), x), Cost: 1}
	allowed, err := l.Store.Take(ctx, c.charges)
	switch charge := &c.charges[0]; {
	case err != nil:
		x.Response.Del("WWW-Authenticate")
		x.Problem = pipeline.Problem{RetryAfter: 1}
		return fmt.Errorf("%w: failed logins: %w", pipeline.StoreUnavailable, err)
	case !charge.Admitted && l.limit.shadow:
		l.Recorder.Decision(l.limit.name, DecisionShadowRefused)
	case allowed:
		l.Recorder.Decision(l.limit.name, DecisionAllowed)
	default:
		l.Recorder.Decision(l.limit.name, DecisionRefused)
		x.Response.Del("WWW-Authenticate")
		x.Problem = pipeline.Problem{Policy: l.limit.name, RetryAfter: retryAfter(charge.Wait, l.limit, rand.Int64N), Executed: pipeline.ExecutedNo}
		return fmt.Errorf("%w: %w", pipeline.RateLimited, refused)
	}
	return refused
}
