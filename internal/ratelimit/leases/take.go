package leases

import (
	"context"
	"hash/maphash"

	"github.com/oncegate/oncegate/internal/ratelimit"
)

// verdict is what one look at a charge found.
type verdict uint8

const (
	enough  verdict = iota // there are tokens here
	refused                // there are none, here or in the store
	short                  // the store must be asked
	failing                // it must be, but can't
)

// part is the scratch memory of one charge.
type part struct {
	hash    uint64
	entry   *entry
	flight  *flight
	refill  *call
	cost    int64
	verdict verdict
	waiting bool // cost is part of the entry's pending tokens
}

// usual is how many limits a request has at most without an allocation.
const usual = 6

// Take implements ratelimit.Store. From held tokens it decides without the store; else it waits for it, 25 ms at most.
func (s *Store) Take(ctx context.Context, charges []ratelimit.Charge) (bool, error) {
	var few [usual]part
	parts := few[:0]
	if len(charges) > usual {
		parts = make([]part, 0, len(charges))
	}
	for i := range charges {
		c := &charges[i]
		parts = append(parts, part{hash: maphash.Bytes(s.seed, c.Key), cost: int64(c.Cost)})
	}
	s.lock(parts)
	now := s.now()
	for i := range parts {
		p, c := &parts[i], &charges[i]
		p.entry = s.find(p.hash, c, now)
		p.hash = p.entry.hash
		p.entry.ask(c.Cost, now)
		s.look(p, c, now, inTime)
	}
	if !anyShort(parts, charges) {
		return s.decide(parts, charges, now)
	}
	return s.await(ctx, parts, charges, now)
}

// inTime is for a look after which there is time to wait.
const inTime = -1

// look finds out about one charge. late is since when the request has waited and can't any more, or inTime.
func (s *Store) look(p *part, c *ratelimit.Charge, now, late int64) {
	e := p.entry
	e.expire(now)
	level := e.level(now)
	floor := int64(c.Floor)
	c.Level, c.Wait, c.Seat, c.Reset = level, 0, 0, e.ends(now)
	switch {
	case c.Cost+c.Floor > c.Limit.Burst():
		p.verdict, c.Wait = refused, ratelimit.Never
	case p.cost <= 0:
		p.verdict = enough
	case e.held-p.reserved() >= p.cost && (floor == 0 || level >= c.Cost+c.Floor):
		p.verdict = enough
	case floor > 0 && e.known && level < c.Cost+c.Floor, now < e.deny && p.cost+floor >= e.denied:
		p.verdict, c.Wait = refused, e.wait(c.Cost+c.Floor, now)
	case late != inTime && p.outrun(c, late):
		p.verdict, c.Wait = refused, e.wait(c.Cost+c.Floor, now)
	case late != inTime, now < e.down, s.closed.Load(), !s.name(e, c), e.flight != nil && now-e.flight.began > int64(hardWait):
		p.verdict = failing
	default:
		p.verdict = short
	}
	c.Admitted = p.verdict != refused
	if p.verdict == refused {
		c.Level = min(level, max(0, c.Cost+c.Floor-1))
	}
}

// outrun reports that the store is well and others were faster at taking what it sent: that is a refusal, not a failure. Where
// a failure is no error the policy of an outage decides as long as the store has enough for all who wait.
func (p *part) outrun(c *ratelimit.Charge, since int64) bool {
	e := p.entry
	return e.answeredSince(since) && (failsClosed(c.Limit) || e.left < float64(e.pending)+c.Cost+c.Floor)
}

// reserved is what waiting requests have drawn: who comes later must not take that, or they might wait in vain.
func (p *part) reserved() int64 {
	if p.flight != nil {
		return 0 // one of those that wait
	}
	return p.entry.pending
}

// anyShort reports that waiting may change the decision: a charge is short and no other one refuses already.
func anyShort(parts []part, charges []ratelimit.Charge) bool {
	found := false
	for i := range parts {
		switch parts[i].verdict {
		case refused:
			if !charges[i].Limit.Shadow() {
				return false
			}
		case short:
			found = true
		}
	}
	return found
}

// decide takes from all charges or from none, and frees the locks.
func (s *Store) decide(parts []part, charges []ratelimit.Charge, now int64) (bool, error) {
	allowed, failed := true, false
	for i := range parts {
		allowed = allowed && (parts[i].verdict != refused || charges[i].Limit.Shadow())
		failed = failed || parts[i].verdict == failing
	}
	var err error
	if allowed && failed {
		allowed, err = s.decideAlone(parts, charges, now)
	}
	for i := range parts {
		if allowed && parts[i].verdict == enough {
			s.spend(&parts[i], &charges[i], now)
		}
		if parts[i].refill == nil && parts[i].waitedInVain(allowed) {
			parts[i].refill = s.excess(parts[i].entry, now)
		}
	}
	s.unlock(parts)
	s.sendAll(parts)
	return allowed, err
}

// waitedInVain reports that tokens may have come for this charge that it did not take.
func (p *part) waitedInVain(allowed bool) bool {
	return p.flight != nil && !(allowed && p.verdict == enough)
}

// spend takes held tokens, and asks for more before they run out.
func (s *Store) spend(p *part, c *ratelimit.Charge, now int64) {
	e := p.entry
	if p.cost <= 0 {
		return
	}
	e.held -= p.cost
	e.used = now
	c.Level -= c.Cost
	c.Seat = e.seat(false)
	if e.low(s.latency.trip(), s.fleet.size(), now) && e.named {
		p.refill = s.begin(e, p.cost, now)
	}
}

func (s *Store) sendAll(parts []part) {
	for i := range parts {
		s.send(parts[i].refill)
		parts[i].refill = nil
	}
}

// lock takes the locks of all parts, each once, in the order of the shards: two requests can't wait for each other.
func (s *Store) lock(parts []part) {
	if len(parts) == 1 {
		s.shard(parts[0].hash).Lock()
		return
	}
	for last := nextShard(parts, -1); last < shards; last = nextShard(parts, last) {
		s.shards[last].Lock()
	}
}

func (s *Store) unlock(parts []part) {
	if len(parts) == 1 {
		s.shard(parts[0].hash).Unlock()
		return
	}
	for last := nextShard(parts, -1); last < shards; last = nextShard(parts, last) {
		s.shards[last].Unlock()
	}
}

// nextShard is the lowest shard above last that a part needs, or shards.
func nextShard(parts []part, last int) int {
	next := shards
	for i := range parts {
		if n := int(parts[i].hash & (shards - 1)); n > last && n < next {
			next = n
		}
	}
	return next
}
