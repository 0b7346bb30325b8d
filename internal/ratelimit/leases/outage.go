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
		switch failure := c.Limit.OnStoreFailure(); {
		case failure == ratelimit.FailAllow:
			s.recorder.Fallback(c.Limit.Name(), PolicyAllow)
		case failure == ratelimit.FailDeny && !c.Limit.Shadow():
			s.recorder.Fallback(c.Limit.Name(), PolicyDeny)
			c.Admitted = false
			return false, ErrDown
		default:
			s.recorder.Fallback(c.Limit.Name(), PolicyLocal)
			if p := parts[i].entry.past; p != nil && now < p.paid && !c.Limit.Shadow() {
				c.Admitted, c.Level, c.Wait = false, 0, time.Duration(p.paid-now)
				return false, nil
			}
			local = append(local, s.localCharge(c, now))
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
			c.Admitted, c.Level, c.Wait = l.Admitted, l.Level, l.Wait
		}
		if allowed && c.Admitted {
			c.Seat = p.entry.seat(usesLocal(c.Limit))
			s.admitAlone(p.entry, p.cost, now)
			if usesLocal(c.Limit) {
				p.entry.past.pay(p.cost, local[next-1].Limit, now)
			}
			s.watch(p.entry)
		}
	}
}

func usesLocal(l *ratelimit.Limit) bool {
	return l.OnStoreFailure() == ratelimit.FailLocal || l.OnStoreFailure() == ratelimit.FailDeny && l.Shadow()
}

// pay shuts a local bucket for as long as the tokens take that a request cost beyond a full one.
func (p *past) pay(cost int64, part *ratelimit.Limit, now int64) {
	if rest := float64(cost) - part.Burst(); rest > 0 {
		p.paid = now + int64(min(rest/part.Rate()*float64(time.Second), math.MaxInt64/4))
	}
}

// localCharge is a charge of this gateway's part of the limit. A gateway that has never met the store may be one that was
// just restarted: its buckets are worth what they would be had they begun with one token when it did.
func (s *Store) localCharge(c *ratelimit.Charge, now int64) ratelimit.Charge {
	part := s.shares.of(c.Limit, s.fleet.size())
	local := ratelimit.Charge{Limit: part, Key: c.Key, Cost: min(c.Cost, part.Burst())}
	if s.met.Load() || part.Kind() != ratelimit.Bucket {
		return local
	}
	worth := 1 + math.Floor(time.Duration(now).Seconds()*part.Rate())
	if peek := (ratelimit.Charge{Limit: part, Key: c.Key}); worth < part.Burst() {
		one := []ratelimit.Charge{peek}
		_, _ = s.local.Take(context.Background(), one)
		if one[0].Level >= part.Burst() { // new
			one[0] = peek
			one[0].Cost = part.Burst() - worth
			_, _ = s.local.Take(context.Background(), one)
		}
	}
	return local
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
