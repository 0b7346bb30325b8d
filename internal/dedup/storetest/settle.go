package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

func (f fixture) renew(token record.Token, lease time.Duration, want bool) {
	f.t.Helper()
	renewed, err := f.Store.Renew(context.Background(), key, token, lease)
	if err != nil || renewed != want {
		f.t.Fatalf("Renew: %v, %v; want %v", renewed, err, want)
	}
}

func (f fixture) look() record.Record {
	f.t.Helper()
	r, err := f.Store.Look(context.Background(), key)
	if err != nil {
		f.t.Fatalf("Look: %v", err)
	}
	return r
}

func (f fixture) resolve(token record.Token, v record.Resolution, want bool) {
	f.t.Helper()
	resolved, err := f.Store.Resolve(context.Background(), key, token, v)
	if err != nil || resolved != want {
		f.t.Fatalf("Resolve: %v, %v; want %v", resolved, err, want)
	}
}

func (f fixture) reclaim(token record.Token) record.Found {
	f.t.Helper()
	c := record.Claim{Fingerprint: fp, Token: token, Lease: Lease, KeepKey: KeepKey, Grant: true, Reclaim: true}
	found, err := f.Store.Begin(context.Background(), key, c)
	if err != nil {
		f.t.Fatalf("Begin: %v", err)
	}
	return found
}

func testRenew(_ *testing.T, f fixture) {
	f.renew(mine, time.Minute, false) // nothing is there
	f.claim()
	f.renew(his, time.Minute, false)
	f.renew(mine, time.Minute, true)
	f.Advance(Lease)
	f.expect(record.Busy)
	f.finish(mine, record.Completed, record.Stored)
	f.renew(mine, time.Minute, false)
	f.expect(record.Replay)
}

// testRenewLate is a paused owner who comes back while his call is still open.
func testRenewLate(_ *testing.T, f fixture) {
	f.claim()
	f.Advance(Lease)
	f.expect(record.Undetermined)
	f.renew(his, Lease, false)
	f.renew(mine, time.Minute, true)
	f.expect(record.Busy)
	f.finish(mine, record.Sealed, record.Stored)
	f.expect(record.NotKept)
}

func testLookAt(t *testing.T, f fixture) {
	if r := f.look(); r.State != record.Absent {
		t.Errorf("nothing is there, seen is %+v", r)
	}
	c := record.Claim{Fingerprint: fp, Token: mine, Lease: Lease, KeepKey: KeepKey, Grant: true, Subject: record.Subject{7}, Route: "orders"}
	if _, err := f.Store.Begin(context.Background(), key, c); err != nil {
		t.Fatal(err)
	}
	r := f.look()
	if r.State != record.InFlight || r.Token != mine || r.Fingerprint != fp || r.Subject != (record.Subject{7}) || r.Route != "orders" || r.Epoch != 1 {
		t.Errorf("in flight: %+v", r)
	}
	if r.Begun <= 0 || r.Lease <= r.Begun || r.KeyUntil <= r.Lease {
		t.Errorf("instants: %+v", r)
	}
	f.Advance(Lease)
	if r = f.look(); r.State != record.Unknown {
		t.Errorf("after its lease: %s", r.State)
	}
	f.finish(mine, record.Completed, record.Stored)
	if r = f.look(); r.State != record.Completed || r.Status != 201 || r.Location != "/o/1" || r.RequestID != "first" || r.Answer != nil || r.Route != "orders" {
		t.Errorf("completed: %+v", r)
	}
	f.Advance(KeepAnswer)
	if r = f.look(); r.State != record.Sealed {
		t.Errorf("after its answer's time: %s", r.State)
	}
}

func testResolve(_ *testing.T, f fixture) {
	executed := record.Resolution{Executed: true, Status: 201, Location: "/o/9", KeepKey: KeepKey}
	f.resolve(mine, executed, false)
	f.claim()
	f.resolve(mine, executed, false) // it may still run
	f.expect(record.Busy)
	f.finish(mine, record.Unknown, record.Stored)
	f.resolve(his, executed, false)
	f.resolve(mine, executed, true)
	if found := f.expect(record.NotKept); found.Status != 201 || found.Location != "/o/9" {
		f.t.Errorf("%+v", found)
	}
	f.resolve(mine, record.Resolution{}, false)
	f.finish(mine, record.Completed, record.Stored) // a late word does not undo it
	f.expect(record.NotKept)
}

