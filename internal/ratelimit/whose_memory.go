package ratelimit

import (
	"context"
	"hash/maphash"
	"time"
)

// Usage is what there is of one bucket.
type Usage struct {
	Left  float64       // tokens, or free places
	Wait  time.Duration // until there are as many as a request costs; Never: more than a full bucket holds
	Reset time.Duration // until a bucket is full; of a Window: until its period ends, or the first of what was taken comes back
}

// Usage looks at a bucket as l would find it. Unlike a Take of nothing it leaves the bucket to the plan that it was used with
// last: a look must not cut a level to the burst of another plan.
func (m *Memory) Usage(key []byte, l *Limit) Usage {
	one := []Charge{{Limit: l, Key: key, Cost: l.cost}}
	m.hash(one)
	m.hold(one)
	defer m.unlock(one)
	c, now := &one[0], m.now()
	s := m.shard(c.hash)
	m.crowd(s, c)
	c.Level = m.begins(c.policy, now)
	b, g := s.find(c.hash), s.limiters[c.hash]
	switch {
	case g != nil:
		c.Level = min(g.TokensAt(g.at(now)), l.burst)
	case b != nil:
		c.Level = m.levelFor(s, c, b, now)
	}
	u := Usage{Left: c.Level, Wait: l.wait(l.cost - c.Level), Reset: l.wait(l.burst - c.Level)}
	if l.kind == Window && c.Level < l.burst {
		u.Reset = m.comesBack(s, c, b, 0, now)
		if u.Wait > 0 {
			u.Wait = m.comesBack(s, c, b, l.cost-c.Level, now)
		}
	}
	if l.cost > l.burst {
		u.Wait = Never
	}
	return u
}

// levelFor is what known would make of the bucket's level, see move.
func (m *Memory) levelFor(s *shard, c *Charge, b *bucket, now int64) float64 {
	was, l := m.policies.Load().list[b.policy], c.Limit
	level := m.level(s, was, b, now)
	if was.limit.kind == Window && l.kind == Window && samePeriod(was.limit, l) {
		level += l.burst - was.limit.burst
	}
	return max(-l.burst, min(l.burst, level))
}

// comesBack is when a quota has so many more again.
func (m *Memory) comesBack(s *shard, c *Charge, b *bucket, missing float64, now int64) time.Duration {
	if !c.Limit.quota.Rolling {
		_, left := m.calendar(c.policy, now)
		return max(1, left)
	}
	if b == nil || b.ring == 0 {
		return 0
	}
	was := m.policies.Load().list[b.policy].limit // in whose parts of time it was counted
	return max(1, s.at(b, was.part(now)).wait(b, was, missing, now))
}

// Forget makes a key's bucket new: full, or unused. What was taken before and is given back later changes nothing any more. At
// the cap of buckets a key may share its bucket with others; then it is theirs, too.
func (m *Memory) Forget(key []byte, l *Limit) {
	one := []Charge{{Limit: l, Key: key}}
	m.hash(one)
	m.hold(one)
	defer m.unlock(one)
	c := &one[0]
	s := m.shard(c.hash)
	m.crowd(s, c)
	if g := s.limiters[c.hash]; g != nil {
		m.leave(g.policy)
		delete(s.limiters, c.hash)
	}
	if i := s.index(c.hash); i >= 0 {
		b := &s.slots[i]
		m.leave(m.policies.Load().list[b.policy])
		s.rings.remove(b)
		s.table.remove(i)
	}
}

// crowd turns to the shared overflow bucket, where a key without one of its own would find no room, see makeRoom.
func (m *Memory) crowd(s *shard, c *Charge) {
	if s.find(c.hash) != nil || c.policy.limiter || m.roomFor(c.policy) {
		return
	}
	spread := maphash.Comparable(m.seed, [2]uint64{c.policy.family.hash, c.hash & (overflowSlots - 1)})
	c.hash = notZero(spread&^(shards-1) | c.hash&(shards-1))
}

// Taken is how many of the places of a key are taken in this process.
func (m *MemorySeats) Taken(key []byte, l *Limit) int {
	one := []Charge{{Limit: l, Key: key}}
	_, _ = m.Acquire(context.Background(), one) // takes no place: the cost is 0
	return int(l.burst - one[0].Level)
}
