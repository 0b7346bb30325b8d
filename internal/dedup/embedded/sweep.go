package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/failpoint"
)

const (
	pageSize   = 4096 // entries that one iterator looks at: it pins old files
	sweepBatch = 64   // records of one commit: their stripes are held for it
	rescan     = time.Hour
)

// Sweep drops every answer and record whose time is over and reports how many records it touched. The sweeper calls it.
func (s *Store) Sweep(ctx context.Context) (int, error) { return s.sweep(ctx, func(time.Duration) {}) }

// sweep tells rest how long it worked, batch by batch.
func (s *Store) sweep(ctx context.Context, rest func(worked time.Duration)) (touched int, err error) {
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	now := s.opts.now()
	if now.Sub(s.scanned) >= rescan { // a write that hung may have left an entry behind the place where sweeping goes on
		s.scanned, s.unswept = now, nil
	}
	for more := true; more; {
		var due [][]byte
		if due, more, err = s.dueKeys(now); err != nil {
			return touched, err
		}
		for len(due) > 0 {
			begun := time.Now()
			some := due[:min(len(due), sweepBatch)]
			n, err := s.sweepSome(ctx, some, now)
			touched += n
			if err != nil {
				return touched, err
			}
			s.unswept, due = some[len(some)-1], due[len(some):]
			rest(time.Since(begun))
		}
	}
	return touched, nil
}

// sweepSome handles due entries in one commit, and those whose records are busy one by one afterwards: it never waits for a
// stripe while it holds one.
func (s *Store) sweepSome(ctx context.Context, due [][]byte, now time.Time) (touched int, err error) {
	s.open.RLock()
	defer s.open.RUnlock()
	if s.closed {
		return 0, errClosed
	}
	busy, touched, err := s.sweepFree(due, now)
	for _, entry := range busy {
		if err != nil {
			break
		}
		stripe := s.stripe(record.Key(entry[9:]))
		select {
		case stripe <- struct{}{}:
		case <-ctx.Done():
			return touched, ctx.Err()
		}
		b := s.db.NewBatch()
		n := 0
		if n, err = s.settleDue(b, entry, now); err == nil {
			err = b.Commit(pebble.NoSync)
		}
		touched += n
		<-stripe
		err = errors.Join(err, b.Close())
	}
	return touched, errors.Join(err, ctx.Err())
}

// sweepFree handles the due entries whose stripes are free. What it writes is not synced: what a crash undoes the next sweep
// does once more, and in the meantime the record counts the same.
func (s *Store) sweepFree(due [][]byte, now time.Time) (busy [][]byte, touched int, err error) {
	held := make(map[chan struct{}]bool, len(due))
	defer func() {
		for stripe := range held {
			<-stripe
		}
	}()
	b := s.db.NewBatch()
	defer func() { err = errors.Join(err, b.Close()) }()
	for _, entry := range due {
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
		n, err := s.settleDue(b, entry, now)
		if touched += n; err != nil {
			return nil, 0, err
		}
	}
	return busy, touched, b.Commit(pebble.NoSync)
}

// settleDue adds to the batch what a due entry asks for: 1, or 0 when the entry is stale or its record can't be read.
func (s *Store) settleDue(b *pebble.Batch, entry []byte, now time.Time) (int, error) {
	failpoint.Hit(failpoint.Sweep)
	key := record.Key(entry[9:])
	r, err := s.read(key)
	switch {
	case errors.Is(err, record.ErrCorrupt): // its key stays refused; the rest must not wait for it
		s.opts.Log.Error("a dedup record can't be read", "error", err)
		return 0, nil
	case err != nil:
		return 0, err
	case r.State == record.Absent || !bytes.Equal(entry, dueKey(r.Due(), key)):
		return 0, b.Delete(entry, nil)
	}
	return 1, s.fill(b, key, r, r.At(now))
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
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: duePoint(now.UnixNano() + 1)})
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

// sweepLoop sweeps for at most half of the time, so that a sweep of many records leaves room for the writes beside it.
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
		n, err := s.sweep(ctx, func(worked time.Duration) { s.rest(ctx, worked) })
		if err != nil && ctx.Err() == nil {
			s.opts.Log.Error("sweeping dedup records", "error", err)
		} else if n > 0 {
			s.opts.Log.Debug("dedup records swept", "records", n)
		}
	}
}

func (s *Store) rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// duePoint begins the due entries of an instant.
func duePoint(due int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{duePrefix}, uint64(max(due, 0)))
}
