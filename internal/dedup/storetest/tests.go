package storetest

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

func testClaim(t *testing.T, f fixture) {
	f.claim()
	found := f.begin(key, fp, his, true)
	if found.Verdict != record.Busy || found.Left <= 0 || found.Left > Lease {
		t.Errorf("a second attempt: %+v", found)
	}
	if again := f.begin(key, fp, mine, true); again.Verdict != record.Acquired {
		t.Errorf("a resend of the same attempt: %s", again.Verdict)
	}
}

func testLook(_ *testing.T, f fixture) {
	f.expect(record.Miss)
	f.expect(record.Miss) // looking leaves nothing behind
	f.claim()
	f.expect(record.Busy)
}

func testMismatch(t *testing.T, f fixture) {
	other := func(state string) {
		t.Helper()
		if found := f.begin(key, fp2, his, true); found.Verdict != record.Mismatch || found.Status != 0 || found.Answer != nil || found.Location != "" {
			t.Errorf("%s: %+v", state, found)
		}
	}
	f.claim()
	other("in flight")
	f.finish(mine, record.Unknown, record.Stored)
	other("unknown")
	f.finish(mine, record.Completed, record.Stored)
	other("completed")
	f.Advance(KeepAnswer)
	other("answer over")
	f.expect(record.NotKept) // and nothing was changed
}

func testReplay(t *testing.T, f fixture) {
	f.claim()
	f.finish(mine, record.Completed, record.Stored)
	for range 2 {
		found := f.expect(record.Replay)
		if found.Status != 201 || string(found.Answer) != "the answer" || found.RequestID != "first" {
			t.Errorf("%+v", found)
		}
	}
	f.release(mine, false)
	f.expect(record.Replay)
}

func testSealed(t *testing.T, f fixture) {
	f.claim()
	f.finish(mine, record.Sealed, record.Stored)
	if found := f.expect(record.NotKept); found.Status != 201 || found.Location != "/o/1" || found.Answer != nil {
		t.Errorf("%+v", found)
	}
}

func testUnknown(_ *testing.T, f fixture) {
	f.claim()
	f.finish(mine, record.Unknown, record.Stored)
	f.expect(record.Undetermined)
	f.release(mine, false)
	f.expect(record.Undetermined)
	f.finish(mine, record.Completed, record.Stored) // the late truth
	f.expect(record.Replay)
}

func testLeaseOver(t *testing.T, f fixture) {
	f.claim()
	f.Advance(Lease)
	for range 2 {
		if found := f.begin(key, fp, his, true); found.Verdict != record.Undetermined {
			t.Fatalf("a lease that ran out gave %s", found.Verdict)
		}
	}
	f.release(mine, false)
	f.finish(his, record.Completed, record.Fenced)
	f.finish(mine, record.Completed, record.Stored)
	f.expect(record.Replay)
}

func testFence(_ *testing.T, f fixture) {
	f.claim()
	f.finish(his, record.Completed, record.Fenced)
	f.release(his, false)
	f.expect(record.Busy)
	f.finish(mine, record.Sealed, record.Stored)
	f.finish(his, record.Completed, record.Fenced)
	f.expect(record.NotKept)
}

func testRelease(t *testing.T, f fixture) {
	f.release(mine, false)
	f.claim()
	f.release(mine, true)
	f.release(mine, false)
	f.expect(record.Miss)
	if found := f.begin(key, fp2, his, true); found.Verdict != record.Acquired {
		t.Errorf("a freed key: %s", found.Verdict)
	}
	f.release(mine, false)
	f.finish(mine, record.Completed, record.Fenced)
}

func testRepeat(t *testing.T, f fixture) {
	f.claim()
	f.finish(mine, record.Completed, record.Stored)
	f.finish(mine, record.Completed, record.Stored)
	f.finish(mine, record.Unknown, record.Stored) // does not undo the truth
	f.finish(mine, record.Sealed, record.Stored)
	if found := f.expect(record.Replay); string(found.Answer) != "the answer" {
		t.Errorf("%+v", found)
	}
}

func testRecreate(t *testing.T, f fixture) {
	f.finish(mine, record.Completed, record.Recreated)
	if found := f.expect(record.Replay); string(found.Answer) != "the answer" {
		t.Errorf("%+v", found)
	}
	if found := f.begin(key, fp2, his, true); found.Verdict != record.Mismatch {
		t.Errorf("a recreated record forgot its request: %s", found.Verdict)
	}
	f.finish(his, record.Completed, record.Fenced)
}

func testAnswerOver(t *testing.T, f fixture) {
	f.claim()
	f.finish(mine, record.Completed, record.Stored)
	f.Advance(KeepAnswer)
	if found := f.begin(key, fp, his, true); found.Verdict != record.NotKept || found.Status != 201 || found.Location != "/o/1" || found.Answer != nil {
		t.Errorf("%+v", found)
	}
}

