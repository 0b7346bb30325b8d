package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/failpoint"
)

const (
	pageSize   = 4096 // entries that one iterator looks at: it pins old files
	sweepBatch = 64   // records of one commit: their stripes are held for it
	rescan     = time.Hour
	dropEvery  = time.Minute // each leaves a tombstone that every read of an answer meets
)

// Sweep drops what is over, and reports how many records that were; answers go earlier, many at once. The sweeper calls it.
func (s *Store) Sweep(ctx context.Context) (int, error) { return s.sweep(ctx, func(time.Duration) {}) }

// sweep tells rest how long it worked, batch by batch.
func (s *Store) sweep(ctx context.Context, rest func(worked time.Duration)) (dropped int, err error) {
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	now := s.opts.now()
	if now.Sub(s.scanned) >= rescan { // a write that hung may have left an entry behind the place where sweeping goes on
		s.scanned, s.dropped, s.unswept = now, time.Time{}, nil
	}
	if err := s.dropAnswers(now); err != nil {
		return 0, err
	}
	for more := true; more; {
		var due [][]byte
		if due, more, err = s.dueKeys(now); err != nil {
			return dropped, err
		}
		if len(due) == 0 {
			break
		}
		last := due[len(due)-1]
		slices.SortFunc(due, func(a, b []byte) int { return bytes.Compare(a[9:], b[9:]) }) // as the records lie
		for len(due) > 0 {
			begun := time.Now()
			some := due[:min(len(due), sweepBatch)]
			n, err := s.sweepSome(ctx, some, now)
			dropped += n
			if err != nil {
				return dropped, err
			}
			due = due[len(some):]
			rest(time.Since(begun))
		}
		s.unswept = last
	}
	return dropped, nil
}

// sweepSome handles due entries in one commit, and those whose records are busy one by one afterwards: it never waits for a
// stripe while it holds one.
func (s *Store) sweepSome(ctx context.Context, due [][]byte, now time.Time) (dropped int, err error) {
	s.open.RLock()
	defer s.open.RUnlock()
	if s.closed {
		return 0, errClosed
	}
	busy, dropped, err := s.sweepFree(due, now)
	for _, entry := range busy {
		if err != nil {
			break
		}
		stripe := s.stripe(record.Key(entry[9:]))
		select {
		case stripe <- struct{}{}:
		case <-ctx.Done():
			return dropped, ctx.Err()
		}
		b := s.db.NewBatch()
		var over bool
		if over, err = s.settleDue(b, entry, now); err == nil {
			err = b.Commit(pebble.NoSync)
		}
		if over && err == nil {
			dropped++
		}
		<-stripe
		err = errors.Join(err, b.Close())
	}
	return dropped, errors.Join(err, ctx.Err())
}

// sweepFree handles the due entries, sorted by record, whose stripes are free. What it writes is not synced: what a crash undoes the next sweep
// does once more, and in the meantime the record counts the same.
func (s *Store) sweepFree(due [][]byte, now time.Time) (busy [][]byte, dropped int, err error) {
	held := make(map[chan struct{}]bool, len(due))
	defer func() {
		for stripe := range held {
			<-stripe
		}
	}()
	b := s.db.NewBatch()
	defer func() { err = errors.Join(err, b.Close()) }()
	for i, entry := range due {
		if i > 0 && bytes.Equal(entry[9:], due[i-1][9:]) { // what the batch does to this record can't be read yet
			busy = append(busy, entry)
			continue
		}
		stripe := s.stripe(record.Key(entry[9:]))
		if !held[stripe] {
			select {
			case stripe <- struct{}{}:
				held[stripe] = true
			default:
				busy = append(busy, entry)
				continue
			}
		}
		over, err := s.settleDue(b, entry, now)
		if err != nil {
			return nil, 0, err
		}
		if over {
			dropped++
		}
	}
	return busy, dropped, b.Commit(pebble.NoSync)
}

// settleDue adds to the batch what a due entry asks for, and reports whether its record was over.
func (s *Store) settleDue(b *pebble.Batch, entry []byte, now time.Time) (over bool, err error) {
	failpoint.Hit(failpoint.Sweep)
	key := record.Key(entry[9:])
	r, err := s.read(key)
	if errors.Is(err, record.ErrCorrupt) { // its key stays refused; the rest must not wait for it
		s.opts.Log.Error("a dedup record can't be read", "error", err)
		return false, nil
	}
	if err == nil {
		err = b.Delete(entry, nil)
	}
	if err != nil || r.State == record.Absent {
		return false, err
	}
	counted := r.At(now)
	switch {
	case counted.State == record.Absent:
		if r.State == record.Completed {
			r.State = record.Sealed // its answer went, or goes, with many others: no tombstone of its own
		}
		return true, s.fill(b, key, r, counted)
	case counted.State != r.State && len(r.Answer) > 0: // the answer of a record of format 1 is over
		err = s.fill(b, key, r, counted)
	}
	return false, errors.Join(err, b.Set(dueKey(r.KeyUntil, key), nil, nil))
}

// dropAnswers drops all answers that are over. One that is written behind it, late, goes with the next rescan; it counts as
// gone anyway.
func (s *Store) dropAnswers(now time.Time) error {
	s.open.RLock()
	defer s.open.RUnlock()
	if s.closed {
		return errClosed
	}
	if now.Sub(s.dropped) < dropEvery {
		return nil
	}
	from := point(answerPrefix, 0)
	if !s.dropped.IsZero() {
		from = point(answerPrefix, s.dropped.UnixNano())
	}
	s.dropped = now
	return s.db.DeleteRange(from, point(answerPrefix, now.UnixNano()), pebble.NoSync)
}

// dueKeys gives the next entries that are due. Starting behind the last one spares stepping over what was deleted.
func (s *Store) dueKeys(now time.Time) (keys [][]byte, more bool, err error) {
	s.open.RLock()
	defer s.open.RUnlock()
	if s.closed {
		return nil, false, errClosed
	}
	lower := s.unswept
	if lower == nil {
		lower = []byte{duePrefix}
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: point(duePrefix, now.UnixNano()+1)})
	if err != nil {
		return nil, false, fmt.Errorf("sweeping: %w", err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		if len(keys) == pageSize {
			more = true
			break
		}
		if k := it.Key(); len(k) == 41 && !bytes.Equal(k, s.unswept) {
			keys = append(keys, bytes.Clone(k))
		}
	}
	return keys, more, it.Close()
}

func (s *Store) sweepLoop(ctx context.Context) {
	defer close(s.swept)
	tick := time.NewTicker(s.opts.SweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if n, err := s.sweep(ctx, paced(ctx, s.opts.SweepEvery)); err != nil && ctx.Err() == nil {
			s.opts.Log.Error("sweeping dedup records", "error", err)
		} else if n > 0 {
			s.opts.Log.Debug("dedup records swept", "records", n)
		}
	}
}

// paced has a sweep rest as long as it worked, which leaves room for the writes beside it; one that gets behind rests no more.
func paced(ctx context.Context, every time.Duration) func(worked time.Duration) {
	begun := time.Now()
	return func(worked time.Duration) {
		if time.Since(begun) > every {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(worked):
		}
	}
}
