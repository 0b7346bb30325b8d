package embedded

import (
	"context"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

func count(t *testing.T, s *Store, prefix byte) int {
	t.Helper()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{prefix}, UpperBound: []byte{prefix + 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	return n
}

func sweep(t *testing.T, s *Store, want int) {
	t.Helper()
	if n, err := s.Sweep(context.Background()); err != nil || n != want {
		t.Fatalf("swept %d, %v; want %d", n, err, want)
	}
}

// counts checks how many records, due entries and open entries there are.
func counts(t *testing.T, s *Store, records, due, opened int) {
	t.Helper()
	r, x, f := count(t, s, recordPrefix), count(t, s, duePrefix), count(t, s, openPrefix)
	if r != records || x != due || f != opened {
		t.Errorf("%d records, %d due, %d open; want %d, %d, %d", r, x, f, records, due, opened)
	}
}

func TestSweepDropsAnswersThenRecords(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), Options{now: c.Now})
	begin(t, s, 1, token(1))
	begin(t, s, 2, token(2))
	counts(t, s, 2, 2, 2)
	finish(t, s, 1, record.Completed)
	counts(t, s, 2, 2, 1)
	sweep(t, s, 0)
	if count(t, s, answerPrefix) != 1 {
		t.Error("the answer is not there")
	}

	c.Advance(time.Hour + 1)
	sweep(t, s, 0) // the answer
	if count(t, s, answerPrefix) != 0 {
		t.Error("the answer is still there")
	}
	if f := begin(t, s, 1, record.Token{9}); f.Verdict != record.NotKept || f.Status != 200 {
		t.Errorf("%+v", f)
	}
	counts(t, s, 2, 2, 1)

	c.Advance(2*time.Hour + time.Minute) // the lease of the one nobody heard of again comes first
	sweep(t, s, 2)
	counts(t, s, 0, 0, 0)
}

func TestIndexesFollowEveryTransition(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), Options{now: c.Now})
	begin(t, s, 1, token(1))
	if ok, err := s.Release(context.Background(), key(1), token(1)); !ok || err != nil {
		t.Fatal(ok, err)
	}
	counts(t, s, 0, 1, 0) // a due entry may point at nothing
	begin(t, s, 1, token(1))
	finish(t, s, 1, record.Unknown)
	counts(t, s, 1, 1, 1)
	finish(t, s, 1, record.Completed)
	counts(t, s, 1, 1, 0)
	c.Advance(4 * time.Hour)
	begin(t, s, 1, token(2)) // over, but not swept yet
	counts(t, s, 1, 1, 1)
	if count(t, s, answerPrefix) != 0 {
		t.Error("the first attempt's answer is left")
	}
	sweep(t, s, 0)
	counts(t, s, 1, 1, 1)
	c.Advance(4 * time.Hour)
	sweep(t, s, 1)
	counts(t, s, 0, 0, 0)
}

// TestDueEntryFollowsItsRecord has the record end later, and much earlier, than its claim said.
func TestDueEntryFollowsItsRecord(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), Options{now: c.Now})
	begin(t, s, 1, token(1))
	if ok, err := s.Renew(context.Background(), key(1), token(1), 5*time.Hour); !ok || err != nil {
		t.Fatal(ok, err)
	}
	begin(t, s, 2, token(2))
	soon := record.Result{State: record.Sealed, KeepKey: time.Minute}
	if o, err := s.Finish(context.Background(), key(2), token(2), soon); err != nil || o != record.Stored {
		t.Fatal(o, err)
	}
	c.Advance(time.Minute)
	sweep(t, s, 1)
	c.Advance(4 * time.Hour)
	sweep(t, s, 0) // the first one's entry is early
	counts(t, s, 1, 1, 1)
	c.Advance(4 * time.Hour)
	sweep(t, s, 1)
	counts(t, s, 0, 0, 0)
}

