package shed

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Layer admits the requests of a route by its priority: one of the four words, normal when it is empty. It is nil when the
// configuration bounds nothing.
func (s *Shedder) Layer(cfg Config, priority string) pipeline.Layer {
	if cfg.InFlight == 0 && !cfg.Adaptive {
		return nil
	}
	d := &door{shedder: s, priority: word(priority), share: cfg.share(priority), ceiling: cfg.ceiling(), all: noBound}
	if cfg.InFlight > 0 {
		d.all = room(float64(cfg.InFlight), d.share)
	}
	d.left = func(*pipeline.Exchange, pipeline.End) { s.gate.left() }
	if cfg.Adaptive {
		s.begin(d.ceiling)
	}
	return func(next pipeline.Handler) pipeline.Handler {
		if cfg.Adaptive {
			return &learning{door: d, next: next}
		}
		return &counting{door: d, next: next}
	}
}

// word keeps what recorders hear to the four words.
func word(priority string) string {
	switch priority {
	case Critical, High, Low:
		return priority
	}
	return Normal
}

// door is one class with the settings of one configuration.
type door struct {
	shedder        *Shedder
	priority       string
	share, ceiling float64
	all            uint32                                 // room in in_flight
	left           func(*pipeline.Exchange, pipeline.End) // made once: a fresh closure would be allocated for every request
}

// counting is the layer with in_flight alone.
type counting struct {
	*door
	next pipeline.Handler
}

// Serve implements pipeline.Handler. The place is given back by AtEnd, which runs after a panic, too.
func (c *counting) Serve(ctx context.Context, x *pipeline.Exchange) error {
	if v, _ := c.shedder.gate.enter(c.all, noBound, oneInFlight); v != admitted {
		return c.refuse(x)
	}
	x.AtEnd(c.left)
	return c.next.Serve(ctx, x)
}

// learning is the layer with a learned bound, and with in_flight if that is set.
type learning struct {
	*door
	next pipeline.Handler
	last atomic.Pointer[profile] // of the route that the layer serves
}

// Serve implements pipeline.Handler.
func (l *learning) Serve(ctx context.Context, x *pipeline.Exchange) error {
	s := l.shedder
	bound := min(float64(s.bound.Load()), l.ceiling)
	v, waiting := s.gate.enter(l.all, room(bound, l.share), oneInFlight+oneWaiting)
	if v != admitted {
		if v == slow && !s.refused.Load() {
			s.refused.Store(true)
		}
		s.tick(x.Start, l.ceiling) // a probe must end even when nothing is answered
		return l.refuse(x)
	}
	x.AtEnd(l.left)
	defer s.gate.answered()
	s.gate.risen(waiting)
	err := l.next.Serve(ctx, x)
	l.sample(x, err)
	return err
}

// sample learns from the calls to the upstream, from the first pick to the answer's head: neither the body's way nor what a
// keyed write waits for others is part of it. Only answers count, and time-outs, which took at least so long: an overload in
// which nobody is answered in time must not go unseen. A switch of protocols begins a tunnel and says nothing.
func (l *learning) sample(x *pipeline.Exchange, err error) {
	if x.Attempt.Count == 0 {
		return
	}
	p, took, now := l.profile(x.Route), x.Attempt.Duration, x.Attempt.At
	switch {
	case err == nil && x.Effect == pipeline.EffectDone:
		if x.Response.Status() == 101 {
			return
		}
		p.add(took)
	case pipeline.KindOf(err) == pipeline.UpstreamTimeout && x.Effect == pipeline.EffectUnknown && int64(took) > p.baseline.Load():
		p.timedOut.Store(true)
		p.add(took)
	default:
		return
	}
	if now.IsZero() {
		now = time.Now()
	}
	l.shedder.tick(now, l.ceiling)
}

// profile finds the latencies of a route. A layer serves one route, so it is looked up once.
func (l *learning) profile(route string) *profile {
	p := l.last.Load()
	if p == nil || p.route != route {
		p = l.shedder.profile(route)
		l.last.Store(p)
	}
	return p
}

// refuse tells the client to come back a little later, each at another time, or those who were shed together would come
// together. A key may have been executed by an earlier request: only the same one is safe.
func (d *door) refuse(x *pipeline.Exchange) error {
	d.shedder.rec.Shed(d.priority)
	x.Problem.RetryAfter = 1 + rand.IntN(3)
	x.Problem.Executed = pipeline.ExecutedNo
	if x.Request.Header("Idempotency-Key") != nil {
		x.Problem.SameKey, x.Problem.NewKey = pipeline.Yes, pipeline.No
	}
	return pipeline.Overloaded
}
