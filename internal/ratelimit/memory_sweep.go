package ratelimit

import "hash/maphash"

// makeRoom is called for a key without a bucket. At the cap, and when the hand finds nothing to free, the charge is moved to
// an overflow bucket of the same shard, which is given when it exists.
func (m *Memory) makeRoom(c *Charge, now int64) *bucket {
	if m.roomFor(c.policy) {
		return nil
	}
	s := m.shard(c.hash)
	m.sweep(s, sweepForRoom, now)
	m.sweepAnother(now)
	if m.roomFor(c.policy) {
		return nil
	}
	c.crowded = c.Cost > 0
	slot := c.hash & (overflowSlots - 1)
	spread := maphash.Comparable(m.seed, [2]uint64{c.policy.family.hash, slot})
	c.hash = notZero(spread&^(shards-1) | c.hash&(shards-1))
	return m.known(s, c, now)
}

func (m *Memory) roomFor(p *policy) bool {
	return p.family.entries.Load() < int64(m.limits.PerPolicy) && m.total.Load() < int64(m.limits.Total)
}

// sweep moves the hand of a shard on and frees the buckets that are full by the settings they were last used with.
func (m *Memory) sweep(s *shard, steps int, now int64) {
	if s.limiters != nil && now >= s.idle {
		m.dropIdle(s, now, limiterIdle)
	}
	known := m.policies.Load()
	for range steps {
		if s.hand >= len(s.slots) {
			s.hand = 0
			s.shrink()
			s.tidy(s.slots)
		}
		if s.used == 0 {
			return
		}
		b := &s.slots[s.hand]
		if b.key == 0 {
			s.hand++
			continue
		}
		p := known.list[b.policy]
		if m.level(s, p, b, now) < p.limit.burst {
			if p.old.Load() {
				m.modernise(s, b, p, known, now)
			}
			s.hand++
			continue
		}
		m.leave(p)
		s.rings.remove(b)
		s.table.remove(s.hand) // the hand stays: another bucket may have moved here
	}
}

// sweepAnother frees in a shard that traffic may not visit. It never waits: its caller holds locks.
func (m *Memory) sweepAnother(now int64) {
	s := &m.shards[m.cursor.Add(1)&(shards-1)]
	if s.TryLock() {
		m.sweep(s, sweepForRoom, now)
		s.Unlock()
	}
}
