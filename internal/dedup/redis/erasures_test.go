package redis

import (
	"context"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/redistest"
)

var ann, bob = record.Subject{1}, record.Subject{2}

// answer stores an answer of a subject's.
func answer(t *testing.T, s *Store, i int, subject record.Subject) {
	t.Helper()
	c, res := claim(token(i)), result(record.Completed)
	c.Subject, res.Subject = subject, subject
	if found, err := begin(s, numbered(i), c); err != nil || found.Verdict != record.Acquired {
		t.Fatal(found, err)
	}
	if outcome, err := finish(s, numbered(i), token(i), res); err != nil || outcome != record.Stored {
		t.Fatal(outcome, err)
	}
}

func erase(t *testing.T, s *Store, subject record.Subject) {
	t.Helper()
	if did, err := s.Erase(context.Background(), subject); err != nil || did.Answers != 1 {
		t.Fatalf("%+v, %v", did, err)
	}
}

// told wants a duplicate to be told the answer, or that it is not kept, with nothing of its subject's.
func told(t *testing.T, s *Store, i int, want record.Verdict) {
	t.Helper()
	found, err := begin(s, numbered(i), claim(his))
	if err != nil || found.Verdict != want || want == record.NotKept && (found.Answer != nil || found.Location != "" || found.RequestID != "") {
		t.Errorf("%d: %+v, %v; want %s", i, found, err, want)
	}
}

// TestErasedStaysErased: another gateway remembers the answer, and asserts what it did after Redis lost everything.
func TestErasedStaysErased(t *testing.T) {
	server := redistest.Start(t)
	cfg, seen := single(server), &counts{}
	here, there := open(t, cfg, Deps{}), open(t, cfg, Deps{Recorder: seen})
	answer(t, there, 1, ann)
	answer(t, there, 2, bob)
	erase(t, here, ann)
	await(t, 5*time.Second, "the other gateway hears of it", func() bool { return there.guard.recent.heardOf(ann) })
	answer(t, there, 3, ann) // later
	if _, err := server.Do("FLUSHALL"); err != nil {
		t.Fatal(err)
	}
	await(t, 10*time.Second, "the loss is noticed", func() bool { return seen.lost.Load() == 3 })
	told(t, here, 1, record.NotKept)
	told(t, here, 2, record.Replay)
	told(t, here, 3, record.Replay)
}

// TestErasedJustBefore: the gateway has not heard of the erasure yet when it has to assert.
func TestErasedJustBefore(t *testing.T) {
	server := redistest.Start(t)
	cfg := single(server)
	here, there := still(t, cfg), still(t, cfg)
	answer(t, there, 1, ann)
	erase(t, here, ann)
	names := here.names.of(numbered(1))
	if n, err := server.Do("DEL", names[0], names[1]); err != nil || n != int64(1) {
		t.Fatal(n, err)
	}
	if failed := there.assertRound(context.Background(), everything()); len(failed) != 0 {
		t.Fatal(failed)
	}
	told(t, here, 1, record.NotKept)
}

// TestNothingIsErasedUnannounced: else another gateway could bring back what the caller believes is gone.
func TestNothingIsErasedUnannounced(t *testing.T) {
	server := redistest.Start(t)
	s := still(t, single(server))
	answer(t, s, 1, ann)
	if _, err := server.Do("SET", s.names.erased(), "not ours"); err != nil {
		t.Fatal(err)
	}
	if did, err := s.Erase(context.Background(), ann); err == nil {
		t.Errorf("%+v", did)
	}
	told(t, s, 1, record.Replay)
}

func TestAnnouncementsAreBounded(t *testing.T) {
	server := redistest.Start(t)
	s := still(t, single(server))
	for i := range announcedMost + 50 {
		if err := s.announce(context.Background(), record.Subject{byte(i >> 8), byte(i), 1}); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := server.Do("ZCARD", s.names.erased()); err != nil || n != int64(announcedMost) {
		t.Errorf("%v are announced, %v", n, err)
	}
	if left, err := server.Do("PTTL", s.names.erased()); err != nil || left.(int64) <= 0 || left.(int64) > announced.Milliseconds() {
		t.Errorf("they stay for %v ms, %v", left, err)
	}
	s.heard([]goredis.Z{{Member: "short", Score: 1}, {Member: 7, Score: 1}}) // nobody's
}

func TestRecentHearsOfErasures(t *testing.T) {
	r, now := newRecent(), time.Now()
	r.now = func() time.Time { return now }
	done := result(record.Completed)
	done.Subject = ann
	state := func(i int) record.State {
		t.Helper()
		for _, d := range r.of(everything()) {
			if d.key == numbered(i) {
				return d.result.State
			}
		}
		t.Fatalf("%d is not remembered", i)
		return 0
	}
	r.finished(numbered(1), mine, done, now)
	began := now
	now = now.Add(time.Second)
	r.erase(ann, 1)
	r.finished(numbered(2), mine, done, began) // erased while it was stored
	now = now.Add(time.Second)
	r.finished(numbered(3), mine, done, now)
	r.erase(ann, 1) // heard again
	for i, want := range []record.State{1: record.Sealed, 2: record.Sealed, 3: record.Completed} {
		if i > 0 && state(i) != want {
			t.Errorf("%d is %s", i, state(i))
		}
	}
	if r.bytes != (&deed{result: &done}).size() {
		t.Errorf("%d bytes", r.bytes)
	}
	r.erase(ann, 2) // another one
	if state(3) != record.Sealed || r.bytes != 0 {
		t.Errorf("after the second erasure: %s, %d bytes", state(3), r.bytes)
	}
	now = now.Add(2*announced + time.Second)
	if r.trim(); len(r.erased) != 0 {
		t.Errorf("%d erasures are remembered for ever", len(r.erased))
	}
}

func (r *recent) heardOf(subject record.Subject) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, heard := r.erased[subject]
	return heard
}
