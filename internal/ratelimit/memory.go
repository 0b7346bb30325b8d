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
	// Begin is how many tokens a bucket that is not known held when the store began, such as 1 for a store that stands in for
	// a shared one: restarts then hand out no bursts. By default buckets begin full.
	Begin float64
}

const (
	shards        = 256  // power of two
	overflowSlots = 4096 // power of two, at least shards
	sweepSteps    = 2    // slots that one charge looks at to free full buckets
	sweepOnInsert = 4    // more of them when a bucket is added: freeing must outrun adding
	sweepForRoom  = 32   // the same when a new key finds no room
)

// Memory keeps buckets and quotas in this process. It is bounded: a full bucket is the same as none and is freed in passing;
// a bucket in debt is never freed. When only buckets in debt are left, new keys share 4096 overflow buckets of their limit.
//
// Settings travel with the call: until a bucket is used with others (a plan, an edit), it refills by those it was used with
// last; then its level stays, cut to the new burst. Limits by route and for all are kept as limiters of
// golang.org/x/time/rate, with the same results: their keys come from the configuration, so they need no cap.
type Memory struct {
	seed     maphash.Seed
	now      func() int64 // nanoseconds since the store began
	wall     func() time.Time
	began    int64 // nanoseconds of Unix time
	limits   MemoryConfig
	policies atomic.Pointer[policies]
	adding   sync.Mutex
	pruneAt  int // guarded by adding
	total    atomic.Int64
	overflow atomic.Uint64
	cursor   atomic.Uint32
	shards   [shards]shard
}

type shard struct {
	sync.Mutex
	table
	limiters map[uint64]*limiter
	idle     int64 // when to look for limiters that are not used
	rings
	_ [16]byte // two cache lines each: neighbours don't slow each other down
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
	m := &Memory{
		seed: maphash.MakeSeed(), limits: cfg, pruneAt: policiesAtEase,
		now: func() int64 { return int64(time.Since(began)) }, wall: time.Now, began: began.UnixNano(),
	}
	m.policies.Store(&policies{byName: map[string][]*policy{}})
	return m
}

// Len is the number of buckets held.
func (m *Memory) Len() int { return int(m.total.Load()) }

// Overflowed counts the requests that used a shared overflow bucket.
func (m *Memory) Overflowed() uint64 { return m.overflow.Load() }

// Take implements Store. It never fails and never waits but for a shard's lock.
func (m *Memory) Take(_ context.Context, charges []Charge) (bool, error) {
	m.hash(charges)
	m.hold(charges)
	now := m.now() // under the locks: what is written here is never older than what is read
	allowed := m.check(charges, now)
	if allowed {
		m.take(charges, now)
	} else {
		m.countOverflow(charges)
	}
	for i := range charges {
		s := m.shard(charges[i].hash)
		m.reset(s, &charges[i], now)
		m.sweep(s, sweepSteps, now)
	}
	m.unlock(charges)
	return allowed, nil
}

// look is Take without taking: it answers whether Take would, and fills in the outcomes.
func (m *Memory) look(charges []Charge) bool {
	m.hash(charges)
	m.hold(charges)
	now := m.now()
	allowed := m.check(charges, now)
	for i := range charges {
		m.reset(m.shard(charges[i].hash), &charges[i], now)
	}
	m.unlock(charges)
	return allowed
}

// Settle implements Store. What is given back after its period has ended is dropped.
func (m *Memory) Settle(_ context.Context, charges []Charge) {
	for i := range charges {
		if charges[i].hash == 0 { // never taken here: a debt from elsewhere
			m.hash(charges[i : i+1])
		}
	}
	m.hold(charges)
	defer m.unlock(charges)
	now := m.now()
	for i := range charges {
		c := &charges[i]
		if !c.Admitted || c.Limit.burst <= 0 {
			continue // nothing was taken
		}
		s := m.shard(c.hash)
		if c.policy.limiter {
			m.settleLimiter(s, c, now)
			continue
		}
		switch b := m.known(s, c, now); {
		case b != nil:
			m.settle(s, c, b, now)
		case c.Change < 0: // full again and freed: it is needed once more
			c.Level = max(-c.Limit.burst, m.begins(c.policy, now)+c.Change)
			m.insert(s, c, now)
		}
		m.reset(s, c, now)
	}
}

// check looks at every bucket and takes from none.
func (m *Memory) check(charges []Charge, now int64) bool {
	allowed := true
	for i := range charges {
		c := &charges[i]
		m.measure(c, now)
		switch {
		case c.Limit.burst <= 0: // denied, also to look
			c.Admitted, c.Wait = false, Never
		case c.Cost == 0:
			c.Admitted, c.Wait = true, 0
		case c.Cost+c.Floor > c.Limit.burst:
			c.Admitted, c.Wait = false, Never
		default:
			c.Admitted = c.Wait == 0
		}
		allowed = allowed && (c.Admitted || c.Limit.shadow)
	}
	return allowed
}

// measure fills in Level and, when that is too little, Wait.
func (m *Memory) measure(c *Charge, now int64) {
	c.Level, c.Wait, c.crowded = c.Limit.burst, 0, false
	s := m.shard(c.hash)
	if c.Limit.burst <= 0 {
		return
	}
	if c.policy.limiter {
		m.measureLimiter(s, c, now)
		return
	}
	b := m.known(s, c, now)
	if b == nil {
		b = m.makeRoom(c, now)
	}
	m.weigh(s, c, b, now)
}

// take charges every bucket that held enough. A shadow limit that did not is left alone.
func (m *Memory) take(charges []Charge, now int64) {
	for i := range charges {
		c := &charges[i]
		if !c.Admitted || c.Cost == 0 {
			continue
		}
		if c.crowded {
			m.overflow.Add(1)
		}
		s := m.shard(c.hash)
		if c.policy.limiter {
			m.takeLimiter(s, c, now)
			continue
		}
		c.Level -= c.Cost
		if b := s.find(c.hash); b != nil {
			s.put(c, b, now)
			continue
		}
		m.insert(s, c, now)
		m.sweep(s, sweepOnInsert, now)
	}
}

func (m *Memory) countOverflow(charges []Charge) {
	for i := range charges {
		if charges[i].crowded {
			m.overflow.Add(1)
		}
	}
}

// insert adds a bucket that holds c.Level.
func (m *Memory) insert(s *shard, c *Charge, now int64) {
	b := bucket{key: c.hash, policy: c.policy.id}
	m.set(s, c.policy, &b, c.Level, now)
	s.insert(b)
	m.enter(c.policy)
}
