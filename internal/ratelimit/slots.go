package ratelimit

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// SeatsConfig bounds a MemorySeats. Zero values take the defaults.
type SeatsConfig struct {
	Keys int // clients that hold seats at the same time, default 262144
}

// retryForSeat is the Wait of a refused request: nobody knows when a seat gets free.
const retryForSeat = time.Second

// MemorySeats counts who is being served by this process. A key without seats costs nothing; past the cap new keys share 4096
// counts. A seat has no upper age: long streams are still in flight after hours, and to free their seats would let others in
// beside them. Its owner always ends, with the connection or in a panic, and frees it; when the process ends so do they.
type MemorySeats struct {
	seed     maphash.Seed
	keys     int64
	used     atomic.Int64
	overflow atomic.Uint64
	shards   [shards]seatShard
}

type seatShard struct {
	sync.Mutex
	table        // level is how many seats are taken
	last  uint64 // seat
	_     [72]byte
}

// NewMemorySeats makes seats that are all free. It starts no goroutine and needs no Close.
func NewMemorySeats(cfg SeatsConfig) *MemorySeats {
	if cfg.Keys <= 0 {
		cfg.Keys = 1 << 18
	}
	return &MemorySeats{seed: maphash.MakeSeed(), keys: int64(cfg.Keys)}
}

// Len is how many keys hold a seat.
func (m *MemorySeats) Len() int { return int(m.used.Load()) }

// Overflowed counts the requests that were counted together with strangers.
func (m *MemorySeats) Overflowed() uint64 { return m.overflow.Load() }

// Acquire implements Seats: one seat at every limit, whatever its cost, or none; a cost of 0 only looks. A shadow never
// refuses: of what it would have refused it counts nothing.
func (m *MemorySeats) Acquire(_ context.Context, charges []Charge) (bool, error) {
	for i := range charges {
		charges[i].hash = notZero(maphash.Bytes(m.seed, charges[i].Key))
	}
	m.lock(charges)
	defer m.unlock(charges)
	allowed := true
	for i := range charges {
		c := &charges[i]
		m.measure(c)
		allowed = allowed && (c.Admitted || c.Limit.shadow)
	}
	if !allowed {
		return false, nil
	}
	for i := range charges {
		if c := &charges[i]; c.Admitted && c.Cost > 0 {
			m.sit(c)
		}
	}
	return true, nil
}

// Release implements Seats. To release a charge again does nothing.
func (m *MemorySeats) Release(charges []Charge) {
	m.lock(charges)
	defer m.unlock(charges)
	for i := range charges {
		c := &charges[i]
		if c.Seat == 0 {
			continue
		}
		c.Seat = 0
		s := m.shard(c.hash)
		b := s.find(c.hash)
		if b.level--; b.level > 0 {
			continue
		}
		s.remove(s.index(c.hash))
		s.shrink()
		m.used.Add(-1)
	}
}

// measure fills in the outcome of a charge. It moves a new key to a shared count when there is no room.
func (m *MemorySeats) measure(c *Charge) {
	c.Seat, c.Wait = 0, 0
	s := m.shard(c.hash)
	b := s.find(c.hash)
	if b == nil && m.used.Load() >= m.keys {
		if c.Cost > 0 {
			m.overflow.Add(1)
		}
		spread := maphash.Comparable(m.seed, [2]uint64{maphash.String(m.seed, c.Limit.name), c.hash & (overflowSlots - 1)})
		c.hash = notZero(spread&^(shards-1) | c.hash&(shards-1))
		b = s.find(c.hash)
	}
	c.Level = c.Limit.burst
	if b != nil {
		c.Level -= b.level
	}
	switch {
	case c.Limit.burst-c.Floor < 1:
		c.Admitted, c.Wait = false, Never
	case c.Cost > 0 && c.Level-c.Floor < 1:
		c.Admitted, c.Wait = false, retryForSeat
	default:
		c.Admitted = true
	}
}

func (m *MemorySeats) sit(c *Charge) {
	s := m.shard(c.hash)
	s.last++
	c.Seat = s.last
	c.Level--
	if b := s.find(c.hash); b != nil {
		b.level++
		return
	}
	s.insert(bucket{key: c.hash, level: 1})
	m.used.Add(1)
}

func (m *MemorySeats) shard(hash uint64) *seatShard { return &m.shards[hash&(shards-1)] }

func (m *MemorySeats) lock(charges []Charge) {
	for last := nextShard(charges, -1); last < shards; last = nextShard(charges, last) {
		m.shards[last].Lock()
	}
}

func (m *MemorySeats) unlock(charges []Charge) {
	for last := nextShard(charges, -1); last < shards; last = nextShard(charges, last) {
		m.shards[last].Unlock()
	}
}
