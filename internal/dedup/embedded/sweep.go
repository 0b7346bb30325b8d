package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

// The folder's keys: one letter, then
//
//	r key        the record
//	x due key    an empty entry per record: when a sweep has something to do with it, nanoseconds, big endian
//	f key        an empty entry per record in flight
//	m name       the folder's own: format, secret
const (
	recordPrefix = 'r'
	duePrefix    = 'x'
	flightPrefix = 'f'
	metaPrefix   = 'm'
)

func recordKey(key record.Key) []byte { return append([]byte{recordPrefix}, key[:]...) }
func flightKey(key record.Key) []byte { return append([]byte{flightPrefix}, key[:]...) }

func duePoint(due int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{duePrefix}, uint64(max(due, 0)))
}
func dueKey(due int64, key record.Key) []byte { return append(duePoint(due), key[:]...) }

// sweepBatch bounds how long one iterator pins old files.
const sweepBatch = 4096

// sweepSome handles a bounded number of due entries. It looks again under the record's lock, and writes without a sync:
// what a crash undoes the next sweep does once more.
func (s *Store) sweepSome(ctx context.Context, now time.Time) (touched int, more bool, err error) {
	keys, more, err := s.dueKeys(now)
	for _, entry := range keys {
		if err != nil || ctx.Err() != nil {
			return touched, false, errors.Join(err, ctx.Err())
		}
		key := record.Key(entry[9:])
		due := int64(binary.BigEndian.Uint64(entry[1:9]))
		stale := false
		err = s.step(ctx, key, pebble.NoSync, func(r record.Record) (record.Record, bool, error) {
			stale = r.State == record.Absent || max(r.Due(), 0) != due
			return r.At(now), !stale, nil
		})
		if errors.Is(err, record.ErrCorrupt) { // its key stays refused; the rest must not wait for it
			s.opts.Log.Error("a dedup record can't be read", "error", err)
			err = nil
		} else if err == nil && stale {
			err = s.forget(entry)
		} else if err == nil {
			touched++
		}
		s.unswept = entry
	}
	return touched, more, err
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
		if len(keys) == sweepBatch {
			more = true
			break
		}
		if k := it.Key(); len(k) == 41 && string(k) != string(s.unswept) {
			keys = append(keys, append([]byte(nil), k...))
		}
	}
	return keys, more, it.Close()
}

func (s *Store) forget(entry []byte) error {
	s.open.RLock()
	defer s.open.RUnlock()
	if s.closed {
		return errClosed
	}
	return s.db.Delete(entry, pebble.NoSync)
}

// orphan marks what an earlier run left in flight as unknown: its process is gone, and nobody else knows the outcome.
func (s *Store) orphan() (int, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{flightPrefix}, UpperBound: []byte{flightPrefix + 1}})
	if err != nil {
		return 0, err
	}
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		key := record.Key(it.Key()[1:])
		r, err := s.read(key)
		if err != nil {
			return n, errors.Join(err, it.Close())
		}
		if err := s.write(key, r, r.Orphan(), pebble.NoSync); err != nil {
			return n, errors.Join(err, it.Close())
		}
		n++
	}
	if err := it.Close(); err != nil || n == 0 {
		return n, err
	}
	return n, s.db.LogData(nil, pebble.Sync) // one sync for all of them
}
