// Package embedded keeps dedup records in a folder of this machine, with Pebble: durable, for one gateway process.
//
// It promises that a claim or a result survives a crash of the process and of the machine once the call has returned, as far
// as the disk keeps what it acknowledged; that claims of an earlier run count as unknown; and that claims are refused while
// there is still room to finish what runs. It does not replicate: a second gateway has to use another store, and a lost disk
// loses the records. When the disk fails to sync, the process ends at once, by design: nobody can tell afterwards what such
// a disk has kept, and the next start reads what is really there.
package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/record"
)

// Store keeps records in Pebble. Close ends it.
type Store struct {
	path   string
	opts   Options
	db     *pebble.DB
	secret [32]byte
	// One process owns the folder, so a lock here makes read, decide and write one step. It is held until the write is on
	// disk: nobody acts on a claim that a crash could still undo. A channel and not a mutex, so that waiting has a bound.
	// So many that clients rarely meet on one without meaning the same record.
	stripes [4096]chan struct{}

	open   sync.RWMutex // held for reading by every call, for writing by Close
	closed bool
	stop   context.CancelFunc
	swept  chan struct{} // closed when the sweeper has ended

	sweeping sync.Mutex
	unswept  []byte    // guarded by sweeping: the last entry that was swept
	scanned  time.Time // guarded by sweeping: when a sweep last began at the first entry
}

// Secret implements dedup.Secrets. It was made when the folder was, and is kept in it.
func (s *Store) Secret(context.Context) ([32]byte, error) { return s.secret, nil }

// Begin implements dedup.Store.
func (s *Store) Begin(ctx context.Context, key record.Key, c record.Claim) (record.Found, error) {
	var found record.Found
	err := s.step(ctx, key, pebble.Sync, func(r record.Record) (record.Record, bool, error) {
		r, found = r.Begin(c, s.opts.now())
		if found.Verdict != record.Acquired {
			return r, false, nil
		}
		return r, true, s.room()
	})
	if err != nil {
		return record.Found{}, err
	}
	return found, nil
}

// Finish implements dedup.Store.
func (s *Store) Finish(ctx context.Context, key record.Key, token record.Token, res record.Result) (record.Outcome, error) {
	var outcome record.Outcome
	err := s.step(ctx, key, pebble.Sync, func(r record.Record) (record.Record, bool, error) {
		r, outcome = r.Finish(token, res, s.opts.now())
		return r, outcome != record.Fenced, nil
	})
	if err != nil {
		return 0, err
	}
	return outcome, nil
}

// Release implements dedup.Store.
func (s *Store) Release(ctx context.Context, key record.Key, token record.Token) (bool, error) {
	var freed bool
	err := s.step(ctx, key, pebble.Sync, func(r record.Record) (record.Record, bool, error) {
		r, freed = r.Release(token, s.opts.now())
		return r, freed, nil
	})
	return freed && err == nil, err
}

// Close waits for running calls, ends the sweeper and closes the folder. Later calls are refused.
func (s *Store) Close() error {
	s.stop()
	<-s.swept
	s.open.Lock()
	defer s.open.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("data folder %s: %w", s.path, err)
	}
	return nil
}

var errClosed = fmt.Errorf("%w: the embedded store is closed", dedup.ErrRefused)

// step reads a record, has decide change it and writes what it says, as one step on that record. A failure before the
// write is certain to have changed nothing. A write can't fail: Pebble ends the process instead.
func (s *Store) step(ctx context.Context, key record.Key, sync *pebble.WriteOptions, decide func(record.Record) (record.Record, bool, error)) error {
	s.open.RLock()
	defer s.open.RUnlock()
	if s.closed {
		return errClosed
	}
	stripe := s.stripe(key)
	select {
	case stripe <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", dedup.ErrRefused, ctx.Err())
	}
	defer func() { <-stripe }()
	old, err := s.read(key)
	if err != nil {
		return fmt.Errorf("%w: %w", dedup.ErrRefused, err)
	}
	r, write, err := decide(old)
	if err != nil || !write {
		return err
	}
	return s.write(key, old, r, sync)
}

func (s *Store) stripe(key record.Key) chan struct{} {
	return s.stripes[int(binary.BigEndian.Uint16(key[:]))%len(s.stripes)]
}

// read gives the record as it is stored, not as it counts now. Its answer is a copy.
func (s *Store) read(key record.Key) (record.Record, error) {
	value, closer, err := s.db.Get(recordKey(key))
	if errors.Is(err, pebble.ErrNotFound) {
		return record.Record{}, nil
	}
	if err != nil {
		return record.Record{}, fmt.Errorf("reading a dedup record: %w", err)
	}
	own := bytes.Clone(value)
	if err := closer.Close(); err != nil {
		return record.Record{}, fmt.Errorf("reading a dedup record: %w", err)
	}
	return record.Decode(own)
}

// write replaces old by r and keeps both indexes in step, in one batch.
func (s *Store) write(key record.Key, old, r record.Record, sync *pebble.WriteOptions) error {
	b := s.db.NewBatch()
	err := s.fill(b, key, old, r)
	if err == nil {
		err = b.Commit(sync)
	}
	if err != nil {
		_ = b.Close()
		return fmt.Errorf("writing a dedup record: %w", err)
	}
	return b.Close()
}

func (s *Store) fill(b *pebble.Batch, key record.Key, old, r record.Record) error {
	was, is := old.State != record.Absent, r.State != record.Absent
	var err error
	if is {
		err = b.Set(recordKey(key), r.Append(make([]byte, 0, r.Size())), nil)
	} else {
		err = b.Delete(recordKey(key), nil)
	}
	if was && (!is || old.Due() != r.Due()) {
		err = errors.Join(err, b.Delete(dueKey(old.Due(), key), nil))
	}
	if is && (!was || old.Due() != r.Due()) {
		err = errors.Join(err, b.Set(dueKey(r.Due(), key), nil, nil))
	}
	switch opened, open := old.Open(), r.Open(); {
	case open && !opened:
		err = errors.Join(err, b.Set(openKey(key), nil, nil))
	case opened && !open:
		err = errors.Join(err, b.Delete(openKey(key), nil))
	}
	return err
}

// room refuses claims while little of the disk is free: what is left belongs to the results of what runs.
func (s *Store) room() error {
	free, err := s.opts.free(s.path)
	if err != nil {
		return fmt.Errorf("%w: data folder %s: %w", dedup.ErrRefused, s.path, err)
	}
	if free < s.opts.MinFree {
		return fmt.Errorf("%w: data folder %s: %d bytes are free, new keys need %d", dedup.ErrRefused, s.path, free, s.opts.MinFree)
	}
	return nil
}