// TestSweepNeverWaitsWithStripesInHand holds one record while a sweep handles it and others.
func TestSweepNeverWaitsWithStripesInHand(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), Options{now: c.Now})
	for n := range 8 {
		begin(t, s, n, token(n))
	}
	c.Advance(4 * time.Hour)
	stripe := s.stripe(key(3))
	stripe <- struct{}{}
	swept := make(chan int)
	go func() {
		n, err := s.Sweep(context.Background())
		if err != nil {
			t.Error(err)
		}
		swept <- n
	}()
	for end := time.Now().Add(10 * time.Second); count(t, s, recordPrefix) > 1; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			<-stripe // or Close waits, too
			t.Fatal("the others wait for the one that is busy")
		}
	}
	begin(t, s, 5, token(50)) // nobody holds its stripe
	<-stripe
	if n := <-swept; n != 8 {
		t.Errorf("%d dropped", n)
	}
}

// TestTwoEntriesOfOneRecord has a key claimed twice, which leaves two due entries behind: one record is dropped, once.
func TestTwoEntriesOfOneRecord(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), Options{now: c.Now})
	begin(t, s, 1, token(1))
	if ok, err := s.Release(context.Background(), key(1), token(1)); !ok || err != nil {
		t.Fatal(ok, err)
	}
	c.Advance(time.Minute)
	begin(t, s, 1, token(1))
	counts(t, s, 1, 2, 1)
	c.Advance(4 * time.Hour)
	sweep(t, s, 1)
	counts(t, s, 0, 0, 0)
	begin(t, s, 1, token(2))
	counts(t, s, 1, 1, 1)
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	counts(t, s, 1, 1, 1)
}

func TestRescanFindsWhatALateWriteLeftBehind(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), Options{now: c.Now})
	r := record.Record{State: record.Completed, KeyUntil: c.Now().Add(time.Minute).UnixNano(), AnswerUntil: c.Now().Add(time.Minute).UnixNano()}
	put := func(n int) {
		if err := s.write(key(n), record.Record{}, r, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	put(1)
	c.Advance(2 * time.Minute)
	sweep(t, s, 1)
	r.KeyUntil-- // the disk hung while this one was written
	put(2)
	sweep(t, s, 0)
	if f := begin(t, s, 2, record.Token{}); f.Verdict != record.Acquired { // it counts as over all the same
		t.Error(f.Verdict)
	}
	put(3)
	c.Advance(rescan)
	sweep(t, s, 1)
	if count(t, s, answerPrefix) != 0 {
		t.Error("answers are left")
	}
}

func TestSweepTakesManyInRounds(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), Options{now: c.Now})
	const many = pageSize + 100
	for n := range many {
		k := record.Key{byte(n), byte(n >> 8), byte(n >> 16)}
		r := record.Record{State: record.Sealed, KeyUntil: c.Now().Add(time.Minute).UnixNano()}
		if err := s.write(k, record.Record{}, r, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	c.Advance(time.Minute)
	sweep(t, s, many)
	counts(t, s, 0, 0, 0)
}

func TestSweepPassesWhatItCantRead(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), Options{now: c.Now})
	begin(t, s, 1, token(1))
	begin(t, s, 2, token(2))
	if err := s.db.Set(recordKey(key(1)), []byte("garbage"), pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	stale := dueKey(c.Now().UnixNano(), key(7))
	if err := s.db.Set(stale, nil, pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	c.Advance(4 * time.Hour)
	sweep(t, s, 1)
	counts(t, s, 1, 1, 1) // the one that can't be read stays, and stays refused; the stale entry is gone
}

func TestSweeperRuns(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), Options{now: c.Now, SweepEvery: time.Millisecond})
	begin(t, s, 1, token(1))
	c.Advance(4 * time.Hour)
	for end := time.Now().Add(10 * time.Second); count(t, s, recordPrefix) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing was swept")
		}
	}
}
