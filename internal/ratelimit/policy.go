package ratelimit

import (
	"hash/maphash"
	"slices"
	"sync/atomic"
	"time"
)

// policy is what a Memory knows of one setting of a limit: a short number for it and how many buckets were last used with it.
// A limit has one for every plan, and for what it was before the last edits while buckets remember those.
type policy struct {
	id      uint32
	limit   *Limit
	family  *family
	entries atomic.Int64
	span    atomic.Pointer[span] // of a calendar Window
	old     atomic.Bool          // buckets move on to the newest setting when the sweep comes by
	limiter bool                 // its buckets are kept as limiters, see bounded.go
	gone    bool                 // guarded by all shards: the number may belong to another
}

// family is one limit by its name, whatever its settings.
type family struct {
	hash    uint64 // spreads its overflow buckets
	entries atomic.Int64
}

// policies is replaced, never changed: the hot path reads it without a lock.
type policies struct {
	byName map[string][]*policy // the newest last
	list   []*policy            // by id; nil is free
}

const (
	variantsKept   = 256 // settings of one limit; more than any document has plans
	policiesAtEase = 64  // as many may be there before the unused ones are dropped
)

// resolve finds the policy of every charge.
func (m *Memory) resolve(charges []Charge) {
	known := m.policies.Load()
	for i := range charges {
		c := &charges[i]
		if c.policy = known.find(c.Limit); c.policy == nil {
			c.policy = m.add(c.Limit)
		}
	}
}

func (k *policies) find(l *Limit) *policy {
	for _, p := range k.byName[l.name] {
		if p.limit == l || sameSettings(p.limit, l) {
			return p
		}
	}
	return nil
}

// sameSettings compares what decides; every reload compiles limits anew.
func sameSettings(a, b *Limit) bool {
	return a.rate == b.rate && a.burst == b.burst && a.kind == b.kind && a.bounded() == b.bounded() && samePeriod(a, b)
}

func (m *Memory) add(l *Limit) *policy {
	m.adding.Lock()
	defer m.adding.Unlock()
	if p := m.policies.Load().find(l); p != nil {
		return p
	}
	next := m.policies.Load().clone()
	if next.count() >= m.pruneAt {
		m.lockAll()
		m.sweepAll()
		next.prune()
		defer m.unlockAll() // no bucket may get the number of what was dropped: the new list must be there first
		m.pruneAt = max(policiesAtEase, 2*next.count())
	}
	p := &policy{limit: l, limiter: l.bounded()}
	kin := next.byName[l.name]
	if len(kin) > 0 {
		p.family = kin[0].family
	} else {
		p.family = &family{hash: maphash.String(m.seed, l.name)}
	}
	if len(kin) >= variantsKept {
		kin[0].old.Store(true)
		kin = kin[1:]
	}
	next.byName[l.name] = append(slices.Clone(kin), p)
	next.place(p)
	m.policies.Store(next)
	return p
}

func (k *policies) clone() *policies {
	next := &policies{byName: make(map[string][]*policy, len(k.byName)+1), list: slices.Clone(k.list)}
	for name, kin := range k.byName {
		next.byName[name] = kin
	}
	return next
}

func (k *policies) count() (n int) {
	for _, p := range k.list {
		if p != nil {
			n++
		}
	}
	return n
}

func (k *policies) place(p *policy) {
	free := slices.Index(k.list, nil)
	if free < 0 {
		free = len(k.list)
		k.list = append(k.list, nil)
	}
	p.id = uint32(free)
	k.list[free] = p
}

// prune drops the settings that no bucket remembers. The caller holds all shards.
func (k *policies) prune() {
	for i, p := range k.list {
		if p != nil && p.entries.Load() == 0 {
			p.gone = true
			k.list[i] = nil
		}
	}
	for name, kin := range k.byName {
		kin = slices.DeleteFunc(slices.Clone(kin), func(p *policy) bool { return p.gone })
		if k.byName[name] = kin; len(kin) == 0 {
			delete(k.byName, name)
		}
	}
}

// sweepAll frees what it finds in a millisecond or two: full buckets keep their settings from being dropped. The caller holds
// all shards.
func (m *Memory) sweepAll() {
	now := m.now()
	for i := range m.shards {
		s := &m.shards[i]
		m.dropIdle(s, now, 0)
		m.sweep(s, min(len(s.slots)+1, 2*shards), now)
	}
}

func (m *Memory) lockAll() {
	for i := range m.shards {
		m.shards[i].Lock()
	}
}

func (m *Memory) unlockAll() {
	for i := range m.shards {
		m.shards[i].Unlock()
	}
}

// enter and leave count a bucket where the cap and prune look. The caller holds the bucket's shard.
func (m *Memory) enter(p *policy) {
	p.entries.Add(1)
	p.family.entries.Add(1)
	m.total.Add(1)
}

func (m *Memory) leave(p *policy) {
	p.entries.Add(-1)
	p.family.entries.Add(-1)
	m.total.Add(-1)
}

// begins is what a bucket holds that is not there.
func (m *Memory) begins(p *policy, now int64) float64 {
	l := p.limit
	if m.limits.Begin <= 0 {
		return l.burst
	}
	if s := p.span.Load(); l.kind == Window && (s != nil && s.begins >= m.began || l.quota.Rolling && now >= int64(l.quota.Length())) {
		return l.burst // a period that this store saw whole
	}
	return min(l.burst, m.limits.Begin+time.Duration(now).Seconds()*l.rate)
}
