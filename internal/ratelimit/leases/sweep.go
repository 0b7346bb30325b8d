package leases

import (
	"hash/maphash"
	"strconv"
	"time"

	"github.com/oncegate/oncegate/internal/ratelimit"
)

const (
	overflowSlots = 4096 // power of two, at least shards
	sampled       = 8    // parked entries of a shard that one sweep looks at
	sampledAtCap  = 32   // and a new key that finds no room
)

// find gives the entry of a charge, if need be a new one. The shard is locked.
func (s *Store) find(hash uint64, c *ratelimit.Charge, now int64) *entry {
	sh := s.shard(hash)
	e := sh.entries[hash]
	if e == nil {
		e = s.add(sh, hash, c.Limit, now)
	}
	if e.limit != c.Limit {
		e.adopt(c.Limit)
	}
	return e
}

// add makes an entry. At the cap, with nothing to free, the key shares one of 4096 entries of its limit in the same shard.
func (s *Store) add(sh *shard, hash uint64, l *ratelimit.Limit, now int64) *entry {
	overflow := false
	if s.total.Load() >= int64(s.cfg.Keys) {
		s.sample(sh, sampledAtCap, now)
		overflow = s.total.Load() >= int64(s.cfg.Keys)
	}
	if overflow {
		s.recorder.Lease(EventOverflow, 0)
		hash = s.overflowHash(hash, l)
		if e := sh.entries[hash]; e != nil {
			return e
		}
	}
	e := &entry{hash: hash, limit: l, used: now, seen: now, overflow: overflow}
	sh.entries[hash] = e
	s.total.Add(1)
	s.watch(e)
	return e
}

func (s *Store) overflowHash(hash uint64, l *ratelimit.Limit) uint64 {
	slot := hash & (overflowSlots - 1)
	of := maphash.String(s.seed, l.Name()+"\x00"+strconv.FormatUint(slot, 10))
	return of&^(overflowSlots-1) | slot
}

// adopt takes over a limit that a reload has changed: tokens stay what they are, unless it counts something else now.
func (e *entry) adopt(l *ratelimit.Limit) {
	if e.limit.Kind() != l.Kind() {
		e.held, e.debt, e.void, e.deny, e.known, e.past = 0, 0, 0, 0, false, nil
		e.flight = nil // what it brings counts something else: it goes back
	}
	e.limit = l
}

// name finds out what the bucket is called in the store; false while that can't be known.
func (s *Store) name(e *entry, c *ratelimit.Charge) bool {
	if e.named {
		return true
	}
	key := c.Key
	if e.overflow {
		slot := e.hash & (overflowSlots - 1)
		key = strconv.AppendUint(append([]byte(c.Limit.Name()), "\x00overflow\x00"...), slot, 10)
	}
	e.name, e.named = s.src.Name(key)
	return e.named
}

// watch puts an entry on the list of the sweep.
func (s *Store) watch(e *entry) {
	if !e.live {
		e.live = true
		s.lively.Add(1)
		sh := s.shard(e.hash)
		sh.live = append(sh.live, e)
	}
}

// sweepUntilStopped returns idle tokens whether or not anyone asks for their shard.
func (s *Store) sweepUntilStopped() {
	defer close(s.stopped)
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for round := 1; ; round++ {
		select {
		case <-s.stop:
			return
		case <-ticker.C:
		}
		now := s.now()
		s.count(now)
		if s.total.Load() == 0 || s.lively.Load() == 0 && round%sweepSlowly != 0 {
			continue
		}
		for i := range s.shards {
			s.sweepShard(&s.shards[i], now, false)
		}
	}
}

// sweepShard looks at every live entry and some of the parked ones. all gives everything back.
func (s *Store) sweepShard(sh *shard, now int64, all bool) {
	var calls []*call
	sh.Lock()
	for i := 0; i < len(sh.live); {
		e := sh.live[i]
		if c := s.tend(e, now, all); c != nil {
			calls = append(calls, c)
		}
		if e.busy(now) {
			i++
			continue
		}
		last := len(sh.live) - 1
		sh.live[i], sh.live[last] = sh.live[last], nil
		sh.live = sh.live[:last]
		e.live = false
		s.lively.Add(-1)
		s.freeIfWorthless(sh, e, now)
	}
	s.sample(sh, sampled, now)
	sh.Unlock()
	for _, c := range calls {
		s.send(c)
	}
}

// busy reports that the sweep must come back soon.
func (e *entry) busy(now int64) bool {
	return e.flight != nil || e.held > 0 || e.debt > 0 || e.pending > 0 || now < e.deny || now < e.down ||
		now-e.used < int64(idle) || now-e.seen < int64(idle)
}

// tend gives up a draw that is never answered, and gives idle tokens back.
func (s *Store) tend(e *entry, now int64, all bool) *call {
	e.expire(now)
	if f := e.flight; f != nil && now-f.began > int64(abandon) {
		e.flight = nil
		s.fail(e, f, now)
	}
	isIdle := now-e.used >= int64(idle) && now >= e.down && e.pending == 0 && e.flight == nil
	if (isIdle || all) && (e.held > 0 || e.debt > 0) && e.named {
		return s.giveBack(e, e.held, now)
	}
	return nil
}

// sample frees worthless entries that nobody has asked for lately. A map's iteration begins anywhere.
func (s *Store) sample(sh *shard, n int, now int64) {
	for _, e := range sh.entries {
		if n--; n < 0 {
			return
		}
		if !e.live {
			s.freeIfWorthless(sh, e, now)
		}
	}
}

func (s *Store) freeIfWorthless(sh *shard, e *entry, now int64) {
	if e.worthless(now, s) {
		delete(sh.entries, e.hash)
		s.total.Add(-1)
	}
}
