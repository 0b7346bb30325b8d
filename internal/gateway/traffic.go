package gateway

import (
	"time"

	"github.com/oncegate/oncegate/internal/auth"
	"github.com/oncegate/oncegate/internal/config"
	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/flags"
	"github.com/oncegate/oncegate/internal/lifecycle"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/rewrite"
	"github.com/oncegate/oncegate/internal/traffic"
)

// route sets where a route sends its requests, and what happens on the way and when it fails. What it gives is the look that
// dedup takes before it claims.
func (c *compiler) route(r *config.RouteConfig, p *parts) (dedup.Admits, error) {
	var err error
	if r.Version != nil {
		if p.version, err = lifecycle.New(*r.Version, r.ID, c.state.Metrics); err != nil {
			return nil, err
		}
	}
	if r.Rewrite != nil {
		if p.rewrite, err = rewrite.New(*r.Rewrite); err != nil {
			return nil, err
		}
	}
	if m := r.To.Mirror; m != nil {
		p.mirror = c.state.mirrors.Layer(*m, c.snap.Upstreams[m.Upstream], auth.KeyHeaders(c.doc.APIKeys))
	}
	admits, err := c.destination(r, p)
	if err != nil {
		return nil, err
	}
	return c.fallback(r, p, admits)
}

// destination sets the end of a plan.
func (c *compiler) destination(r *config.RouteConfig, p *parts) (admits dedup.Admits, err error) {
	switch to := &r.To; {
	case to.Respond != nil:
		p.end = to.Respond.Handler()
	case to.Redirect != nil:
		p.end, err = to.Redirect.Handler()
	case len(to.Split) > 0:
		return c.split(r, p)
	default:
		p.end = c.snap.Upstreams[to.Upstream]
		if p.token, err = auth.NewToken(forward(r), to.Upstream, c.snap.Signer); err != nil {
			return nil, err
		}
		return c.guard(r, to.Upstream, p), nil
	}
	return nil, err
}

// split makes a branch for each arm; below it everything is per upstream.
func (c *compiler) split(r *config.RouteConfig, p *parts) (dedup.Admits, error) {
	branches := make([]traffic.Branch, len(r.To.Split))
	looks := make([]dedup.Admits, len(branches))
	for i, arm := range r.To.Split {
		var err error
		if branches[i], looks[i], err = c.branch(r, arm.Upstream); err != nil {
			return nil, err
		}
	}
	var flags traffic.Flags
	if c.snap.flags != nil {
		flags = c.snap.flags
	}
	s, err := traffic.NewSplit(r.To, r.ID, branches, flags)
	if err != nil {
		return nil, err
	}
	c.snap.splits[r.ID] = s
	p.end = s
	return anyOf(looks), nil
}

// branch is what leads to one upstream: a token for it, its guards and its end.
func (c *compiler) branch(r *config.RouteConfig, name string) (b traffic.Branch, look dedup.Admits, err error) {
	p := parts{end: c.snap.Upstreams[name]}
	if p.token, err = auth.NewToken(forward(r), name, c.snap.Signer); err != nil {
		return b, nil, err
	}
	look = c.guard(r, name, &p)
	b = traffic.Branch{Name: name, Handler: stack(p)}
	if look != nil {
		b.Ready = func() bool { _, ok := look(nil); return ok }
	}
	return b, look, nil
}

// fallback sets the layer. While the first upstream is open, another that takes over from it is as good for a claim.
func (c *compiler) fallback(r *config.RouteConfig, p *parts, admits dedup.Admits) (dedup.Admits, error) {
	looks, branches := []dedup.Admits{admits}, map[string]*traffic.Branch{}
	for _, rule := range r.Fallback {
		if rule.Upstream == "" {
			continue
		}
		b, look, err := c.branch(r, rule.Upstream)
		if err != nil {
			return nil, err
		}
		branches[rule.Upstream] = &b
		for _, on := range rule.On {
			if on == "open" {
				looks = append(looks, look)
			}
		}
	}
	p.fallback = traffic.Fallback(r.Fallback, r.ID, branches, c.state.Metrics)
	return anyOf(looks), nil
}

// anyOf admits when one of them does; else it says the shortest wait. A nil one always admits.
func anyOf(looks []dedup.Admits) dedup.Admits {
	for _, look := range looks {
		if look == nil {
			return nil
		}
	}
	if len(looks) == 1 {
		return looks[0]
	}
	return func(x *pipeline.Exchange) (wait time.Duration, ok bool) {
		for i, look := range looks {
			w, ok := look(x)
			if ok {
				return 0, true
			}
			if i == 0 || w < wait {
				wait = w
			}
		}
		return wait, false
	}
}

// flags gives the flags of a document's file; the same set as long as documents say the same. The set of the live snapshot goes
// on while another document is tried, which may be refused.
func (s *State) flags(cfg *flags.Config) (*flags.Set, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cfg == nil {
		return nil, nil
	}
	if set := s.flagSets[*cfg]; set != nil {
		return set, nil
	}
	set, err := flags.Open(*cfg, s.Logger, s.Metrics)
	if err != nil {
		return nil, err
	}
	s.flagSets[*cfg] = set
	return set, nil
}

// forgetFlags ends the sets that the live snapshot does not follow. Their last flags stay for exchanges that still run.
func (s *State) forgetFlags(live *flags.Set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for cfg, set := range s.flagSets {
		if set != live {
			set.Close()
			delete(s.flagSets, cfg)
		}
	}
}
