package leases

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"github.com/oncegate/oncegate/internal/ratelimit"
)

// decideAlone applies on_store_failure to the failing charges. It tells what of each was admitted; nothing is taken here but
// of the local buckets, and that only when all of them have enough. A shadow never fails closed: it refuses nothing.
func (s *Store) decideAlone(parts []part, charges []ratelimit.Charge, now int64) (bool, error) {
	var local []ratelimit.Charge
	for i := range parts {
		c := &charges[i]
		if parts[i].verdict != failing {
			continue
		}
		switch {
		case c.Limit.OnStoreFailure() == ratelimit.FailAllow:
			s.recorder.Fallback(c.Limit.Name(), PolicyAllow)
		case failsClosed(c.Limit):
			s.recorder.Fallback(c.Limit.Name(), PolicyDeny)
			c.Admitted = false
			return false, ErrDown
		default:
			s.recorder.Fallback(c.Limit.Name(), PolicyLocal)
			if p := parts[i].entry.past; p != nil && now < p.paid && !c.Limit.Shadow() {
				c.Admitted, c.Level, c.Wait = false, 0, time.Duration(p.paid-now)
				return false, nil
			}
			local = append(local, s.localCharge(parts[i].entry, c, now))
		}
	}
	allowed, err := s.takeLocal(local)
	s.bookAlone(parts, charges, local, allowed, now)
	return allowed, err
}

func (s *Store) takeLocal(local []ratelimit.Charge) (bool, error) {
	if len(local) == 0 {
		return true, nil
	}
	return s.local.Take(context.Background(), local) // it never waits for more than a lock
}

// bookAlone copies what the local buckets said, and remembers what the store wasn't told.
func (s *Store) bookAlone(parts []part, charges, local []ratelimit.Charge, allowed bool, now int64) {
	next := 0
	for i := range parts {
		p, c := &parts[i], &charges[i]
		if p.verdict != failing {
			continue
		}
		if usesLocal(c.Limit) {
			l := &local[next]
			next++
			c.Admitted, c.Level, c.Wait, c.Reset = l.Admitted, l.Level, l.Wait, l.Reset
		}
		if allowed && c.Admitted {
			c.Seat = p.entry.seat(true)
			s.admitAlone(p.entry, p.cost, now)
			if usesLocal(c.Limit) {
				p.entry.past.pay(p.cost, local[next-1].Limit, now)
			}
			s.watch(p.entry)
		}
	}
}

// failsClosed: a shadow does not, it refuses nothing.
func failsClosed(l *ratelimit.Limit) bool {
	return l.OnStoreFailure() == ratelimit.FailDeny && !l.Shadow()
}

func usesLocal(l *ratelimit.Limit) bool {
	return l.OnStoreFailure() != ratelimit.FailAllow && !failsClosed(l)
}

// pay shuts a local bucket for as long as the tokens take that a request cost beyond a full one.
func (p *past) pay(cost int64, part *ratelimit.Limit, now int64) {
	if rest := float64(cost) - part.Burst(); rest > 0 {
		p.paid = now + int64(min(rest/part.Rate()*float64(time.Second), math.MaxInt64/4))
	}
}

// localCharge is a charge of this gateway's part of the limit.
func (s *Store) localCharge(e *entry, c *ratelimit.Charge, now int64) ratelimit.Charge {
	part := s.shares.of(c.Limit, s.fleet.size())
	s.ground(e, part, c.Key, now)
	return ratelimit.Charge{Limit: part, Key: c.Key, Cost: min(c.Cost, part.Burst())}
}

// ground makes a local bucket hold what it may. After each answer of the store that is the gateway's part of what the store had:
// a key that has just spent its burst is not given another one because the store is slow for a moment. Of a key that nothing is
// known of it is all, but for a gateway that has never met the store, or does not know how many it shares with: that may be one
// that was just restarted, and its buckets are worth what they would be had they begun with one token when it did.
func (s *Store) ground(e *entry, part *ratelimit.Limit, key []byte, now int64) {
	worth, young := part.Burst(), part.Burst()
	if part.Kind() == ratelimit.Bucket && !(s.met.Load() && s.fleet.sure.Load()) {
		young = min(young, 1+math.Floor(time.Duration(now).Seconds()*part.Rate()))
	}
	answered := e.known && (e.past == nil || e.past.grounded != e.leftAt+1)
	if answered {
		p := e.remember()
		p.grounded = e.leftAt + 1
		worth = part.Burst()/e.limit.Burst()*(e.stored(now)-float64(e.debt)) - float64(s.alone(e, now))
	} else if young == part.Burst() {
		return
	}
	one := []ratelimit.Charge{{Limit: part, Key: key}}
	_, _ = s.local.Take(context.Background(), one) // a look
	if !answered && one[0].Level < part.Burst() {
		return // not new
	}
	one[0].Admitted, one[0].Change = true, min(worth, young)-one[0].Level
	s.local.Settle(context.Background(), one)
}

// shares keeps the parts of limits: making one copies it.
type shares struct{ known atomic.Pointer[shareTable] }

type shareTable struct {
	n  int
	of map[*ratelimit.Limit]*ratelimit.Limit
}

const maxShares = 4096 // limits of some reloads

func (s *shares) of(l *ratelimit.Limit, n int) *ratelimit.Limit {
	old := s.known.Load()
	if old != nil && old.n == n {
		if part := old.of[l]; part != nil {
			return part
		}
	}
	next := &shareTable{n: n, of: map[*ratelimit.Limit]*ratelimit.Limit{}}
	if old != nil && old.n == n && len(old.of) < maxShares {
		for k, v := range old.of {
			next.of[k] = v
		}
	}
	part := l.Share(n)
	next.of[l] = part
	s.known.Store(next) // of two at once one is made again later
	return part
}
