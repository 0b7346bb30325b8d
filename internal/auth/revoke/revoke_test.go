package revoke

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

var (
	now  = time.Unix(1_800_000_000, 0)
	hour = now.Add(time.Hour)
)

func secondsOf(t time.Time) float64 { return float64(t.Unix()) }

func revoked(t *testing.T, l *List, entries ...Entry) {
	t.Helper()
	for _, e := range entries {
		if err := l.Revoke(e, now); err != nil {
			t.Fatalf("%+v: %v", e, err)
		}
	}
}

func TestWhatIsVoid(t *testing.T) {
	l := New(Config{})
	tok := Token{Issuer: "i", ID: "1", Session: "s", Subject: "alice", Issued: secondsOf(now) - 10}
	if l.Void(&tok) {
		t.Error("an empty list voids a token")
	}
	revoked(t, l, Entry{Issuer: "i", ID: "2", Until: hour}, Entry{Issuer: "j", ID: "1", Until: hour}, Entry{Issuer: "i", Session: "1", Until: hour},
		Entry{Issuer: "i", Subject: "1", Before: now, Until: hour}, Entry{Issuer: "i", Subject: "alice", Before: now.Add(-10 * time.Second), Until: hour})
	if l.Void(&tok) {
		t.Error("another's id, another issuer's, or a moment that is not after iat voids a token")
	}
	for name, void := range map[string]Token{
		"id": {Issuer: "i", ID: "2"}, "the other's id": {Issuer: "j", ID: "1"}, "session": {Issuer: "i", Session: "1"},
		"subject": {Issuer: "i", Subject: "alice", Issued: secondsOf(now) - 11}, "no iat": {Issuer: "i", Subject: "alice"},
	} {
		if !l.Void(&void) {
			t.Errorf("%s: still good", name)
		}
	}
	for name, fine := range map[string]Token{"nothing said": {Issuer: "i"}, "id as session": {Issuer: "i", Session: "2"}, "no issuer": {ID: "2"}} {
		if l.Void(&fine) {
			t.Errorf("%s: void", name)
		}
	}
}

func TestASubjectsMomentOnlyMovesForward(t *testing.T) {
	l := New(Config{})
	tok := Token{Issuer: "i", Subject: "alice", Issued: secondsOf(now) - 5}
	revoked(t, l, Entry{Issuer: "i", Subject: "alice", Before: now, Until: hour}, Entry{Issuer: "i", Subject: "alice", Before: now.Add(-time.Hour), Until: now.Add(time.Second)})
	if !l.Void(&tok) || l.Len() != 1 {
		t.Error("an earlier moment took the place of a later one")
	}
	if err := l.Revoke(Entry{Issuer: "i", ID: "x", Until: hour}, now.Add(2*time.Second)); err != nil || !l.Void(&tok) {
		t.Errorf("%v: an earlier end took the place of a later one", err)
	}
}

func TestUnclearEntries(t *testing.T) {
	l := New(Config{})
	for _, e := range []Entry{{}, {Issuer: "i"}, {ID: "1"}, {Issuer: "i", ID: "1", Subject: "a"}, {Issuer: "i", ID: "1", Session: "s"}} {
		e.Until = hour
		if err := l.Revoke(e, now); !errors.Is(err, ErrUnclear) || l.Len() != 0 {
			t.Errorf("%+v: %v", e, err)
		}
	}
	if err := l.Revoke(Entry{Issuer: "i", ID: "1", Until: now}, now); err != nil || l.Len() != 0 {
		t.Error("what is over takes room")
	}
}

