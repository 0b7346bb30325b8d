package dedup

import (
	"context"
	"errors"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

// ErrNoExecution is a reference that leads to no record, or not any more.
var ErrNoExecution = errors.New("dedup: no such execution")

// ErrNotUnknown is an attempt to settle what is not unknown.
var ErrNotUnknown = errors.New("dedup: only an unknown outcome can be settled")

// Execution is a keyed write as operators and its own client see it.
type Execution struct {
	Ref         string
	State       record.State
	Route       string
	Status      int // of its answer; 0 while there is none
	Location    string
	RequestID   string
	Attempt     int // dispatches
	FirstSeen   time.Time
	LeaseUntil  time.Time // in flight; else zero
	AnswerUntil time.Time // completed; else zero
	KeyUntil    time.Time
	subject     record.Subject
}

func (r *Records) execution(key record.Key, rec record.Record) Execution {
	return Execution{
		Ref: r.ref(key), State: rec.State, Route: rec.Route, Status: rec.Status, Location: rec.Location, RequestID: rec.RequestID,
		Attempt: int(rec.Epoch), FirstSeen: instant(rec.Begun), LeaseUntil: instant(rec.Lease), AnswerUntil: instant(rec.AnswerUntil),
		KeyUntil: instant(rec.KeyUntil), subject: rec.Subject,
	}
}

func instant(ns int64) time.Time {
	if ns <= 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// Execution finds a write by its operation_ref. The error is ErrNoExecution, or the store's.
func (r *Records) Execution(ctx context.Context, ref string) (Execution, error) {
	key, rec, err := r.byRef(ctx, ref)
	if err != nil {
		return Execution{}, err
	}
	return r.execution(key, rec), nil
}

func (r *Records) byRef(ctx context.Context, ref string) (record.Key, record.Record, error) {
	hashes, err := r.hasher(ctx)
	if err != nil {
		return record.Key{}, record.Record{}, err
	}
	key, ok := hashes.unref(ref)
	if !ok {
		return key, record.Record{}, ErrNoExecution
	}
	return r.byKey(ctx, key)
}

func (r *Records) byKey(ctx context.Context, key record.Key) (record.Key, record.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, beginTimeout)
	defer cancel()
	rec, err := r.store.Look(ctx, key)
	if err == nil && rec.State == record.Absent {
		err = ErrNoExecution
	}
	return key, rec, err
}

// Owned tells whether a client is the one that the write belongs to. named is the value of the header that names him, if one does.
func (r *Records) Owned(e Execution, identity string, named []byte) bool {
	h := r.hashes.Load()
	return h != nil && h.subject(identity, named) == e.subject
}

// Find finds a write by whose key it is. named is for clients that a header names. The error is ErrNoExecution, or the store's.
func (r *Records) Find(ctx context.Context, identity, named, scope, key string) (Execution, error) {
	hashes, err := r.hasher(ctx)
	if err != nil {
		return Execution{}, err
	}
	var header []byte
	if named != "" {
		header = []byte(named)
	}
	k, rec, err := r.byKey(ctx, hashes.recordKey(identity, header, scope, []byte(key)))
	if err != nil {
		return Execution{}, err
	}
	return r.execution(k, rec), nil
}

// Settlement is an operator's word on an unknown outcome.
type Settlement struct {
	Executed bool
	Status   int
	Location string
	KeepKey  time.Duration // executed: how long the key is kept from now on
}

// Settle settles an unknown outcome. The error is ErrNoExecution, ErrNotUnknown, or the store's.
func (r *Records) Settle(ctx context.Context, ref string, s Settlement) (Execution, error) {
	key, rec, err := r.byRef(ctx, ref)
	if err != nil {
		return Execution{}, err
	}
	if rec.State != record.Unknown {
		return r.execution(key, rec), ErrNotUnknown
	}
	ctx, cancel := context.WithTimeout(ctx, finishTimeout)
	defer cancel()
	resolved, err := r.store.Resolve(ctx, key, rec.Token, record.Resolution{Executed: s.Executed, Epoch: rec.Epoch, Status: s.Status, Location: s.Location, KeepKey: s.KeepKey})
	if err != nil {
		return Execution{}, err
	}
	after, err := r.store.Look(ctx, key)
	switch {
	case !resolved && err == nil:
		err = ErrNotUnknown
	case resolved && err != nil: // it is settled all the same, and saying so matters more than the rest
		after, err = rec, nil
		after.State, after.Status, after.Location = record.Absent, s.Status, s.Location
		if s.Executed {
			after.State = record.Sealed
		}
	}
	return r.execution(key, after), err
}

// Open gives up to most writes that are in flight or unknown, the unknown first.
func (r *Records) Open(ctx context.Context, most int) ([]Execution, error) {
	if _, err := r.hasher(ctx); err != nil {
		return nil, err
	}
	most = max(most, 0)
	var unknown, running []Execution
	err := r.store.Open(ctx, func(key record.Key, rec record.Record) bool {
		if e := r.execution(key, rec); rec.State == record.Unknown {
			unknown = append(unknown, e)
		} else if len(running) < most {
			running = append(running, e)
		}
		return len(unknown) < most
	})
	all := append(unknown, running...)
	return all[:min(len(all), most)], err
}

// Erase drops what the records of a client say of him, and what waits to be stored; see Owned for the arguments.
func (r *Records) Erase(ctx context.Context, identity string, named []byte) (record.Erased, error) {
	hashes, err := r.hasher(ctx)
	if err != nil {
		return record.Erased{}, err
	}
	subject := hashes.subject(identity, named)
	if err := r.backlog.erase(subject); err != nil {
		return record.Erased{}, err
	}
	return r.store.Erase(ctx, subject)
}
