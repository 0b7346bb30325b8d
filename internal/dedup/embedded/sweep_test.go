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

	c.Advance(time.Hour)
	sweep(t, s, 1) // the answer
	if r, err := s.read(key(1)); err != nil || r.State != record.Sealed || len(r.Answer) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	counts(t, s, 2, 2, 1)
	sweep(t, s, 0)

	c.Advance(2 * time.Hour)
	sweep(t, s, 1) // the key of the finished one
	c.Advance(time.Hour)
	sweep(t, s, 1) // and of the one nobody heard of again
	counts(t, s, 0, 0, 0)
}

func TestIndexesFollowEveryTransition(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), Options{now: c.Now})
	begin(t, s, 1, token(1))
	if ok, err := s.Release(context.Background(), key(1), token(1)); !ok || err != nil {
		t.Fatal(ok, err)
	}
	counts(t, s, 0, 0, 0)
	begin(t, s, 1, token(1))
	finish(t, s, 1, record.Unknown)
	counts(t, s, 1, 1, 1)
	finish(t, s, 1, record.Completed)
	counts(t, s, 1, 1, 0)
	c.Advance(4 * time.Hour)
	begin(t, s, 1, token(2)) // over, but not swept yet
	counts(t, s, 1, 1, 1)
	sweep(t, s, 0)
	counts(t, s, 1, 1, 1)
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
