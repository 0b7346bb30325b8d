package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

// Renew implements dedup.Store.
func (s *Store) Renew(ctx context.Context, key record.Key, token record.Token, lease time.Duration) (bool, error) {
	var renewed bool
	err := s.step(ctx, key, pebble.Sync, func(r record.Record) (record.Record, bool, error) {
		r, renewed = r.Renew(token, lease, s.opts.now())
		return r, renewed, nil
	})
	return renewed && err == nil, err
}

// Look implements dedup.Store.
func (s *Store) Look(ctx context.Context, key record.Key) (record.Record, error) {
	var seen record.Record
	err := s.step(ctx, key, pebble.NoSync, func(r record.Record) (record.Record, bool, error) {
		seen = r.At(s.opts.now())
		return r, false, nil
	})
	seen.Answer = nil // of a record of format 1
	return seen, err
}

// Resolve implements dedup.Store.
func (s *Store) Resolve(ctx context.Context, key record.Key, token record.Token, v record.Resolution) (bool, error) {
	var resolved bool
	err := s.step(ctx, key, pebble.Sync, func(r record.Record) (record.Record, bool, error) {
		r, resolved = r.Resolve(token, v, s.opts.now())
		return r, resolved, nil
	})
	return resolved && err == nil, err
}

// Open implements dedup.Store. It walks the index of open records in pages, and holds nothing while f runs.
func (s *Store) Open(ctx context.Context, f func(record.Key, record.Record) bool) error {
	return s.each(ctx, openPrefix, nil, func(key record.Key) (bool, error) {
		r, err := s.Look(ctx, key)
		if errors.Is(err, record.ErrCorrupt) {
			return true, nil // its key stays refused
		}
		if err != nil || !r.Open() {
			return true, err
		}
		return f(key, r), nil
	})
}

// Erase implements dedup.Store. It reads every record: erasing is rare, and an index by subject would cost every write. One
// sync at its end makes all of it durable.
func (s *Store) Erase(ctx context.Context, subject record.Subject) (record.Erased, error) {
	var did record.Erased
	err := s.each(ctx, recordPrefix, s.belongs(subject), func(key record.Key) (bool, error) {
		return true, s.step(ctx, key, pebble.NoSync, func(r record.Record) (record.Record, bool, error) {
			now := r.At(s.opts.now())
			switch {
			case r.State == record.Absent || r.Subject != subject:
				return r, false, nil
			case now.State == record.Absent: // over, but not swept yet
				return now, true, nil
			}
			did.Count(now)
			return now.Erase(), r.State == record.Completed || r.RequestID != "" || r.Location != "", nil
		})
	})
	return did, errors.Join(err, s.syncAll())
}

// belongs picks the records of a subject, before anything is locked for them.
func (s *Store) belongs(subject record.Subject) func(value []byte) bool {
	return func(value []byte) bool {
		r, err := record.Decode(value)
		if err != nil {
			s.opts.Log.Error("a dedup record can't be read, so nobody knows whose it is", "error", err)
		}
		return err == nil && r.Subject == subject
	}
}

// syncAll makes durable whatever was written without a sync.
func (s *Store) syncAll() error {
	s.open.RLock()
	defer s.open.RUnlock()
	if s.closed {
		return errClosed
	}
	return s.db.LogData(nil, pebble.Sync)
}

// each calls f with the keys below a prefix whose value pick takes, page by page, so that no iterator pins old files. f runs
// outside the page: it sees keys that are gone, and not all that were added.
func (s *Store) each(ctx context.Context, prefix byte, pick func([]byte) bool, f func(record.Key) (bool, error)) error {
	for next := []byte{prefix}; next != nil; {
		keys, after, err := s.page(next, prefix+1, pick)
		if err != nil {
			return err
		}
		for _, key := range keys {
			if on, err := f(key); err != nil || !on {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		next = after
	}
	return nil
}

// page looks at a bounded number of entries. next is where the following page starts; nil: this was the last.
func (s *Store) page(from []byte, end byte, pick func([]byte) bool) (keys []record.Key, next []byte, err error) {
	s.open.RLock()
	defer s.open.RUnlock()
	if s.closed {
		return nil, nil, errClosed
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: []byte{end}})
	if err != nil {
		return nil, nil, fmt.Errorf("walking dedup records: %w", err)
	}
	looked := 0
	for ok := it.First(); ok; ok = it.Next() {
		k := it.Key()
		if looked++; looked > pageSize {
			next = bytes.Clone(k)
			break
		}
		if len(k) == 33 && (pick == nil || pick(it.Value())) {
			keys = append(keys, record.Key(k[1:]))
		}
	}
	if err := it.Close(); err != nil {
		return nil, nil, fmt.Errorf("walking dedup records: %w", err)
	}
	return keys, next, nil
}