func testResolveNotExecuted(t *testing.T, f fixture) {
	f.claim()
	f.Advance(Lease)
	f.resolve(mine, record.Resolution{}, true)
	f.expect(record.Miss)
	if found := f.begin(key, fp2, his, true); found.Verdict != record.Acquired || found.Epoch != 1 {
		t.Errorf("a freed key: %+v", found)
	}
	f.resolve(mine, record.Resolution{}, false)
	f.finish(mine, record.Completed, record.Fenced)
}

func testReclaim(t *testing.T, f fixture) {
	if found := f.reclaim(mine); found.Verdict != record.Acquired || found.Epoch != 1 {
		t.Fatalf("a first claim: %+v", found)
	}
	if found := f.reclaim(his); found.Verdict != record.Busy {
		t.Fatalf("while the first runs: %+v", found)
	}
	first := f.look().Begun
	f.Advance(Lease)
	for range 2 { // also when the reply was lost
		if found := f.reclaim(his); found.Verdict != record.Acquired || found.Epoch != 2 {
			t.Fatalf("after the lease: %+v", found)
		}
	}
	if again := f.look().Begun; again != first {
		t.Errorf("first seen moved from %d to %d", first, again)
	}
	f.finish(mine, record.Completed, record.Fenced)
	f.release(mine, false)
	f.finish(his, record.Unknown, record.Stored)
	if found := f.reclaim(mine); found.Verdict != record.Acquired || found.Epoch != 3 {
		t.Fatalf("after an unknown end: %+v", found)
	}
	f.finish(mine, record.Completed, record.Stored)
	if found := f.reclaim(his); found.Verdict != record.Replay {
		t.Errorf("a finished one: %+v", found)
	}
}

// testReclaimMismatch: another request never takes a key over.
func testReclaimMismatch(t *testing.T, f fixture) {
	f.claim()
	f.Advance(Lease)
	c := record.Claim{Fingerprint: fp2, Token: his, Lease: Lease, KeepKey: KeepKey, Grant: true, Reclaim: true}
	if found, err := f.Store.Begin(context.Background(), key, c); err != nil || found.Verdict != record.Mismatch {
		t.Errorf("%+v, %v", found, err)
	}
	f.expect(record.Undetermined)
}

func (f fixture) open() map[record.Key]record.Record {
	f.t.Helper()
	open := map[record.Key]record.Record{}
	if err := f.Store.Open(context.Background(), func(k record.Key, r record.Record) bool {
		open[k] = r
		return true
	}); err != nil {
		f.t.Fatalf("Open: %v", err)
	}
	return open
}

func testOpen(t *testing.T, f fixture) {
	if open := f.open(); len(open) != 0 {
		t.Errorf("an empty store: %v", open)
	}
	ends := []record.State{record.InFlight, record.Completed, record.Sealed, record.Unknown}
	for i, s := range ends {
		c := record.Claim{Fingerprint: fp, Token: mine, Lease: time.Minute, KeepKey: KeepKey, Grant: true, Route: "orders"}
		if _, err := f.Store.Begin(context.Background(), numbered(i), c); err != nil {
			t.Fatal(err)
		}
		if s != record.InFlight {
			if _, err := f.Store.Finish(context.Background(), numbered(i), mine, Result(s)); err != nil {
				t.Fatal(err)
			}
		}
	}
	open := f.open()
	if len(open) != 2 || open[numbered(0)].State != record.InFlight || open[numbered(3)].State != record.Unknown || open[numbered(3)].Route != "orders" {
		t.Errorf("open are %+v", open)
	}
	calls := 0
	if err := f.Store.Open(context.Background(), func(record.Key, record.Record) bool { calls++; return false }); err != nil || calls != 1 {
		t.Errorf("ended after %d calls, %v", calls, err)
	}
}

