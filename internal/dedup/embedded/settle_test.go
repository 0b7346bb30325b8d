package embedded

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

// many writes records of one kind, on both sides of a page's end, and entries in between that are none.
func many(t *testing.T, s *Store, r record.Record) (n int) {
	t.Helper()
	n = 2*pageSize + 100
	b := s.db.NewBatch()
	for i := range n {
		k, tok, _ := nth(i)
		r.Token, r.KeyUntil = tok, s.opts.now().Add(time.Hour).UnixNano()
		if err := s.fill(b, k, record.Record{}, r); err != nil {
			t.Fatal(err)
		}
	}
	for i := range pageSize + 100 { // one page has nothing but these
		for _, prefix := range []byte{openPrefix, recordPrefix} {
			if err := b.Set([]byte{prefix, 0x80, byte(i >> 8), byte(i)}, []byte("foreign"), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestOpenGoesThroughAllPages(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	n := many(t, s, record.Record{State: record.Unknown})
	seen := map[record.Key]int{}
	if err := s.Open(t.Context(), func(k record.Key, _ record.Record) bool { seen[k]++; return true }); err != nil {
		t.Fatal(err)
	}
	if len(seen) != n {
		t.Errorf("%d of %d seen", len(seen), n)
	}
	for k, times := range seen {
		if times != 1 {
			t.Fatalf("%x was seen %d times", k, times)
		}
	}
	for _, end := range []int{1, pageSize, pageSize + 1} {
		calls := 0
		if err := s.Open(t.Context(), func(record.Key, record.Record) bool { calls++; return calls < end }); err != nil || calls != end {
			t.Errorf("ended after %d calls instead of %d, %v", calls, end, err)
		}
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	many(t, s, record.Record{State: record.Unknown})
	ctx, cancel := context.WithCancel(context.Background())
	calls := 0
	err := s.Open(ctx, func(record.Key, record.Record) bool { calls++; cancel(); return true })
	if !errors.Is(err, context.Canceled) || calls > pageSize {
		t.Errorf("%d calls, %v", calls, err)
	}
}

// TestOpenLocksNothing has the callback settle what it is shown, as a reconciler does.
func TestOpenLocksNothing(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	n := many(t, s, record.Record{State: record.Unknown})
	if err := s.db.Set(recordKey(powerKey(1)), []byte("garbage"), pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	settled := 0
	err := s.Open(t.Context(), func(k record.Key, r record.Record) bool {
		settled++
		if settled > 50 { // each of these is synced
			return true
		}
		ok, err := s.Resolve(context.Background(), k, r.Token, record.Resolution{Executed: true, KeepKey: time.Hour})
		if !ok || err != nil {
			t.Error(ok, err)
		}
		return err == nil
	})
	if err != nil || settled != n-1 {
		t.Errorf("%d shown of %d, one of which can't be read; %v", settled, n, err)
	}
}

func TestEraseGoesThroughAllPages(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	his := record.Subject{1}
	n := many(t, s, record.Record{State: record.Completed, Subject: his, Status: 201, Location: "/o/1", RequestID: "id", Answer: []byte("secret"), AnswerUntil: s.opts.now().Add(time.Hour).UnixNano()})
	if did, err := s.Erase(t.Context(), record.Subject{2}); err != nil || did != (record.Erased{}) {
		t.Errorf("somebody else's: %+v, %v", did, err)
	}
	for round, answers := range []int{n, 0} {
		did, err := s.Erase(t.Context(), his)
		if err != nil || did != (record.Erased{Records: n, Answers: answers}) {
			t.Errorf("round %d: %+v, %v", round, did, err)
		}
	}
	if left := count(t, s, answerPrefix); left != 0 {
		t.Errorf("%d answers are left", left)
	}
	r, err := s.Look(t.Context(), powerKey(7))
	if err != nil || r.State != record.Sealed || r.Status != 201 || r.Location != "" || r.RequestID != "" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestEraseDropsWhatIsOver(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), Options{now: c.Now})
	begin(t, s, 1, token(1))
	finish(t, s, 1, record.Completed)
	begin(t, s, 2, token(2)) // runs
	c.Advance(3 * time.Hour) // the first is over; the second's lease is
	did, err := s.Erase(t.Context(), record.Subject{})
	if err != nil || did != (record.Erased{Records: 1}) {
		t.Errorf("%+v, %v", did, err)
	}
	if count(t, s, recordPrefix) != 1 || count(t, s, answerPrefix) != 0 {
		t.Error("what is over is still there")
	}
	finish(t, s, 2, record.Completed) // a late word is still taken
}

func TestEraseStopsWhenItCantGoOn(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	begin(t, s, 1, token(1))
	finish(t, s, 1, record.Completed)
	stripe := s.stripe(key(1))
	stripe <- struct{}{}
	defer func() { <-stripe }()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, err := s.Erase(ctx, record.Subject{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v: nobody must think that all is erased", err)
	}
}

// TestAnswerThatIsGone is a sweep that comes between looking at a record and reading its answer.
func TestAnswerThatIsGone(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	begin(t, s, 1, token(1))
	finish(t, s, 1, record.Completed)
	if err := s.db.DeleteRange([]byte{answerPrefix}, []byte{answerPrefix + 1}, pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	if f := begin(t, s, 1, record.Token{9}); f.Verdict != record.NotKept || f.Answer != nil || f.Status != 200 {
		t.Errorf("%+v", f)
	}
}

func TestEmptyAnswerIsReplayed(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	begin(t, s, 1, token(1))
	r := record.Result{State: record.Completed, Status: 204, KeepAnswer: time.Hour, KeepKey: time.Hour}
	for range 2 {
		if o, err := s.Finish(t.Context(), key(1), token(1), r); err != nil || o != record.Stored {
			t.Fatal(o, err)
		}
		if f := begin(t, s, 1, record.Token{9}); f.Verdict != record.Replay || f.Status != 204 {
			t.Errorf("%+v", f)
		}
	}
}
