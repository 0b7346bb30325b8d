package redis

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

const (
	assertTime    = 10 * time.Second // for one round
	assertRetry   = 200 * time.Millisecond
	assertWorkers = 16
)

// assertLoop tells a new primary what this gateway did last, until it has heard all of it.
func (s *Store) assertLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.guard.work:
		}
		for which := s.guard.take(); len(which) > 0; which = s.guard.take() {
			if failed := s.assertRound(ctx, which); len(failed) > 0 {
				s.guard.again(failed)
				select {
				case <-ctx.Done():
					return
				case <-time.After(assertRetry):
				}
			}
		}
	}
}

// assertRound asserts what was done in some buckets, but for what was erased since.
func (s *Store) assertRound(ctx context.Context, which map[int]bool) (failed map[int]bool) {
	if n := s.fleet.keeper(); n != nil {
		bounded, cancel := within(ctx, probeTimeout)
		if found, err := s.readMarks(bounded, n); err == nil { // else what the watcher heard has to do
			s.heard(found.erased)
		}
		cancel()
	}
	return s.assertAll(ctx, s.guard.recent.of(which))
}

// assertAll gives the buckets that could not be reached.
func (s *Store) assertAll(ctx context.Context, deeds []*deed) map[int]bool {
	ctx, cancel := within(ctx, assertTime)
	defer cancel()
	var (
		next  atomic.Int64
		lost  atomic.Int64
		mu    sync.Mutex
		wait  sync.WaitGroup
		again = map[int]bool{}
	)
	for range min(assertWorkers, len(deeds)) {
		wait.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(deeds)); i = next.Add(1) - 1 {
				missing, err := s.assert(ctx, deeds[i])
				if missing {
					lost.Add(1)
				}
				if err != nil {
					mu.Lock()
					again[bucketOf(deeds[i].key)] = true
					mu.Unlock()
				}
			}
		})
	}
	wait.Wait()
	if n := int(lost.Load()); n > 0 {
		s.log.Error("redis: a new primary did not have recent claims and results of keyed writes", "lost", n)
		s.rec.ClaimsLost(n)
	}
	return again
}

// assert repeats one deed. Replicas are not waited for: after a failover there may be none, and what was confirmed before is
// the usual case. lost: the primary did not have it.
func (s *Store) assert(ctx context.Context, d *deed) (lost bool, err error) {
	age := time.Since(d.when)
	switch {
	case d.claim != nil:
		return s.assertClaim(ctx, d, age)
	case d.result != nil:
		return s.assertResult(ctx, d, age)
	}
	o := s.op(s.scripts.release, d.key, d.token[:])
	o.wait = false
	_, err = s.call(ctx, o)
	return false, err
}

func (s *Store) assertResult(ctx context.Context, d *deed, age time.Duration) (lost bool, err error) {
	res := *d.result
	res.KeepAnswer, res.KeepKey = max(0, res.KeepAnswer-age), res.KeepKey-age
	if max(res.KeepAnswer, res.KeepKey) <= 0 {
		return false, nil
	}
	o := s.finishOp(d.key, d.token, res)
	o.wait = false
	r, err := s.call(ctx, o)
	if err != nil {
		return false, err
	}
	outcome, err := decodeOutcome(r.value)
	if outcome == record.Fenced {
		s.log.Error("redis: a keyed write was claimed again after its primary was lost: it may have been executed twice")
	}
	return outcome != record.Stored, err
}

// assertClaim asks for the claim first, so that a lost one is known as such.
func (s *Store) assertClaim(ctx context.Context, d *deed, age time.Duration) (lost bool, err error) {
	found, err := s.claimAgain(ctx, d, age, grantOwn)
	if err != nil {
		return false, err
	}
	switch found.Verdict {
	case record.Miss:
	case record.Acquired:
		return false, nil
	case record.Undetermined, record.Replay, record.NotKept:
		return found.Token != d.token, nil
	default:
		s.log.Error("redis: a keyed write was claimed again after its primary was lost: it may be executed twice")
		return true, nil
	}
	if !s.guard.recent.last(d) {
		return false, nil
	}
	if _, err = s.claimAgain(ctx, d, age, grantAnything); err == nil && !s.guard.recent.last(d) {
		_, err = s.Release(ctx, d.key, d.token) // it was freed meanwhile; a result that came meanwhile stays
	}
	return true, err
}

func (s *Store) claimAgain(ctx context.Context, d *deed, age time.Duration, grant int) (record.Found, error) {
	c := d.claim
	o := s.op(s.scripts.begin, d.key, c.Fingerprint[:], c.Token[:], c.Subject[:], c.Route, millis(c.Lease-age), millis(c.KeepKey),
		grant, 0, 0, d.epoch)
	o.wait = false
	r, err := s.call(ctx, o)
	if err != nil {
		return record.Found{}, err
	}
	found, _, err := decodeFound(r.value)
	return found, err
}
