// Package ratelimit decides how many requests pass: token buckets, quotas per period and requests at the same time, by client,
// address, route, header or claim, with other numbers for those whose verified claim names a plan.
//
// It promises that over any time t a bucket admits at most burst + rate*t, that a refused request takes nothing, that of
// several limits all are charged or none, that a client in debt is not forgotten to make room, and that a shadow limit
// refuses and charges nobody else. It does not promise anything across processes by itself: that is the store's. The memory
// store can't fail; a store that does makes the layer refuse with store-unavailable.
package ratelimit

import (
	"context"
	"fmt"
	"sync"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// LayerConfig is what a route says of its limits beside their names.
type LayerConfig struct {
	Keyed    bool    // the route has dedup: a refused write that carries a key is handed on with x.Deferred set
	Fields   Version // of the header fields
	Critical bool    // it may take what is reserved
}

// Deps are what the layer needs. Recorder may be nil; without Seats, limits of the kind Slots refuse.
type Deps struct {
	Store    Store
	Seats    Seats
	Recorder Recorder
}

type layer struct {
	limits []*Limit // those of the kind Slots last
	cfg    LayerConfig
	Deps
	policy  []byte   // RateLimit-Policy; nil when a plan may change it
	headers []string // fields of the upstream's answer that tell a cost
	calls   sync.Pool
	next    pipeline.Handler
}

// call is the scratch memory of one request.
type call struct {
	charges []Charge // of every limit that counts here, those of the kind Slots last
	slots   int      // how many of them
	denied  bool     // the only charge is of a plan that is denied
	seated  bool     // places are held until the answer's last byte, and so is this memory
	field   []byte
	leave   func(*pipeline.Exchange, pipeline.End)
}

// counted are the charges of the store, places those of the seats.
func (c *call) counted() []Charge { return c.charges[:len(c.charges)-c.slots] }
func (c *call) places() []Charge  { return c.charges[len(c.charges)-c.slots:] }

// New makes the layer of a route. A limit that is named twice counts once. Without limits there is no layer.
func New(limits []*Limit, cfg LayerConfig, deps Deps) pipeline.Layer {
	limits = inOrder(limits)
	if len(limits) == 0 {
		return nil
	}
	if deps.Recorder == nil {
		deps.Recorder = silent{}
	}
	if deps.Seats == nil {
		deps.Seats = noSeats{}
	}
	policy, headers := fixedPolicy(limits), costHeaders(limits)
	return func(next pipeline.Handler) pipeline.Handler {
		l := &layer{limits: limits, cfg: cfg, Deps: deps, policy: policy, headers: headers, next: next}
		l.calls.New = func() any {
			c := &call{charges: make([]Charge, len(limits))}
			c.leave = func(*pipeline.Exchange, pipeline.End) { l.release(c) }
			return c
		}
		return l
	}
}

// Serve takes, calls next or refuses, and leaves the header fields on whatever became of it.
func (l *layer) Serve(ctx context.Context, x *pipeline.Exchange) error {
	if isPreflight(x.Request) {
		return l.next.Serve(ctx, x) // the browser asks, on its own account
	}
	c := l.calls.Get().(*call)
	defer l.done(c)
	if !l.identify(c, x) {
		x.Response.Set("WWW-Authenticate", challenge)
		x.Response.Set("Cache-Control", noStore)
		return pipeline.Unauthenticated
	}
	allowed, err := l.decide(ctx, c)
	if err != nil {
		x.Problem.RetryAfter, x.Problem.Executed = 1, pipeline.ExecutedNo
		return fmt.Errorf("%w: rate limits: %w", pipeline.StoreUnavailable, err)
	}
	switch {
	case allowed:
		err = l.pass(ctx, x, c)
	case l.cfg.Keyed && isKeyedWrite(x.Request):
		err = l.postpone(ctx, x, c)
	default:
		l.record(c, false)
		explain(x, c)
		err = c.refusal()
	}
	l.setFields(x, c, err == nil)
	return err
}

var (
	challenge = []byte(`Bearer realm="oncegate"`)
	noStore   = []byte("no-store")
)

// identify finds what a request is charged, and where; false when an identity is missing that a limit insists on.
func (l *layer) identify(c *call, x *pipeline.Exchange) bool {
	c.charges, c.slots, c.denied = c.charges[:0], 0, false
	denied := -1
	for _, base := range l.limits {
		limit, known := base.plan(x)
		if !known {
			l.Recorder.Decision(limit.name, DecisionNoPlan)
		}
		if limit.word == wordUnlimited || limit.word == wordDeny && limit.shadow {
			l.recordWord(limit)
			continue
		}
		n := len(c.charges)
		c.charges = c.charges[:n+1]
		key, ok := limit.appendKey(c.charges[n].Key[:0], x)
		c.charges[n] = Charge{Limit: limit, Key: key, Cost: limit.price(x.Request)}
		switch {
		case !ok:
			return false
		case limit.word == wordDeny:
			denied = n
		case limit.kind == Slots:
			c.charges[n].Cost = 1
			c.slots++
		case !l.cfg.Critical:
			c.charges[n].Floor = limit.floor
		}
	}
	if denied >= 0 { // nobody need be asked
		c.charges[0], c.charges[denied] = c.charges[denied], c.charges[0]
		c.charges, c.slots, c.denied = c.charges[:1], 0, true
		c.charges[0].Wait = Never
	}
	return true
}

// decide takes tokens and then places, from all limits or from none.
func (l *layer) decide(ctx context.Context, c *call) (bool, error) {
	if c.denied {
		return false, nil
	}
	if counted := c.counted(); len(counted) > 0 {
		allowed, err := l.Store.Take(ctx, counted)
		if !allowed || err != nil {
			c.charges, c.slots = counted, 0 // nobody was asked for a place
			return false, err
		}
	}
	if c.slots == 0 {
		return true, nil
	}
	seated, err := l.Seats.Acquire(ctx, c.places())
	c.seated = seated && err == nil
	if !c.seated {
		l.giveBack(ctx, c)
	}
	return c.seated, err
}

func (l *layer) giveBack(ctx context.Context, c *call) {
	counted := c.counted()
	for i := range counted {
		counted[i].Change = counted[i].Cost
	}
	if len(counted) > 0 {
		l.Store.Settle(context.WithoutCancel(ctx), counted)
	}
}

// release ends the stay at the places: after the last byte, or when the client has left, or after a panic.
func (l *layer) release(c *call) {
	l.Seats.Release(c.places())
	c.seated = false
	l.calls.Put(c)
}

func (l *layer) done(c *call) {
	if !c.seated {
		l.calls.Put(c)
	}
}

// pass gives the tokens back when the answer turns out to be a replay: it cost the upstream nothing.
func (l *layer) pass(ctx context.Context, x *pipeline.Exchange, c *call) error {
	if c.seated {
		x.AtEnd(c.leave)
	}
	l.record(c, true)
	err := l.next.Serve(ctx, x)
	if err == nil && x.Replayed {
		l.giveBack(ctx, c)
		l.recordReturned(c)
	}
	if err == nil && len(l.headers) > 0 {
		l.settle(ctx, x, c)
	}
	return err
}

// postpone lets dedup look for a stored answer first. The problem's members are filled in only when the refusal comes back:
// a replay, or a refusal that dedup makes itself, must not carry them.
func (l *layer) postpone(ctx context.Context, x *pipeline.Exchange, c *call) error {
	kind := c.refusal()
	x.Deferred = kind
	err := l.next.Serve(ctx, x)
	if err == nil && len(l.headers) > 0 {
		l.strip(x)
	}
	if err == nil && x.Replayed {
		x.Deferred = nil
		return nil
	}
	l.record(c, false)
	if x.Deferred != nil && pipeline.KindOf(err) == kind { // dedup has a bound of its own on replays
		explain(x, c)
	}
	return err
}
