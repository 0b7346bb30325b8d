package ratelimit

import (
	"hash/maphash"
	"maps"
	"sync/atomic"
)

// policy is what a Memory knows of one limit: a short number for its name, the settings seen last, and how many buckets it
// has. There are as many as limits were ever named in the document.
type policy struct {
	id      uint32
	limit   atomic.Pointer[Limit]
	entries atomic.Int64
}

// policies is replaced, never changed: the hot path reads it without a lock.
type policies struct {
	byName map[string]*policy
	list   []*policy
}

// full reports whether a bucket is worth no more than none at all.
func (p *policy) full(b *bucket, now int64) bool {
	l := p.limit.Load()
	return l.level(b, now) >= l.burst
}

// resolve finds the policy and the hash of every charge.
func (m *Memory) resolve(charges []Charge) {
	known := m.policies.Load()
	for i := range charges {
		c := &charges[i]
		p := known.byName[c.Limit.name]
		if p == nil {
			p = m.add(c.Limit)
		}
		if seen := p.limit.Load(); seen != c.Limit && !sameSettings(seen, c.Limit) {
			p.limit.Store(c.Limit)
		}
		c.policy = p
		c.hash = notZero(maphash.Bytes(m.seed, c.Key))
	}
}

// sameSettings spares a shared cache line the writes when several routes compiled the same limit.
func sameSettings(a, b *Limit) bool { return a.rate == b.rate && a.burst == b.burst }

func (m *Memory) add(l *Limit) *policy {
	m.adding.Lock()
	defer m.adding.Unlock()
	old := m.policies.Load()
	if p := old.byName[l.name]; p != nil {
		return p
	}
	p := &policy{id: uint32(len(old.list))}
	p.limit.Store(l)
	next := &policies{byName: maps.Clone(old.byName), list: append(old.list[:len(old.list):len(old.list)], p)}
	next.byName[l.name] = p
	m.policies.Store(next)
	return p
}
