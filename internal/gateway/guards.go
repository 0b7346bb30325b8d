package gateway

import (
	"fmt"
	"time"

	"github.com/oncegate/oncegate/internal/breaker"
	"github.com/oncegate/oncegate/internal/bulkhead"
	"github.com/oncegate/oncegate/internal/config"
	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/observe"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/retry"
)

// guards are what stands between all routes and one upstream. They outlive reloads.
type guards struct {
	breaker  *breaker.Breaker // nil until the document names one
	bulkhead *bulkhead.Bulkhead
	bounded  bool // a document has set the bulkhead
	retries  *retry.State
}

// guards gives those of an upstream, the same over reloads.
func (s *State) guards(upstream string) *guards {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.guarded[upstream]
	if g == nil {
		g = &guards{bulkhead: bulkhead.New(), retries: retry.NewState()}
		s.guarded[upstream] = g
	}
	return g
}

// Breaker gives the breaker of an upstream, the same one over reloads.
func (s *State) Breaker(upstream string) *breaker.Breaker {
	g := s.guards(upstream)
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.breaker == nil {
		g.breaker = breaker.New(upstream, breakerGauge{s.Metrics, s.Logger})
	}
	return g.breaker
}

// Bulkhead shows the bulkhead of an upstream.
func (s *State) Bulkhead(upstream string) bulkhead.Snapshot {
	return s.guards(upstream).bulkhead.Snapshot()
}

func (s *State) bound(g *guards) {
	s.mu.Lock()
	g.bounded = true
	s.mu.Unlock()
}

// Retries tells the calls and the retries of an upstream in the last ten seconds.
func (s *State) Retries(upstream string, now time.Time) (calls, retries int) {
	return s.guards(upstream).retries.Budget.Spent(now)
}

// bulkheads shows those that are set or in use.
func (s *State) bulkheads() []observe.BulkheadState {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []observe.BulkheadState
	for name, g := range s.guarded {
		if g.bounded {
			shot := g.bulkhead.Snapshot()
			all = append(all, observe.BulkheadState{Upstream: name, InFlight: shot.InFlight, Waiting: shot.Waiting, Learned: shot.Learned, Refused: shot.Refused})
		}
	}
	return all
}

// forget drops the guards of upstreams that the live snapshot does not name.
func (s *State) forget(live *Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.guarded {
		if _, named := live.Upstreams[name]; !named {
			delete(s.guarded, name)
		}
	}
}

// guard sets the layers of an upstream, and gives the look that dedup takes before it claims: is there any sense in it?
func (c *compiler) guard(r *config.RouteConfig, name string, p *parts) dedup.Admits {
	cfg, g := c.doc.Upstreams[name], c.state.guards(name)
	var ready func(time.Time) (time.Duration, bool)
	if cfg.Breaker != nil {
		b, settings := c.state.Breaker(name), cfg.Breaker.Settings()
		p.breaker = breaker.Layer(*cfg.Breaker, b)
		ready = func(now time.Time) (time.Duration, bool) { return b.Ready(&settings, now) }
	}
	if cfg.Bulkhead != nil {
		c.state.bound(g)
		p.bulkhead = c.bulkhead(r, *cfg.Bulkhead, g.bulkhead)
	}
	if r.Mode == config.Shadow {
		p.breaker, ready = c.shadow(r, "breaker", p.breaker, pipeline.UpstreamOpen), nil
	}
	if cfg.Retry != nil {
		deps := retry.Deps{State: g.retries, Recorder: c.state.Metrics}
		if ready != nil {
			deps.Ready = func(now time.Time) bool { _, ok := ready(now); return ok }
		}
		p.retry = retry.New(name, *cfg.Retry, deps)
	}
	if ready == nil {
		return nil
	}
	return func(*pipeline.Exchange) (time.Duration, bool) { return ready(time.Now()) }
}

// guardSteps explains the guards of an upstream.
func guardSteps(u config.UpstreamConfig) (steps []Step) {
	if r := u.Retry; r != nil {
		words := r.Words()
		steps = append(steps, Step{"retry", words})
	}
	if b := u.Breaker; b != nil {
		words := fmt.Sprintf("opens for %s at %s failures of at least %d calls in %s", b.Open, b.FailureRate, b.Minimum, b.Window)
		if b.Slow > 0 {
			words += fmt.Sprintf(", or %s that take longer than %s", b.SlowRate, b.Slow)
		}
		if b.Consecutive > 0 {
			words += fmt.Sprintf(", or %d failures in a row", b.Consecutive)
		}
		steps = append(steps, Step{"breaker", words})
	} else {
		steps = append(steps, Step{"breaker", "none"})
	}
	if b := u.Bulkhead; b != nil {
		steps = append(steps, Step{"bulkhead", b.Words()})
	}
	return steps
}
