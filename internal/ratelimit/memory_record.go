package ratelimit

import "time"

// known finds the bucket of a charge and makes it one of the charge's policy.
func (m *Memory) known(s *shard, c *Charge, now int64) *bucket {
	b := s.find(c.hash)
	if b != nil && b.policy != c.policy.id {
		m.move(s, b, m.policies.Load().list[b.policy], c.policy, now)
	}
	return b
}

// level is what a bucket of a policy holds.
func (m *Memory) level(s *shard, p *policy, b *bucket, now int64) float64 {
	l := p.limit
	switch {
	case l.kind != Window:
		return l.level(b, now)
	case l.quota.Rolling:
		return max(-l.burst, l.burst-s.at(b, l.part(now)).sum())
	case b.last < m.spanAt(p, now).begins:
		return l.burst
	}
	return min(b.level, l.burst)
}

// weigh fills in the Level of a charge, and Wait when it is too little. Without a bucket it is what buckets begin with.
func (m *Memory) weigh(s *shard, c *Charge, b *bucket, now int64) {
	p, l := c.policy, c.Limit
	var left time.Duration
	switch {
	case l.kind != Window:
	case l.quota.Rolling:
		c.epoch = l.part(now)
	default:
		var current *span
		current, left = m.calendar(p, now)
		c.epoch = current.begins
	}
	if b == nil {
		c.Level = m.begins(p, now)
	} else {
		c.Level = m.level(s, p, b, now)
	}
	missing := c.Cost + c.Floor - c.Level
	switch {
	case l.kind != Window || b == nil && missing > 0: // a store that begins with little fills up at the mean rate
		c.Wait = l.wait(missing)
	case missing <= 0:
	case l.quota.Rolling:
		c.Wait = max(1, s.at(b, c.epoch).wait(b, l, missing, now))
	default:
		c.Wait = max(1, left)
	}
}

// reset fills in Reset.
func (m *Memory) reset(s *shard, c *Charge, now int64) {
	c.Reset = 0
	if c.Limit.kind != Window || c.Level >= c.Limit.burst {
		return
	}
	if !c.Limit.quota.Rolling {
		_, left := m.calendar(c.policy, now)
		c.Reset = max(1, left)
	} else if b := s.find(c.hash); b != nil {
		c.Reset = max(1, s.at(b, c.Limit.part(now)).wait(b, c.Limit, 0, now))
	}
}

// put writes c.Level, which is c.Cost less than it was.
func (s *shard) put(c *Charge, b *bucket, now int64) {
	switch {
	case c.Limit.kind != Window:
		b.level, b.last = c.Level, max(b.last, now)
	case c.Limit.quota.Rolling:
		s.at(b, c.epoch)[b.last%int64(len(ring{}))] += c.Cost
	default:
		b.level, b.last = c.Level, max(b.last, c.epoch)
	}
}

// set makes a bucket of any kind hold level.
func (m *Memory) set(s *shard, p *policy, b *bucket, level float64, now int64) {
	switch l := p.limit; {
	case l.kind != Window:
		b.level, b.last = level, now
	case l.quota.Rolling:
		b.ring, b.last = s.rings.add(), l.part(now)
		s.list[b.ring-1][b.last%int64(len(ring{}))] = l.burst - level
	default:
		b.level, b.last = level, m.spanAt(p, now).begins
	}
}

// settle changes what a bucket holds. Tokens of a period that is over are not given back: they would add to the next.
func (m *Memory) settle(s *shard, c *Charge, b *bucket, now int64) {
	l := c.Limit
	level := m.level(s, c.policy, b, now)
	c.Level = max(-l.burst, min(l.burst, level+c.Change))
	switch {
	case l.kind != Window:
		b.level, b.last = c.Level, max(b.last, now)
	case l.quota.Rolling:
		g, from := s.at(b, l.part(now)), b.last
		if c.Change > 0 {
			from = c.epoch
		}
		if b.last-from < int64(len(g)) {
			part := &g[from%int64(len(g))]
			*part = max(0, *part+level-c.Level)
		}
		c.Level = l.burst - g.sum()
	default:
		current := m.spanAt(c.policy, now).begins
		if c.Change > 0 && c.epoch < current {
			c.Level = level
			return
		}
		b.level, b.last = c.Level, max(b.last, current)
	}
}

// move hands a bucket to another policy. Its level stays, cut to the new burst; of a count over the same period that was
// edited stays what was used of it.
func (m *Memory) move(s *shard, b *bucket, from, to *policy, now int64) {
	a, z := from.limit, to.limit
	level := m.level(s, from, b, now)
	m.leave(from)
	m.enter(to)
	b.policy = to.id
	if a.kind == Window && z.kind == Window && samePeriod(a, z) {
		if a.quota.Rolling {
			return
		}
		level += z.burst - a.burst
	}
	last := b.last
	s.rings.remove(b)
	m.set(s, to, b, max(-z.burst, min(z.burst, level)), now)
	if a.kind != Window && z.kind != Window {
		b.last = max(b.last, last)
	}
}

// modernise moves a bucket on that remembers settings of long ago.
func (m *Memory) modernise(s *shard, b *bucket, p *policy, known *policies, now int64) {
	kin := known.byName[p.limit.name]
	if n := len(kin); n > 0 && !kin[n-1].limiter {
		m.move(s, b, p, kin[n-1], now)
	}
}
