package ratelimit

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// MemoryConfig bounds a Memory. Zero values take the defaults.
type MemoryConfig struct {
	PerPolicy int // buckets of one limit, default 1048576
	Total     int // buckets of all limits, default 4194304
}

const (
	shards        = 256  // power of two
	overflowSlots = 4096 // power of two, at least shards
	sweepSteps    = 2    // slots that one charge looks at to free full buckets
	sweepOnInsert = 4    // more of them when a bucket is added: freeing must outrun adding
	sweepForRoom  = 32   // the same when a new key finds no room
)

// Memory keeps buckets in this process. It is bounded: a full bucket is the same as none and is freed in passing; a bucket
// in debt is never freed. When only buckets in debt are left, new keys share 4096 overflow buckets of their limit.
type Memory struct {
	seed     maphash.Seed
	now      func() int64 // nanoseconds since the store began
	limits   MemoryConfig
	policies atomic.Pointer[policies]
	adding   sync.Mutex
	total    atomic.Int64
	overflow atomic.Uint64
	cursor   atomic.Uint32
	shards   [shards]shard
}

type shard struct {
	sync.Mutex
	table
	_ [80]byte // two cache lines each: neighbours don't slow each other down
}

// NewMemory makes an empty store. It starts no goroutine and needs no Close.
func NewMemory(cfg MemoryConfig) *Memory {
	if cfg.PerPolicy <= 0 {
		cfg.PerPolicy = 1 << 20
	}
	if cfg.Total <= 0 {
		cfg.Total = 1 << 22
	}
	began := time.Now()
	m := &Memory{seed: maphash.MakeSeed(), limits: cfg, now: func() int64 { return int64(time.Since(began)) }}
	m.policies.Store(&policies{byName: map[string]*policy{}})
	return m
}

// Len is the number of buckets held.
func (m *Memory) Len() int { return int(m.total.Load()) }

// Overflowed counts the requests that used a shared overflow bucket.
func (m *Memory) Overflowed() uint64 { return m.overflow.Load() }

// Take implements Store. It never fails and never waits but for a shard's lock.
func (m *Memory) Take(_ context.Context, charges []Charge) (bool, error) {
	m.resolve(charges)
	m.lock(charges)
	now := m.now() // under the locks: what is written here is never older than what is read
	allowed := m.check(charges, now)
	if allowed {
		m.take(charges, now)
	}
	for i := range charges {
		m.sweep(m.shard(charges[i].hash), sweepSteps, now)
	}
	m.unlock(charges)
	return allowed, nil
}

// Settle implements Store.
func (m *Memory) Settle(_ context.Context, charges []Charge) {
	m.lock(charges)
	defer m.unlock(charges)
	now := m.now()
	for i := range charges {
		c := &charges[i]
		b := m.shard(c.hash).find(c.hash)
		if b == nil || !c.Admitted {
			continue // full again and freed, or nothing was taken
		}
		b.level = max(-c.Limit.burst, min(c.Limit.burst, c.Limit.level(b, now)+c.Change))
		b.last = max(b.last, now)
		c.Level = b.level
	}
}

// check looks at every bucket and changes none.
func (m *Memory) check(charges []Charge, now int64) bool {
	allowed := true
	for i := range charges {
		c := &charges[i]
		c.Level = c.Limit.burst
		b := m.shard(c.hash).find(c.hash)
		if b == nil {
			b = m.makeRoom(c, now)
		}
		if b != nil {
			c.Level = c.Limit.level(b, now)
		}
		c.Wait = c.Limit.wait(c.Cost - c.Level)
		c.Admitted = c.Wait == 0 && c.Cost <= c.Limit.burst
		allowed = allowed && (c.Admitted || c.Limit.shadow)
	}
	return allowed
}

// take charges every bucket that held enough. A shadow limit that did not is left alone.
func (m *Memory) take(charges []Charge, now int64) {
	for i := range charges {
		c := &charges[i]
		if !c.Admitted {
			continue
		}
		c.Level -= c.Cost
		s := m.shard(c.hash)
		if b := s.find(c.hash); b != nil {
			b.level, b.last = c.Level, max(b.last, now)
			continue
		}
		s.insert(bucket{key: c.hash, level: c.Level, last: now, policy: c.policy.id})
		c.policy.entries.Add(1)
		m.total.Add(1)
		m.sweep(s, sweepOnInsert, now)
	}
}

// makeRoom is called for a key without a bucket. At the cap, and when the hand finds nothing to free, the charge is moved to
// an overflow bucket of the same shard, which is given when it exists.
func (m *Memory) makeRoom(c *Charge, now int64) *bucket {
	if m.roomFor(c.policy) {
		return nil
	}
	m.sweep(m.shard(c.hash), sweepForRoom, now)
	m.sweepAnother(now)
	if m.roomFor(c.policy) {
		return nil
	}
	m.overflow.Add(1)
	slot := c.hash & (overflowSlots - 1)
	spread := maphash.Comparable(m.seed, [2]uint64{uint64(c.policy.id), slot})
	c.hash = notZero(spread&^(shards-1) | c.hash&(shards-1))
	return m.shard(c.hash).find(c.hash)
}

func (m *Memory) roomFor(p *policy) bool {
	return p.entries.Load() < int64(m.limits.PerPolicy) && m.total.Load() < int64(m.limits.Total)
}

// sweep moves the hand of a shard on and frees the buckets that are full by the newest settings of their limit.
func (m *Memory) sweep(s *shard, steps int, now int64) {
	known := m.policies.Load().list
	for range steps {
		if s.hand >= len(s.slots) {
			s.hand = 0
			s.shrink()
		}
		if s.used == 0 {
			return
		}
		b := &s.slots[s.hand]
		if b.key == 0 || !known[b.policy].full(b, now) {
			s.hand++
			continue
		}
		known[b.policy].entries.Add(-1)
		m.total.Add(-1)
		s.remove(s.hand) // the hand stays: another bucket may have moved here
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

// notZero keeps a hash in its shard but off the mark of an empty slot.
func notZero(hash uint64) uint64 {
	if hash == 0 {
		return shards
	}
	return hash
}

func (m *Memory) shard(hash uint64) *shard { return &m.shards[hash&(shards-1)] }

// lock takes the locks of all charges, each once, in the order of the shards: two requests can't wait for each other.
func (m *Memory) lock(charges []Charge) {
	if len(charges) == 1 {
		m.shard(charges[0].hash).Lock()
		return
	}
	for last := nextShard(charges, -1); last < shards; last = nextShard(charges, last) {
		m.shards[last].Lock()
	}
}

func (m *Memory) unlock(charges []Charge) {
	if len(charges) == 1 {
		m.shard(charges[0].hash).Unlock()
		return
	}
	for last := nextShard(charges, -1); last < shards; last = nextShard(charges, last) {
		m.shards[last].Unlock()
	}
}

// nextShard is the lowest shard above last that a charge needs, or shards. Routes have few limits: no sorting.
func nextShard(charges []Charge, last int) int {
	next := shards
	for i := range charges {
		if s := int(charges[i].hash & (shards - 1)); s > last && s < next {
			next = s
		}
	}
	return next
}
