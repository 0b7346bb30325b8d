package leases

import (
	"context"
	"fmt"
	"hash/maphash"
	"time"

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
		s.look(p, c, now, false)
	}
	if !anyShort(parts, charges) {
		return s.decide(parts, charges, now)
	}
	return s.await(ctx, parts, charges, now)
}

// look finds out about one charge. late says that there is no more time to wait.
func (s *Store) look(p *part, c *ratelimit.Charge, now int64, late bool) {
	e := p.entry
	e.expire(now)
	level := e.level(now)
	floor := int64(c.Floor)
	c.Level, c.Wait, c.Seat = level, 0, 0
	switch {
	case c.Cost+c.Floor > c.Limit.Burst():
		p.verdict, c.Wait = refused, ratelimit.Never
	case p.cost <= 0:
		p.verdict = enough
	case e.held-p.reserved() >= p.cost && (floor == 0 || level >= c.Cost+c.Floor):
		p.verdict = enough
	case floor > 0 && e.known && level < c.Cost+c.Floor, now < e.deny && p.cost+floor >= e.denied:
		p.verdict, c.Wait = refused, e.wait(c.Cost+c.Floor, now)
	case late, now < e.down, s.closed.Load(), !s.name(e, c), e.flight != nil && now-e.flight.began > int64(hardWait):
		p.verdict = failing
	default:
		p.verdict = short
	}
	c.Admitted = p.verdict != refused
	if p.verdict == refused {
		c.Level = min(level, max(0, c.Cost+c.Floor-1))
	}
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

// await draws for the short charges and looks again, until it can decide or has no more time. The shards are locked.
func (s *Store) await(ctx context.Context, parts []part, charges []ratelimit.Charge, now int64) (bool, error) {
	timer := time.NewTimer(s.patience())
	defer timer.Stop()
	began := now
	for late := false; ; {
		s.join(parts, now)
		s.unlock(parts)
		s.sendAll(parts)
		err := waitFor(ctx, parts, timer, &late)
		s.lock(parts)
		now = s.now()
		leave(parts)
		if err != nil {
			return s.giveUp(parts, now, err)
		}
		if more := time.Duration(began-now) + maxWait; late && more > 0 && answered(parts, began) {
			timer.Reset(more)
			late = false
		}
		for i := range parts {
			s.look(&parts[i], &charges[i], now, late)
		}
		if !anyShort(parts, charges) {
			return s.decide(parts, charges, now)
		}
	}
}

func (s *Store) patience() time.Duration {
	if s.cfg.Wait > 0 {
		return s.cfg.Wait
	}
	return s.latency.patience()
}

// join makes every short charge wait for a refill of its entry, its own or one that is under way.
func (s *Store) join(parts []part, now int64) {
	for i := range parts {
		if p := &parts[i]; p.verdict == short {
			p.waiting = true
			p.entry.pending += p.cost
		}
	}
	for i := range parts {
		if p := &parts[i]; p.waiting {
			if p.entry.flight == nil {
				p.refill = s.begin(p.entry, p.cost, now)
			}
			p.flight = p.entry.flight
		}
	}
}

// waitFor returns when the refills are there, or sets late when the time is over.
func waitFor(ctx context.Context, parts []part, timer *time.Timer, late *bool) error {
	for i := range parts {
		if !parts[i].waiting || parts[i].flight == nil || *late {
			continue
		}
		select {
		case <-parts[i].flight.done:
		case <-timer.C:
			*late = true
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// answered reports that the store is well: others were faster at taking what it sent.
func answered(parts []part, since int64) bool {
	for i := range parts {
		if p := &parts[i]; p.verdict == short && (!p.entry.known || p.entry.leftAt < since || p.entry.fails > 0) {
			return false
		}
	}
	return true
}

func leave(parts []part) {
	for i := range parts {
		if p := &parts[i]; p.waiting {
			p.waiting = false
			p.entry.pending -= p.cost
		}
	}
}

// giveUp frees the locks for a request whose client has gone.
func (s *Store) giveUp(parts []part, now int64, err error) (bool, error) {
	for i := range parts {
		if parts[i].flight != nil {
			parts[i].refill = s.excess(parts[i].entry, now)
		}
	}
	s.unlock(parts)
	s.sendAll(parts)
	return false, fmt.Errorf("waiting for tokens: %w", err)
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
