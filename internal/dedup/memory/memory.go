// Package memory keeps dedup records in this process, for development and tests.
//
// It promises what every store of package dedup promises, except for durability: a restart forgets every record, and then a
// repeated write executes again. It is bounded: when it is full new claims are refused, and nothing that is kept is evicted.
package memory

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/record"
)

// Options bound a store. Zero values give the defaults.
type Options struct {
	Records int              // 200 000
	Bytes   int64            // of records and answers: 256 MiB; finishing what was claimed may exceed it
	Now     func() time.Time // the store's clock
}

// Store keeps records in a map. It needs no goroutine: every claim looks at a few other records and drops what is over.
type Store struct {
	opts   Options
	secret [32]byte

	mu        sync.Mutex
	records   map[record.Key]record.Record
	bytes     int64
	lastSweep time.Time
}

// glance is how many records a claim looks at for what is over; above one, so that sweeping outruns claiming.
const glance = 3

// New makes an empty store.
func New(opts Options) *Store {
	if opts.Records <= 0 {
		opts.Records = 200_000
	}
	if opts.Bytes <= 0 {
		opts.Bytes = 256 << 20
	}
	if opts.Now == nil {
		opts.Now = record.Clock()
	}
	s := &Store{opts: opts, records: make(map[record.Key]record.Record)}
	rand.Read(s.secret[:])
	return s
}

// Secret implements dedup.Secrets. It is lost with the records.
func (s *Store) Secret(context.Context) ([32]byte, error) { return s.secret, nil }

// Begin implements dedup.Store.
func (s *Store) Begin(_ context.Context, key record.Key, c record.Claim) (record.Found, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.opts.Now()
	r, found := s.records[key].Begin(c, now)
	if found.Verdict == record.Acquired {
		if err := s.makeRoom(now); err != nil {
			return record.Found{}, err
		}
		s.put(key, r)
	}
	found.Answer = bytes.Clone(found.Answer)
	return found, nil
}

// Finish implements dedup.Store.
func (s *Store) Finish(_ context.Context, key record.Key, token record.Token, res record.Result) (record.Outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	res.Answer = bytes.Clone(res.Answer)
	r, outcome := s.records[key].Finish(token, res, s.opts.Now())
	if outcome != record.Fenced {
		s.put(key, r)
	}
	return outcome, nil
}

// Release implements dedup.Store.
func (s *Store) Release(_ context.Context, key record.Key, token record.Token) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, freed := s.records[key].Release(token, s.opts.Now())
	if freed {
		s.put(key, r)
	}
	return freed, nil
}

// Renew implements dedup.Store.
func (s *Store) Renew(_ context.Context, key record.Key, token record.Token, lease time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, renewed := s.records[key].Renew(token, lease, s.opts.Now())
	if renewed {
		s.put(key, r)
	}
	return renewed, nil
}

// Look implements dedup.Store.
func (s *Store) Look(_ context.Context, key record.Key) (record.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records[key].At(s.opts.Now())
	r.Answer = nil
	return r, nil
}

// Resolve implements dedup.Store.
func (s *Store) Resolve(_ context.Context, key record.Key, token record.Token, v record.Resolution) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, resolved := s.records[key].Resolve(token, v, s.opts.Now())
	if resolved {
		s.put(key, r)
	}
	return resolved, nil
}

// Open implements dedup.Store. f runs outside the lock, on a copy of what was open.
func (s *Store) Open(ctx context.Context, f func(record.Key, record.Record) bool) error {
	s.mu.Lock()
	now, open := s.opts.Now(), map[record.Key]record.Record{}
	for key, r := range s.records {
		if r = r.At(now); r.Open() {
			open[key] = r
		}
	}
	s.mu.Unlock()
	for key, r := range open {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !f(key, r) {
			return nil
		}
	}
	return nil
}

// Erase implements dedup.Store.
func (s *Store) Erase(_ context.Context, subject record.Subject) (record.Erased, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, did := s.opts.Now(), record.Erased{}
	for key, r := range s.records {
		if r.Subject != subject {
			continue
		}
		if r = r.At(now); r.State != record.Absent {
			did.Count(r)
		}
		s.put(key, r.Erase())
	}
	return did, nil
}

// Sweep drops every answer and record that is over and reports how many records it touched.
func (s *Store) Sweep() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sweep(s.opts.Now(), len(s.records))
}

// Len is the number of records.
func (s *Store) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.records)
}

func (s *Store) makeRoom(now time.Time) error {
	s.sweep(now, glance)
	if s.room() {
		return nil
	}
	if now.Sub(s.lastSweep) >= time.Second { // the whole map, but not for every refused claim
		s.lastSweep = now
		s.sweep(now, len(s.records))
	}
	if !s.room() {
		return fmt.Errorf("%w: the memory store is full (%d records, %d bytes)", dedup.ErrRefused, len(s.records), s.bytes)
	}
	return nil
}

func (s *Store) room() bool { return len(s.records) < s.opts.Records && s.bytes < s.opts.Bytes }

func (s *Store) sweep(now time.Time, most int) (touched int) {
	for key, r := range s.records { // starts at a random place
		if most--; most < 0 {
			break
		}
		if r.Due() <= now.UnixNano() {
			s.put(key, r.At(now))
			touched++
		}
	}
	return touched
}

func (s *Store) put(key record.Key, r record.Record) {
	if old, ok := s.records[key]; ok {
		s.bytes -= int64(old.Size())
	}
	if r.State == record.Absent {
		delete(s.records, key)
		return
	}
	s.records[key] = r
	s.bytes += int64(r.Size())
}
