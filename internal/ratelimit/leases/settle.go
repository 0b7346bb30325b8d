package leases

import (
	"context"
	"hash/maphash"
	"time"

	"github.com/oncegate/oncegate/internal/ratelimit"
)

// Settle implements ratelimit.Store. What is given back stays with this gateway as far as a lease may hold it; what is taken in
// addition and isn't here becomes a debt, down to a burst, that the next draw brings.
func (s *Store) Settle(_ context.Context, charges []ratelimit.Charge) {
	for i := range charges {
		if charges[i].Admitted {
			s.settle(&charges[i])
		}
	}
}

func (s *Store) settle(c *ratelimit.Charge) {
	hash := maphash.Bytes(s.seed, c.Key)
	sh := s.shard(hash)
	sh.Lock()
	now := s.now()
	e := s.find(hash, c, now)
	e.expire(now)
	n := int64(c.Change)
	var refund *call
	switch {
	case c.Seat&seatLocal != 0:
		s.settleLocal(e, c, n)
	case n > 0 && c.Seat == e.seat(false): // of this period
		refund = s.refund(e, c, n, now)
	case n < 0:
		took := min(e.held, -n)
		e.held -= took
		e.debt = min(e.debt-n-took, mostDebt(c.Limit))
		s.name(e, c) // the sweep brings it if no request does
		s.watch(e)
	}
	if c.Seat&seatLocal == 0 {
		c.Level = e.level(now)
	}
	sh.Unlock()
	s.send(refund)
}

// mostDebt empties a bucket that is full and takes a burst of debt; the store goes no further down.
func mostDebt(l *ratelimit.Limit) int64 { return 2 * int64(l.Burst()) }

// refund takes tokens back; those above a lease go on to the store.
func (s *Store) refund(e *entry, c *ratelimit.Charge, n, now int64) *call {
	paid := min(n, e.debt)
	e.debt -= paid
	e.held += n - paid
	e.used = now
	s.watch(e)
	share := e.share(s.fleet.size())
	keep := e.pending
	if !exact(share) {
		keep = max(keep, int64(share))
	}
	if e.flight != nil {
		keep -= e.flight.want
	}
	if over := min(e.held, e.held-keep); over > 0 && s.name(e, c) {
		return s.giveBack(e, over, now)
	}
	return nil
}

// settleLocal settles what a local bucket admitted.
func (s *Store) settleLocal(e *entry, c *ratelimit.Charge, n int64) {
	if p := e.past; p != nil {
		p.now = max(0, p.now-n)
		p.during = max(0, p.during-n)
	}
	one := []ratelimit.Charge{{Limit: s.shares.of(c.Limit, s.fleet.size()), Key: c.Key}}
	_, _ = s.local.Take(context.Background(), one) // a look, to find the bucket
	one[0].Admitted, one[0].Change = true, c.Change
	s.local.Settle(context.Background(), one)
	c.Level = one[0].Level
}

// seatLocal marks a charge that was admitted without the store.
const seatLocal = 1

// seat says where a charge was taken: in which period, and whether by a local bucket.
func (e *entry) seat(local bool) uint64 {
	var mark uint64
	if e.past != nil && isCalendar(e.limit) {
		mark = uint64(e.past.begins/int64(time.Second)) << 1
	}
	if local {
		mark |= seatLocal
	}
	return mark
}

// Usage is what this gateway knows of a key: tokens held here, and tokens that could be taken. Without an entry it is false.
func (s *Store) Usage(key []byte, l *ratelimit.Limit) (held int64, level float64, ok bool) {
	hash := maphash.Bytes(s.seed, key)
	sh := s.shard(hash)
	sh.Lock()
	defer sh.Unlock()
	e := sh.entries[hash]
	if e == nil {
		if e = sh.entries[s.overflowHash(hash, l)]; e == nil {
			return 0, l.Burst(), false
		}
	}
	now := s.now()
	e.expire(now)
	return e.held, e.level(now), true
}

// Forget drops what this gateway holds and remembers of a key. It is for an operator who resets the bucket in the store first.
func (s *Store) Forget(key []byte) {
	hash := maphash.Bytes(s.seed, key)
	sh := s.shard(hash)
	sh.Lock()
	defer sh.Unlock()
	if e := sh.entries[hash]; e != nil {
		e.held, e.debt, e.deny, e.known, e.past = 0, 0, 0, false, nil
		s.watch(e)
	}
}