// A full list refuses, and never forgets what is alive; what is over makes room.
func TestBound(t *testing.T) {
	l := New(Config{Max: 1000})
	for n := range 1000 {
		revoked(t, l, Entry{Issuer: "i", ID: fmt.Sprint(n), Until: now.Add(time.Duration(1+n%2) * time.Hour)})
	}
	if err := l.Revoke(Entry{Issuer: "i", ID: "more", Until: hour}, now); !errors.Is(err, ErrFull) {
		t.Errorf("past the bound: %v", err)
	}
	if err := l.Revoke(Entry{Issuer: "i", ID: "7", Until: hour}, now); err != nil {
		t.Errorf("what is there already takes no room: %v", err)
	}
	later := now.Add(90 * time.Minute)
	if err := l.Revoke(Entry{Issuer: "i", ID: "more", Until: later.Add(time.Hour)}, later); err != nil || l.Len() != 501 {
		t.Errorf("%v, %d entries", err, l.Len())
	}
	for n := range 1000 {
		if void := l.Void(&Token{Issuer: "i", ID: fmt.Sprint(n)}); void != (n%2 == 1) {
			t.Fatalf("entry %d: void %v", n, void)
		}
	}
}

func TestKnown(t *testing.T) {
	if !New(Config{}).Known(now) {
		t.Error("without a store the list is known")
	}
	l := New(Config{Grace: time.Minute, Max: 2})
	if l.Known(now) {
		t.Error("known before the store said anything")
	}
	entries := []Entry{{Issuer: "i", ID: "1", Until: hour}, {Issuer: "i", ID: "2", Until: hour}}
	if err := l.Merge(entries, now); err != nil || !l.Known(now.Add(time.Minute)) || l.Known(now.Add(time.Minute+1)) || !l.Void(&Token{Issuer: "i", ID: "2"}) {
		t.Errorf("after a merge: %v", err)
	}
	if err := l.Merge([]Entry{{Issuer: "i", ID: "3", Until: hour}}, now.Add(time.Minute)); !errors.Is(err, ErrFull) || l.Known(now.Add(2*time.Minute)) {
		t.Errorf("a list that lacks an entry is known: %v", err)
	}
}

func TestAskingTakesNoLockAndNoMemory(t *testing.T) {
	l := New(Config{})
	revoked(t, l, Entry{Issuer: "i", ID: "1", Until: hour}, Entry{Issuer: "i", Subject: "bob", Before: now, Until: hour})
	l.mu.Lock() // a writer at work keeps nobody waiting
	defer l.mu.Unlock()
	tok := Token{Issuer: "i", ID: "2", Session: "s", Subject: "alice", Issued: 5}
	if n := testing.AllocsPerRun(100, func() { l.Void(&tok) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestReadersAndWriters(t *testing.T) {
	l := New(Config{})
	revoked(t, l, Entry{Issuer: "i", ID: "first", Until: hour})
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			for n := range 300 {
				_ = l.Revoke(Entry{Issuer: "i", ID: fmt.Sprint(w, n), Until: hour}, now)
			}
		})
		wg.Go(func() {
			for range 3000 {
				if !l.Void(&Token{Issuer: "i", ID: "first"}) {
					t.Error("an entry was lost for a moment")
					return
				}
			}
		})
	}
	wg.Wait()
	if l.Len() != 601 {
		t.Errorf("%d entries", l.Len())
	}
}

func BenchmarkVoid(b *testing.B) {
	for _, size := range []int{0, 1, 100_000} {
		l := New(Config{})
		for n := range size {
			_ = l.Revoke(Entry{Issuer: "i", ID: fmt.Sprint(n), Until: hour}, now)
		}
		tok := Token{Issuer: "i", ID: "a-token-id-of-usual-length", Session: "a-session-id", Subject: "alice", Issued: 5}
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				l.Void(&tok)
			}
		})
	}
}

// What is known already changes nothing, but a later end does.
func TestALaterEndCounts(t *testing.T) {
	l := New(Config{})
	revoked(t, l, Entry{Issuer: "i", ID: "1", Until: now.Add(time.Second)}, Entry{Issuer: "i", ID: "1", Until: hour}, Entry{Issuer: "i", ID: "1", Until: now.Add(time.Minute)})
	if all := l.All(now); len(all) != 1 || !all[0].Until.Equal(hour) {
		t.Errorf("%+v", all)
	}
}
