package redis

import (
	"context"
	"fmt"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/failpoint"
)

// millis rounds up: a lease or a retention is never shorter than asked for.
func millis(d time.Duration) int64 { return int64((d + time.Millisecond - 1) / time.Millisecond) }

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Begin implements dedup.Store. A claim that too few replicas confirmed is none: the error is plain, because the record may be
// there, and the caller frees it. A result is told only if a replica has it, or it could be lost after the client has seen it.
func (s *Store) Begin(ctx context.Context, key record.Key, c record.Claim) (record.Found, error) {
	if err := s.ready(); err != nil {
		return record.Found{}, err
	}
	o := s.op(s.scripts.begin, key, c.Fingerprint[:], c.Token[:], c.Subject[:], c.Route, millis(c.Lease), millis(c.KeepKey),
		bit(c.Grant), bit(c.Reclaim), bit(s.cfg.WaitReplicas > 0), 1)
	o.fresh, o.place, o.token = true, failpoint.BeginSent, c.Token
	r, err := s.call(ctx, o)
	if err != nil {
		return record.Found{}, err
	}
	found, proof, err := decodeFound(r.value)
	switch {
	case err != nil:
		return record.Found{}, err
	case found.Verdict == record.Acquired:
		return s.acquired(ctx, key, c, r, found)
	case found.Verdict == record.Miss && c.Grant:
		return record.Found{}, refuse("begin: %w", r.limited)
	case proof && (r.wait < s.cfg.WaitReplicas || r.short()):
		return record.Found{}, refuse("begin: the result is there, but %w", errShort)
	case proof:
		s.proven(key, found.Token)
	}
	if found.Verdict != record.Undetermined {
		found.Token = record.Token{}
	}
	return found, nil
}

// acquired tells of a claim, unless too few replicas have it, or the primary changed while it was made.
func (s *Store) acquired(ctx context.Context, key record.Key, c record.Claim, r reply, found record.Found) (record.Found, error) {
	if r.short() || r.wait < s.cfg.WaitReplicas {
		return record.Found{}, fmt.Errorf("dedup: redis: begin: %w", errShort)
	}
	s.guard.recent.claimed(key, c, found.Epoch)
	b := bucketOf(key)
	s.notice(r.node, b, &r.node.seen.Load().identity)
	if r.limited != nil || !s.guard.paused(b) {
		return found, nil
	}
	if freed, err := s.Release(ctx, key, c.Token); err != nil || !freed {
		return record.Found{}, fmt.Errorf("dedup: redis: begin: %w", errPaused)
	}
	return record.Found{}, refuse("begin: %w", errPaused)
}

// Finish implements dedup.Store. A repetition is written again, so that its confirmation means something.
func (s *Store) Finish(ctx context.Context, key record.Key, token record.Token, res record.Result) (record.Outcome, error) {
	if err := s.ready(); err != nil {
		return 0, err
	}
	since := s.guard.recent.now()
	o := s.finishOp(key, token, res)
	o.place, o.token = failpoint.FinishSent, token
	r, err := s.call(ctx, o)
	if err != nil {
		return 0, err
	}
	outcome, err := decodeOutcome(r.value)
	if err != nil || outcome == record.Fenced {
		return outcome, err
	}
	if r.short() {
		return 0, fmt.Errorf("dedup: redis: finish: %w", errShort)
	}
	s.guard.recent.finished(key, token, res, since)
	if outcome == record.Recreated {
		s.poke() // the watcher should look at once whether more is gone
	}
	return outcome, nil
}

func (s *Store) finishOp(key record.Key, token record.Token, res record.Result) *op {
	answer := res.Answer
	if answer == nil {
		answer = []byte{}
	}
	return s.op(s.scripts.finish, key, token[:], int(res.State), res.Fingerprint[:], res.Subject[:], res.Route, res.Status,
		res.RequestID, res.Location, millis(res.KeepAnswer), millis(res.KeepKey), answer)
}

// Release implements dedup.Store.
func (s *Store) Release(ctx context.Context, key record.Key, token record.Token) (bool, error) {
	freed, err := s.decide(ctx, s.op(s.scripts.release, key, token[:]))
	if freed || err == nil {
		s.guard.recent.released(key, token)
	}
	return freed, err
}

// Renew implements dedup.Store.
func (s *Store) Renew(ctx context.Context, key record.Key, token record.Token, lease time.Duration) (bool, error) {
	renewed, err := s.decide(ctx, s.op(s.scripts.renew, key, token[:], millis(lease)))
	if renewed && err == nil {
		s.guard.recent.renewed(key, token, lease)
	}
	return renewed, err
}

// Resolve implements dedup.Store.
func (s *Store) Resolve(ctx context.Context, key record.Key, token record.Token, v record.Resolution) (bool, error) {
	return s.decide(ctx, s.op(s.scripts.resolve, key, token[:], bit(v.Executed), v.Status, v.Location, millis(v.KeepKey), v.Epoch))
}

// decide runs a step that answers yes or no. A yes needs its replicas.
func (s *Store) decide(ctx context.Context, o *op) (bool, error) {
	if err := s.ready(); err != nil {
		return false, err
	}
	r, err := s.call(ctx, o)
	if err != nil {
		return false, err
	}
	n, ok := r.value.(int64)
	switch {
	case !ok:
		return false, errStrange(o.script.name, r.value)
	case n == 0:
		return false, nil
	case r.short():
		return false, fmt.Errorf("dedup: redis: %s: %w", o.script.name, errShort)
	}
	return true, nil
}

// Look implements dedup.Store.
func (s *Store) Look(ctx context.Context, key record.Key) (record.Record, error) {
	if err := s.ready(); err != nil {
		return record.Record{}, err
	}
	o := s.op(s.scripts.look, key, 0)
	o.wait = false
	r, err := s.call(ctx, o)
	if err != nil {
		return record.Record{}, err
	}
	return decodeRecord(r.value)
}
