package ratelimit

import (
	"time"

	"golang.org/x/time/rate"
)

// limiter is a bucket of a limit whose keys come from the configuration alone. rate.Limiter mints tokens anew when it is
// called with a time older than the last (golang/go issue 65508), so the time is read under the shard's lock and never goes
// back: last.
type limiter struct {
	*rate.Limiter
	policy *policy
	last   int64
}

const limiterIdle = int64(10 * time.Minute) // a full limiter that was not used for so long is dropped

// bounded reports that no request can make up a key.
func (l *Limit) bounded() bool {
	return l.kind == Bucket && len(l.by) == 1 && (l.by[0].kind == byRoute || l.by[0].kind == byAll)
}

// at is the time for a call that looks, as golang.org/x/time/rate wants it.
func (g *limiter) at(now int64) time.Time { return time.Unix(0, max(g.last, now)) }

// use is the time for a call that changes something.
func (g *limiter) use(now int64) time.Time {
	g.last = max(g.last, now)
	return time.Unix(0, g.last)
}

// limiterOf finds the limiter of a charge and gives it the charge's settings, or nil.
func (m *Memory) limiterOf(s *shard, c *Charge, now int64) *limiter {
	g := s.limiters[c.hash]
	if g == nil || g.policy == c.policy {
		return g
	}
	m.leave(g.policy)
	m.enter(c.policy)
	g.policy = c.policy
	at := g.use(now)
	g.SetLimitAt(at, rate.Limit(c.Limit.rate))
	g.SetBurstAt(at, int(c.Limit.burst))
	g.ReserveN(at, 0) // cuts the level to the burst
	g.owe(at, 0)
	return g
}

// owe takes n tokens whether they are there or not, down to a burst of debt.
func (g *limiter) owe(at time.Time, n float64) {
	burst := float64(g.Burst())
	if below := -burst - g.TokensAt(at); below > 0 {
		g.ReserveN(at, -int(below)) // the burst was cut
	}
	for n = min(n, g.TokensAt(at)+burst); n >= 1; n -= burst {
		g.ReserveN(at, int(min(n, burst)))
	}
}

func (m *Memory) measureLimiter(s *shard, c *Charge, now int64) {
	if g := m.limiterOf(s, c, now); g != nil {
		c.Level = g.TokensAt(g.at(now))
	} else {
		c.Level = m.begins(c.policy, now)
	}
	c.Wait = c.Limit.wait(c.Cost + c.Floor - c.Level)
}

func (m *Memory) takeLimiter(s *shard, c *Charge, now int64) {
	g := m.limiterFor(s, c, now)
	at := g.use(now)
	g.ReserveN(at, int(c.Cost))
	c.Level = g.TokensAt(at)
}

// limiterFor is limiterOf that makes one. It begins when the store began.
func (m *Memory) limiterFor(s *shard, c *Charge, now int64) *limiter {
	if g := m.limiterOf(s, c, now); g != nil {
		return g
	}
	if s.limiters == nil {
		s.limiters = map[uint64]*limiter{}
		s.idle = now + limiterIdle
	}
	l := c.Limit
	g := &limiter{Limiter: rate.NewLimiter(rate.Limit(l.rate), int(l.burst)), policy: c.policy}
	if m.limits.Begin > 0 {
		g.ReserveN(g.use(0), int(max(0, l.burst-m.limits.Begin)))
	}
	s.limiters[c.hash] = g
	m.enter(c.policy)
	return g
}

func (m *Memory) settleLimiter(s *shard, c *Charge, now int64) {
	g := m.limiterOf(s, c, now)
	if g == nil && c.Change >= 0 {
		return
	}
	g = m.limiterFor(s, c, now)
	at := g.use(now)
	if c.Change < 0 {
		g.owe(at, -c.Change)
	} else {
		g.ReserveN(at, -int(c.Change))
	}
	c.Level = g.TokensAt(at)
}

// dropIdle drops the full limiters that nobody used for so long: what a reload renamed must not stay for ever.
func (m *Memory) dropIdle(s *shard, now, unused int64) {
	s.idle = now + limiterIdle
	for key, g := range s.limiters {
		if now-g.last >= unused && g.TokensAt(g.at(now)) >= g.policy.limit.burst {
			m.leave(g.policy)
			delete(s.limiters, key)
		}
	}
}