func testErase(t *testing.T, f fixture) {
	his, hers := record.Subject{1}, record.Subject{2}
	put := func(i int, s record.Subject, end record.State) {
		t.Helper()
		c := record.Claim{Fingerprint: fp, Token: mine, Lease: time.Minute, KeepKey: KeepKey, Grant: true, Subject: s}
		if _, err := f.Store.Begin(context.Background(), numbered(i), c); err != nil {
			t.Fatal(err)
		}
		if end == record.InFlight {
			return
		}
		if _, err := f.Store.Finish(context.Background(), numbered(i), mine, Result(end)); err != nil {
			t.Fatal(err)
		}
	}
	put(0, his, record.Completed)
	put(1, his, record.Sealed)
	put(2, his, record.Unknown)
	put(3, his, record.InFlight)
	put(4, hers, record.Completed)
	did, err := f.Store.Erase(context.Background(), his)
	if want := (record.Erased{Records: 4, Answers: 1, InFlight: 1}); err != nil || did != want {
		t.Fatalf("%+v, %v; want %+v", did, err, want)
	}
	for i, want := range []record.Verdict{record.NotKept, record.NotKept, record.Undetermined, record.Busy, record.Replay} {
		found := f.begin(numbered(i), fp, token(9), true)
		if found.Verdict != want {
			t.Errorf("%d: %s, want %s", i, found.Verdict, want)
		}
		if i < 2 && (found.Location != "" || found.RequestID != "" || found.Answer != nil) {
			t.Errorf("%d still tells %+v", i, found)
		}
	}
}

// testReleaseAfterReclaim: proof that the second dispatch was not sent says nothing of the first.
func testReleaseAfterReclaim(t *testing.T, f fixture) {
	f.claim()
	f.Advance(Lease)
	if found := f.reclaim(his); found.Verdict != record.Acquired {
		t.Fatal(found.Verdict)
	}
	f.release(his, false)
	if found := f.begin(key, fp2, token(1), true); found.Verdict != record.Mismatch {
		t.Errorf("another request finds %s", found.Verdict)
	}
	f.Advance(Lease)
	f.expect(record.Undetermined)
}

// testRenewSettled: whoever said that he does not know can't take that back by renewing.
func testRenewSettled(_ *testing.T, f fixture) {
	f.claim()
	f.finish(mine, record.Unknown, record.Stored)
	f.renew(mine, time.Minute, false)
	f.expect(record.Undetermined)
}

// testRenewKeepsKey: the key's time moves with the lease, so that an end of the lease never is the key's end, too.
func testRenewKeepsKey(t *testing.T, f fixture) {
	f.claim()
	before := f.look()
	f.renew(mine, time.Minute, true)
	after := f.look()
	if after.KeyUntil-after.Lease < before.KeyUntil-before.Lease {
		t.Errorf("%v are left of the key after the lease, %v were", time.Duration(after.KeyUntil-after.Lease), time.Duration(before.KeyUntil-before.Lease))
	}
	f.renew(mine, time.Millisecond, true)
	if shorter := f.look(); shorter.Lease < after.Lease {
		t.Error("a renewal shortened the lease")
	}
}

// testResolveEpoch: a verdict on an earlier attempt is none on this one, though a late repetition brought its token back.
func testResolveEpoch(t *testing.T, f fixture) {
	f.claim()
	f.Advance(Lease)
	f.reclaim(his)
	f.Advance(Lease)
	f.reclaim(mine)
	f.Advance(Lease)
	f.resolve(mine, record.Resolution{Epoch: 1}, false)
	f.expect(record.Undetermined)
	f.resolve(mine, record.Resolution{Epoch: 3}, true)
	f.expect(record.Miss)
}

// testResolveKeeps: a verdict without a time of its own leaves the key the one that it had.
func testResolveKeeps(t *testing.T, f fixture) {
	f.claim()
	f.finish(mine, record.Unknown, record.Stored)
	before := f.look().KeyUntil
	f.resolve(mine, record.Resolution{Executed: true}, true)
	if after := f.look(); after.State != record.Sealed || after.KeyUntil < before {
		t.Errorf("%+v, the key was kept until %d", after, before)
	}
}
