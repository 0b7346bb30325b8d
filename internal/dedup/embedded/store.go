// Package embedded keeps dedup records in a folder of this machine, with Pebble: durable, for one gateway process.
//
// It promises that a claim or a result survives a crash of the process and of the machine once the call has returned, as far
// as the disk keeps what it acknowledged; that claims of an earlier run count as unknown; and that claims are refused while
// there is still room to finish what runs. It does not replicate: a second gateway has to use another store, and a lost disk
// loses the records. When the disk fails to sync, the process ends at once, by design: nobody can tell afterwards what such
// a disk has kept, and the next start reads what is really there.
package embedded

import (
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
	dropped  time.Time // guarded by sweeping: answers up to here are gone
}

// Secret implements dedup.Secrets. It was made when the folder was, and is kept in it.
func (s *Store) Secret(context.Context) ([32]byte, error) { return s.secret, nil }

// Begin implements dedup.Store.
func (s *Store) Begin(ctx context.Context, key record.Key, c record.Claim) (record.Found, error) {
	var found record.Found
	err := s.step(ctx, key, pebble.Sync, func(r record.Record) (record.Record, bool, error) {
		r, found = r.Begin(c, s.opts.now())
		switch found.Verdict {
		case record.Acquired:
			return r, true, s.room()
		case record.Replay:
			return r, false, s.answer(key, r, &found)
		}
		return r, false, nil
	})
	if err != nil {
		return record.Found{}, err
	}
	return found, nil
}

// Finish implements dedup.Store.
func (s *Store) Finish(ctx context.Context, key record.Key, token record.Token, res record.Result) (record.Outcome, error) {
	var outcome record.Outcome
	err := s.step(ctx, key, pebble.Sync, func(old record.Record) (r record.Record, write bool, err error) {
		r, outcome = old.Finish(token, res, s.opts.now())
		return r, outcome == record.Recreated || outcome == record.Stored && old.Open(), nil
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

// read gives the record as it is stored, not as it counts now, and without its answer. What it gives is a copy.
func (s *Store) read(key record.Key) (record.Record, error) {
	value, err := s.get(recordKey(key))
	if err != nil || value == nil {
		return record.Record{}, err
	}
	return record.Decode(value)
}

// get gives a copy of a value; nil: there is none.
func (s *Store) get(key []byte) ([]byte, error) {
	value, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading a dedup record: %w", err)
	}
	own := append(make([]byte, 0, len(value)), value...)
	if err := closer.Close(); err != nil {
		return nil, fmt.Errorf("reading a dedup record: %w", err)
	}
	return own, nil
}

// answer adds the answer to what was found. One that is gone was swept a moment ago.
func (s *Store) answer(key record.Key, r record.Record, found *record.Found) error {
	if len(r.Answer) > 0 { // a record of format 1
		return nil
	}
	answer, err := s.get(answerKey(r.AnswerUntil, key))
	if found.Answer = answer; answer == nil {
		found.Verdict = record.NotKept
	}
	return err
}

// write replaces old by r and keeps what belongs to it in step, in one batch.
func (s *Store) write(key record.Key, old, r record.Record, sync *pebble.WriteOptions) error {
	b := s.db.NewBatchWithSize(len(r.Answer) + batchSize)
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

const batchSize = 640 // of a batch besides its answer

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
