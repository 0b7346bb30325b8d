// Package ratelimit decides how many requests pass: token buckets by client, address, route, header or claim.
//
// It promises that over any time t a bucket admits at most burst + rate*t, that a refused request takes nothing, that of
// several limits all are charged or none, and that a client in debt is not forgotten to make room. It does not promise
// anything across processes yet: a bucket lives in this process and begins full. The memory store can't fail; a store that
// does makes the layer refuse with store-unavailable.
package ratelimit

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Recorder counts decisions. Both strings are constants or owned by the configuration.
type Recorder interface {
	Decision(policy string, decision string)
}

// The decisions.
const (
	DecisionAllowed       = "allowed"
	DecisionRefused       = "refused"
	DecisionShadowRefused = "shadow_refused"
	DecisionReturned      = "returned" // allowed, and given back because the answer was a replay
)

type silent struct{}

func (silent) Decision(string, string) {}

type layer struct {
	limits   []*Limit
	keyed    bool
	store    Store
	recorder Recorder
	policy   []byte // RateLimit-Policy; empty when all limits are shadows
	calls    sync.Pool
	next     pipeline.Handler
}

// call is the scratch memory of one request.
type call struct {
	charges []Charge
	field   []byte
}

// New makes the layer of a route. keyed says that the route has dedup: a refused write that carries a key is then handed on
// with x.Deferred set. A limit that is named twice counts once. Without limits there is no layer; rec may be nil.
func New(limits []*Limit, keyed bool, store Store, rec Recorder) pipeline.Layer {
	limits = distinct(limits)
	if len(limits) == 0 {
		return nil
	}
	if rec == nil {
		rec = silent{}
	}
	var members []string
	for _, l := range limits {
		if !l.shadow {
			members = append(members, l.policy)
		}
	}
	policy := []byte(strings.Join(members, ", "))
	return func(next pipeline.Handler) pipeline.Handler {
		l := &layer{limits: limits, keyed: keyed, store: store, recorder: rec, policy: policy, next: next}
		l.calls.New = func() any { return &call{charges: make([]Charge, len(limits))} }
		return l
	}
}

func distinct(limits []*Limit) []*Limit {
	var out []*Limit
	seen := map[string]bool{}
	for _, l := range limits {
		if !seen[l.name] {
			seen[l.name] = true
			out = append(out, l)
		}
	}
	return out
}

// Serve takes, calls next or refuses, and leaves the header fields on whatever became of it.
func (l *layer) Serve(ctx context.Context, x *pipeline.Exchange) error {
	c := l.calls.Get().(*call)
	defer l.calls.Put(c)
	if !l.identify(c, x) {
		x.Response.Set("WWW-Authenticate", challenge)
		x.Response.Set("Cache-Control", noStore)
		return pipeline.Unauthenticated
	}
	allowed, err := l.store.Take(ctx, c.charges)
	if err != nil {
		return fmt.Errorf("%w: rate limits: %w", pipeline.StoreUnavailable, err)
	}
	switch {
	case allowed:
		err = l.pass(ctx, x, c)
	case l.keyed && isKeyedWrite(x.Request):
		err = l.postpone(ctx, x, c)
	default:
		l.record(c, false)
		explain(x, c)
		err = pipeline.RateLimited
	}
	l.setFields(x, c)
	return err
}

var (
	challenge = []byte(`Bearer realm="oncegate"`)
	noStore   = []byte("no-store")
)

// identify finds the buckets of a request; false when an identity is missing that a limit insists on.
func (l *layer) identify(c *call, x *pipeline.Exchange) bool {
	for i, limit := range l.limits {
		key, ok := limit.appendKey(c.charges[i].Key[:0], x)
		c.charges[i] = Charge{Limit: limit, Key: key, Cost: limit.cost}
		if !ok {
			return false
		}
	}
	return true
}

// pass gives the tokens back when the answer turns out to be a replay: it cost the upstream nothing.
func (l *layer) pass(ctx context.Context, x *pipeline.Exchange, c *call) error {
	l.record(c, true)
	err := l.next.Serve(ctx, x)
	if err == nil && x.Replayed {
		for i := range c.charges {
			c.charges[i].Change = c.charges[i].Cost
		}
		l.store.Settle(ctx, c.charges)
		for i := range c.charges {
			if c.charges[i].Admitted {
				l.recorder.Decision(c.charges[i].Limit.name, DecisionReturned)
			}
		}
	}
	return err
}

// postpone lets dedup look for a stored answer first. The problem's members are filled in only when the refusal comes back:
// a replay, or a refusal that dedup makes itself, must not carry them.
func (l *layer) postpone(ctx context.Context, x *pipeline.Exchange, c *call) error {
	x.Deferred = pipeline.RateLimited
	err := l.next.Serve(ctx, x)
	if err == nil && x.Replayed {
		x.Deferred = nil
		return nil
	}
	l.record(c, false)
	if x.Deferred != nil && pipeline.KindOf(err) == pipeline.RateLimited { // dedup has a bound of its own on replays
		explain(x, c)
	}
	return err
}

// record counts what became of each limit. A limit that would have admitted what another refused has decided nothing.
func (l *layer) record(c *call, allowed bool) {
	for i := range c.charges {
		charge := &c.charges[i]
		switch {
		case !charge.Admitted && charge.Limit.shadow:
			l.recorder.Decision(charge.Limit.name, DecisionShadowRefused)
		case !charge.Admitted:
			l.recorder.Decision(charge.Limit.name, DecisionRefused)
		case allowed:
			l.recorder.Decision(charge.Limit.name, DecisionAllowed)
		}
	}
}

// explain names the limit that keeps the client waiting longest, and says that nothing was done.
func explain(x *pipeline.Exchange, c *call) {
	var longest time.Duration = -1
	for i := range c.charges {
		charge := &c.charges[i]
		if !charge.Admitted && !charge.Limit.shadow && charge.Wait > longest {
			longest = charge.Wait
			x.Problem.Policy = charge.Limit.name
		}
	}
	x.Problem.RetryAfter = int(max(1, seconds(longest)))
	x.Problem.Executed = pipeline.ExecutedNo
}

// isKeyedWrite reports whether dedup may hold an answer to this request.
func isKeyedWrite(r pipeline.Request) bool {
	switch string(r.Method()) {
	case "GET", "HEAD", "OPTIONS":
		return false
	}
	return r.Header("Idempotency-Key") != nil
}

// setFields writes RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers-10) over what the upstream sent.
// Shadow limits are not announced: clients would slow down for them.
func (l *layer) setFields(x *pipeline.Exchange, c *call) {
	if len(l.policy) == 0 {
		return
	}
	c.field = c.field[:0]
	for i := range c.charges {
		if charge := &c.charges[i]; !charge.Limit.shadow {
			if len(c.field) > 0 {
				c.field = append(c.field, ", "...)
			}
			c.field = charge.appendMember(c.field)
		}
	}
	x.Response.Set("RateLimit-Policy", l.policy)
	x.Response.Set("RateLimit", c.field)
}

// appendMember appends "name";r=whole tokens left;t=seconds until the bucket is full. A full bucket has no t.
func (c *Charge) appendMember(dst []byte) []byte {
	dst = append(dst, c.Limit.member...)
	dst = append(dst, ";r="...)
	dst = strconv.AppendInt(dst, int64(max(0, math.Floor(c.Level))), 10)
	if c.Level >= c.Limit.burst {
		return dst
	}
	dst = append(dst, ";t="...)
	return strconv.AppendInt(dst, max(1, seconds(c.Limit.wait(c.Limit.burst-c.Level))), 10)
}
