package leases

import (
	"context"
	"fmt"
	"time"

	"github.com/oncegate/oncegate/internal/ratelimit"
)

// await draws for the short charges and looks again, until it can decide or has no more time. The shards are locked.
func (s *Store) await(ctx context.Context, parts []part, charges []ratelimit.Charge, now int64) (bool, error) {
	timer := time.NewTimer(s.patience(parts, charges))
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
		if more := time.Duration(began-now) + maxWait; late && more > 0 && (s.heard.Load() > began || answered(parts, began)) {
			timer.Reset(more)
			late = false
		}
		since := int64(inTime)
		if late {
			since = began
		}
		for i := range parts {
			s.look(&parts[i], &charges[i], now, since)
		}
		if !anyShort(parts, charges) {
			return s.decide(parts, charges, now)
		}
	}
}

// patience is how long a request waits before it is decided without the store. One that would fail then has more of it.
func (s *Store) patience(parts []part, charges []ratelimit.Charge) time.Duration {
	if s.cfg.Wait > 0 {
		return s.cfg.Wait
	}
	for i := range parts {
		if parts[i].verdict == short && failsClosed(charges[i].Limit) {
			return maxWait
		}
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

// answered reports that the store is well as far as these charges go.
func answered(parts []part, since int64) bool {
	for i := range parts {
		if p := &parts[i]; p.verdict == short && !p.entry.answeredSince(since) {
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
