package redis

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/redistest"
)

// TestShortWait: a claim or a result that the replica does not have does not count, and repeating it proves it.
func TestShortWait(t *testing.T) {
	primary, replica := replicated(t)
	cfg := single(primary)
	cfg.WaitReplicas = 1
	s := still(t, cfg) // it does not notice that the replica is gone
	for i := range 2 {
		if _, err := begin(s, numbered(i), claim(mine)); err != nil {
			t.Fatal(err)
		}
	}
	replica.Pause()
	start := time.Now()
	if _, err := begin(s, numbered(2), claim(mine)); !errors.Is(err, errShort) || errors.Is(err, dedup.ErrRefused) {
		t.Errorf("begin: %v", err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
	for range 2 { // a repetition must not be confirmed by having nothing to write
		if _, err := finish(s, numbered(0), mine, result(record.Completed)); !errors.Is(err, errShort) {
			t.Errorf("finish: %v", err)
		}
	}
	if _, err := begin(s, numbered(0), claim(his)); !errors.Is(err, dedup.ErrRefused) {
		t.Errorf("an answer is told that a failover would lose: %v", err)
	}
	if _, err := s.Renew(context.Background(), numbered(1), mine, time.Minute); !errors.Is(err, errShort) {
		t.Errorf("renew: %v", err)
	}
	if found, err := begin(s, numbered(1), claim(his)); err != nil || found.Verdict != record.Busy {
		t.Errorf("what grants nothing needs no replica: %+v, %v", found, err)
	}
	if _, err := s.Release(context.Background(), numbered(1), mine); !errors.Is(err, errShort) {
		t.Errorf("release: %v", err)
	}
	replica.Resume()
	await(t, 10*time.Second, "the result is confirmed", func() bool {
		outcome, err := finish(s, numbered(0), mine, result(record.Completed))
		return err == nil && outcome == record.Stored
	})
	if found, err := begin(s, numbered(0), claim(his)); err != nil || found.Verdict != record.Replay {
		t.Errorf("%+v, %v", found, err)
	}
	if found, err := begin(s, numbered(2), claim(mine)); err != nil || found.Verdict != record.Acquired {
		t.Errorf("a claim sent again: %+v, %v", found, err)
	}
}

const provenAt = subjectAt + 16 + 4 + 4*8 + 2 // in a packed record

// TestFewReplicas: once the lack is known, claims are refused without being written; what is there is still told.
func TestFewReplicas(t *testing.T) {
	primary, replica := replicated(t)
	cfg := single(primary)
	cfg.WaitReplicas = 1
	s := open(t, cfg, Deps{})
	for i := range 3 {
		if _, err := begin(s, numbered(i), claim(mine)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2 {
		if _, err := finish(s, numbered(i), mine, result(record.Completed)); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := begin(s, numbered(0), claim(his)); err != nil || found.Verdict != record.Replay {
		t.Fatal(found, err)
	}
	await(t, 10*time.Second, "the mark is written", func() bool {
		mark, err := primary.Do("GETRANGE", s.names.of(numbered(0))[0], provenAt, provenAt)
		return err == nil && mark == "\x01"
	})
	replica.Kill()
	last := 8
	await(t, 10*time.Second, "the lack is known", func() bool {
		last++ // the first may have been written and not confirmed
		_, err := begin(s, numbered(last), claim(mine))
		return errors.Is(err, errFewReplicas)
	})
	start := time.Now()
	for i, want := range []record.Verdict{record.Replay, 0, record.Busy} {
		found, err := begin(s, numbered(i), claim(his))
		if want == 0 && !errors.Is(err, dedup.ErrRefused) || want != 0 && (err != nil || found.Verdict != want) {
			t.Errorf("%d: %+v, %v", i, found, err)
		}
	}
	if r, err := s.Look(context.Background(), numbered(last)); err != nil || r.State != record.Absent {
		t.Errorf("a refused claim left %+v, %v", r, err)
	}
	if took := time.Since(start); took > 500*time.Millisecond {
		t.Errorf("what is known is waited for: %v", took)
	}
	replica.Restart()
	follow(t, replica, primary)
	await(t, 10*time.Second, "claims are taken again", func() bool {
		found, err := begin(s, numbered(last), claim(mine))
		return err == nil && found.Verdict == record.Acquired
	})
}

// TestMovedSlot: a store whose view is old follows the cluster, also while a slot is on its way.
func TestMovedSlot(t *testing.T) {
	fleet := redistest.StartCluster(t, 3, 0)
	s := still(t, cluster(fleet, 0)) // it learns of the move from the replies alone
	key := numbered(1)
	if found, err := begin(s, key, claim(mine)); err != nil || found.Verdict != record.Acquired {
		t.Fatal(found, err)
	}
	names := s.names.of(key)
	from, slot := fleet.PrimaryOf(names[0]), s.names.slot[bucketOf(key)]
	to := fleet.Servers[0]
	if to == from {
		to = fleet.Servers[1]
	}
	do := func(on *redistest.Server, args ...any) any {
		t.Helper()
		reply, err := on.Do(args...)
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return reply
	}
	do(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", do(from, "CLUSTER", "MYID"))
	do(from, "CLUSTER", "SETSLOT", slot, "MIGRATING", do(to, "CLUSTER", "MYID"))
	for _, name := range names {
		do(from, "MIGRATE", "127.0.0.1", to.Port, name, 0, 1000)
	}
	start := time.Now()
	if found, err := begin(s, key, claim(his)); err == nil && found.Verdict != record.Busy || err != nil && !errors.Is(err, dedup.ErrRefused) {
		t.Errorf("while its slot moves: %+v, %v", found, err)
	} else {
		t.Logf("while its slot moves: %s, %v", found.Verdict, err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v", took)
	}
	for _, server := range []*redistest.Server{to, from} {
		do(server, "CLUSTER", "SETSLOT", slot, "NODE", do(to, "CLUSTER", "MYID"))
	}
	if found, err := begin(s, key, claim(his)); err != nil || found.Verdict != record.Busy {
		t.Errorf("after the move: %+v, %v", found, err)
	}
	if outcome, err := finish(s, key, mine, result(record.Completed)); err != nil || outcome != record.Stored {
		t.Errorf("after the move: %s, %v", outcome, err)
	}
	if s.fleet.place(bucketOf(key)).addr != to.Addr {
		t.Error("the move was not learnt")
	}
	other := key
	other[31]++
	if _, err := begin(s, other, claim(mine)); !errors.Is(err, dedup.ErrRefused) {
		t.Errorf("a new claim right after the move: %v", err)
	}
}