func testKeyOver(t *testing.T, f fixture) {
	for i, s := range []record.State{record.Completed, record.Sealed, record.Unknown} {
		if found := f.begin(key, fp, token(i), true); found.Verdict != record.Acquired {
			t.Fatalf("before %s: %s", s, found.Verdict)
		}
		f.finish(token(i), s, record.Stored)
		f.Advance(KeepKey)
	}
	f.claim()
	f.Advance(Lease + KeepKey)
	f.expect(record.Miss)
}

func testIsolation(t *testing.T, f fixture) {
	f.claim()
	other := key
	other[31]++
	if found := f.begin(other, fp, his, true); found.Verdict != record.Acquired {
		t.Errorf("a neighbour's key: %s", found.Verdict)
	}
	f.finish(mine, record.Completed, record.Stored)
	if found := f.begin(other, fp, token(1), true); found.Verdict != record.Busy {
		t.Errorf("the neighbour after the first was finished: %s", found.Verdict)
	}
}

func testCopies(t *testing.T, f fixture) {
	f.claim()
	r := Result(record.Completed)
	if _, err := f.Store.Finish(context.Background(), key, mine, r); err != nil {
		t.Fatal(err)
	}
	clear(r.Answer) // the buffer goes back to its request
	first := f.expect(record.Replay)
	clear(first.Answer)
	if second := f.expect(record.Replay); string(second.Answer) != "the answer" {
		t.Errorf("a buffer is shared: %q", second.Answer)
	}
}

func testLargeAnswer(t *testing.T, f fixture) {
	f.claim()
	r := Result(record.Completed)
	r.Answer = bytes.Repeat([]byte{0, 1, 2, 0xff}, 256<<10)
	if _, err := f.Store.Finish(context.Background(), key, mine, r); err != nil {
		t.Fatal(err)
	}
	if found := f.expect(record.Replay); !bytes.Equal(found.Answer, r.Answer) {
		t.Error("1 MiB comes back changed")
	}
}

func testOneOfMany(t *testing.T, f fixture) {
	for round := range 5 {
		var acquired, busy atomic.Int32
		storm(64, func(i int) {
			c := record.Claim{Fingerprint: fp, Token: token(i), Lease: time.Minute, KeepKey: KeepKey, Grant: true}
			switch found, err := f.Store.Begin(context.Background(), numbered(round), c); {
			case err != nil:
				t.Error(err)
			case found.Verdict == record.Acquired:
				acquired.Add(1)
			case found.Verdict == record.Busy:
				busy.Add(1)
			default:
				t.Error(found.Verdict)
			}
		})
		if acquired.Load() != 1 || busy.Load() != 63 {
			t.Fatalf("%d acquired, %d busy", acquired.Load(), busy.Load())
		}
	}
}

// testManyRounds has every attempt execute as often as it is granted, freeing the key each time: grants never overlap.
func testManyRounds(t *testing.T, f fixture) {
	var inside, grants atomic.Int32
	storm(16, func(i int) {
		for range 20 {
			c := record.Claim{Fingerprint: fp, Token: token(i), Lease: time.Minute, KeepKey: KeepKey, Grant: true}
			found, err := f.Store.Begin(context.Background(), key, c)
			if err != nil || found.Verdict != record.Acquired {
				continue
			}
			if inside.Add(1) != 1 {
				t.Error("two attempts hold the key")
			}
			grants.Add(1)
			inside.Add(-1)
			if freed, err := f.Store.Release(context.Background(), key, token(i)); err != nil || !freed {
				t.Errorf("release: %v, %v", freed, err)
			}
		}
	})
	if grants.Load() == 0 {
		t.Error("nobody was ever granted")
	}
}

// testTruthIsStable looks on while an attempt finishes: once the answer was seen, nothing else is seen any more.
func testTruthIsStable(t *testing.T, f fixture) {
	for n := range 10 {
		k := numbered(n)
		begin := record.Claim{Fingerprint: fp, Token: mine, Lease: time.Minute, KeepKey: time.Minute, Grant: true}
		if _, err := f.Store.Begin(context.Background(), k, begin); err != nil {
			t.Fatal(err)
		}
		var watchers sync.WaitGroup
		for range 4 {
			watchers.Go(func() { watch(t, f, k) })
		}
		r := Result(record.Completed)
		r.KeepAnswer, r.KeepKey = time.Minute, time.Minute
		if _, err := f.Store.Finish(context.Background(), k, mine, r); err != nil {
			t.Error(err)
		}
		watchers.Wait()
	}
}

func watch(t *testing.T, f fixture, k record.Key) {
	replayed := 0
	for end := time.Now().Add(10 * time.Second); replayed < 3 && time.Now().Before(end); {
		found, err := f.Store.Begin(context.Background(), k, record.Claim{Fingerprint: fp, Token: his, Lease: Lease, KeepKey: KeepKey, Grant: true})
		switch {
		case err != nil:
			t.Error(err)
			return
		case found.Verdict == record.Replay:
			replayed++
		case replayed > 0 || found.Verdict != record.Busy:
			t.Errorf("%s after %d replays", found.Verdict, replayed)
			return
		}
	}
	if replayed == 0 {
		t.Error("the answer was never seen")
	}
}
