package revoke

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// shelf is a Store in this process that goes down, forgets and hangs.
type shelf struct {
	mu    sync.Mutex
	life  int // another one after it forgot
	all   []Entry
	err   error
	hangs bool
	room  int
	adds  int
	asks  int
	wide  int           // entries of a page; 0: 3
	slow  time.Duration // each Add
	fails int           // that many Adds
}

func (s *shelf) enter(ctx context.Context) error {
	if s.hangs {
		s.mu.Unlock()
		<-ctx.Done()
		s.mu.Lock()
		return ctx.Err()
	}
	return s.err
}

func (s *shelf) Add(ctx context.Context, e Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.adds++
	if err := s.enter(ctx); err != nil {
		return err
	}
	if s.fails--; s.fails >= 0 {
		return errors.New("a glitch")
	}
	if slow := s.slow; slow > 0 {
		s.mu.Unlock()
		time.Sleep(slow)
		s.mu.Lock()
	}
	if s.room > 0 && len(s.all) >= s.room {
		return ErrFull
	}
	s.all = append(s.all, e)
	return nil
}

func (s *shelf) Since(ctx context.Context, cursor string) ([]Entry, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asks++
	if err := s.enter(ctx); err != nil {
		return nil, "", err
	}
	life, at, _ := strings.Cut(cursor, ":")
	from, _ := strconv.Atoi(at)
	if cursor != "" && life != strconv.Itoa(s.life) {
		return nil, "", ErrGone
	}
	wide := s.wide
	if wide == 0 {
		wide = 3
	}
	from = min(from, len(s.all))
	to := min(from+wide, len(s.all))
	return slices.Clone(s.all[from:to]), fmt.Sprintf("%d:%d", s.life, to), nil
}

func (s *shelf) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *shelf) has(id string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.all {
		if e.ID == id {
			n++
		}
	}
	return n
}

// read gives a number of the shelf.
func (s *shelf) read(n func() int) (got int) {
	s.set(func() { got = n() })
	return got
}

func (s *shelf) asked() int { return s.read(func() int { return s.asks }) }
func (s *shelf) told() int  { return s.read(func() int { return s.adds }) }
func (s *shelf) kept() int  { return s.read(func() int { return len(s.all) }) }

func byJTI(id string) Entry { return Entry{Issuer: "i", ID: id, Until: time.Now().Add(24 * time.Hour)} }

func voided(l *List, id string) bool { return l.Void(&Token{Issuer: "i", ID: id}) }

// node is a gateway: a list that follows the shelf.
func node(t *testing.T, s *shelf) (*List, *Follower) {
	l := New(Config{Grace: time.Minute})
	f := Follow(l, s, FollowConfig{})
	t.Cleanup(f.Close)
	return l, f
}

// revoke is what an admin does on a node.
func revokeOn(t *testing.T, l *List, f *Follower, e Entry) error {
	t.Helper()
	if err := l.Revoke(e, time.Now()); err != nil {
		t.Fatal(err)
	}
	return f.Add(t.Context(), e)
}

func TestFollowing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		for i := range 10 {
			s.all = append(s.all, byJTI(fmt.Sprint("before-", i)))
		}
		s.all = append(s.all, Entry{Issuer: "i"}, Entry{ID: "x"}) // make no sense
		la, fa := node(t, s)
		lb, _ := node(t, s)
		fa.Await(t.Context())
		if !la.Known(time.Now()) || la.Len() != 10 || s.told() != 0 {
			t.Fatalf("%d entries, %d told", la.Len(), s.told())
		}
		if err := revokeOn(t, la, fa, byJTI("1")); err != nil {
			t.Fatal(err)
		}
		if !voided(la, "1") || voided(lb, "1") {
			t.Error("at once here, not yet there")
		}
		time.Sleep(time.Second)
		if !voided(lb, "1") {
			t.Error("not there within a second")
		}
		time.Sleep(time.Hour)
		if s.has("1") != 1 || s.told() != 1 {
			t.Errorf("told %d times", s.told())
		}
		if looks := s.asked() / 2; looks < 3600 || looks > 4700 {
			t.Errorf("%d looks in an hour", looks)
		}
	})
}

// While the store is down the list is known for the grace; what is revoked meanwhile is told when the store is back.
func TestFollowingThroughAnOutage(t *testing.T) {
	for name, down := range map[string]func(*shelf, bool){
		"refuses": func(s *shelf, down bool) {
			if s.err = nil; down {
				s.err = errors.New("down")
			}
		},
		"hangs": func(s *shelf, down bool) { s.hangs = down },
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &shelf{}
			la, fa := node(t, s)
			lb, _ := node(t, s)
			synctest.Wait()
			s.set(func() { down(s, true) })
			began := time.Now()
			if err := revokeOn(t, la, fa, byJTI("1")); err == nil || time.Since(began) > usualPatience {
				t.Errorf("%s: %v after %v", name, err, time.Since(began))
			}
			time.Sleep(50 * time.Second)
			if !la.Known(time.Now()) || !lb.Known(time.Now()) || !voided(la, "1") || voided(lb, "1") {
				t.Errorf("%s: within the grace", name)
			}
			time.Sleep(15 * time.Second)
			if la.Known(time.Now()) || lb.Known(time.Now()) || !voided(la, "1") {
				t.Errorf("%s: beyond the grace", name)
			}
			s.set(func() { down(s, false) })
			time.Sleep(3*time.Second + 10*time.Millisecond)
			if !la.Known(time.Now()) || !lb.Known(time.Now()) || !voided(lb, "1") || s.has("1") != 1 {
				t.Errorf("%s: after it", name)
			}
		})
	}
}

// A glitch that only an Add met is healed soon, too.
func TestFailedAddIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{fails: 1}
		l, f := node(t, s)
		synctest.Wait()
		if revokeOn(t, l, f, byJTI("1")) == nil {
			t.Error("no glitch")
		}
		time.Sleep(usualEvery)
		if s.has("1") != 1 {
			t.Error("the others are not told")
		}
	})
}

// A store that is down at the start leaves the list unknown, and delays nobody.
func TestFollowingBeginsInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{hangs: true}
		l, f := node(t, s)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		f.Await(ctx)
		if l.Known(time.Now()) {
			t.Error("known though nobody answered")
		}
		s.set(func() { s.hangs = false })
		time.Sleep(3 * time.Second)
		if !l.Known(time.Now()) {
			t.Error("unknown though the store is up")
		}
		f.Close()
		f.Close()
	})
}

// A store that lost what it had is told again, by all who know.
func TestForgetfulStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		la, fa := node(t, s)
		lb, fb := node(t, s)
		subject := Entry{Issuer: "i", Subject: "bob", Before: time.Now(), Until: time.Now().Add(time.Hour)}
		session := Entry{Issuer: "i", Session: "s", Until: time.Now().Add(time.Hour)}
		if revokeOn(t, la, fa, byJTI("1")) != nil || revokeOn(t, lb, fb, subject) != nil || revokeOn(t, lb, fb, session) != nil {
			t.Fatal("down")
		}
		time.Sleep(2 * time.Second)
		s.set(func() { s.all, s.life = nil, 1 })
		time.Sleep(2 * time.Second)
		if s.has("1") == 0 {
			t.Error("nobody told it again")
		}
		lc, _ := node(t, s)
		synctest.Wait()
		if !voided(lc, "1") || !lc.Void(&Token{Issuer: "i", Subject: "bob", Issued: unix(time.Now()) - 10}) || !lc.Void(&Token{Issuer: "i", Session: "s"}) || lc.Len() != 3 {
			t.Error("a third node does not know all")
		}
		s.set(func() { s.all = s.all[:0:0] }) // lost in silence: its life is the same
		time.Sleep(usualWhole + 3*time.Second)
		if s.has("1") == 0 {
			t.Error("a loss in silence is never healed")
		}
		n := s.kept()
		time.Sleep(time.Hour)
		if s.kept() != n {
			t.Errorf("told %d times more", s.kept()-n)
		}
		time.Sleep(24 * time.Hour)
		s.set(func() { s.all, s.life = nil, 2 })
		time.Sleep(2 * time.Second)
		if s.kept() != 0 {
			t.Error("what is over is told again")
		}
	})
}

// To tell a store again what it lost does not keep a node from the news.
func TestMuchToTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{slow: 20 * time.Millisecond, wide: 500}
		l, f := node(t, s)
		for i := range 1000 { // twenty seconds of telling
			if err := l.Revoke(byJTI(fmt.Sprint(i)), time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		f.Await(t.Context())
		s.set(func() { s.life = 1 })
		time.Sleep(3 * time.Second)
		for range 10 {
			s.set(func() { s.all = append(s.all, byJTI("new")) })
			time.Sleep(3 * time.Second)
			if !voided(l, "new") {
				t.Fatal("the news wait")
			}
		}
		time.Sleep(30 * time.Second)
		if s.has("0") != 1 || s.has("999") != 1 || s.told() != 1000 {
			t.Errorf("told %d times", s.told())
		}
	})
}

// A list that has no room for all is not known: it can't say what was revoked. A store without room is no reason for that.
func TestFollowingWithoutRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{all: []Entry{byJTI("1"), byJTI("2"), byJTI("3")}}
		small := New(Config{Max: 2, Grace: time.Minute})
		f := Follow(small, s, FollowConfig{})
		defer f.Close()
		time.Sleep(time.Minute)
		if small.Known(time.Now()) {
			t.Error("a list that left an entry out is known")
		}
		if s.asked() > 20 {
			t.Errorf("everything was asked for %d times in a minute", s.asked())
		}
		s.set(func() { s.room = 3 })
		l, g := node(t, s)
		if err := revokeOn(t, l, g, byJTI("4")); !errors.Is(err, ErrFull) {
			t.Error(err)
		}
		time.Sleep(5 * time.Minute)
		if !l.Known(time.Now()) || !voided(l, "4") {
			t.Error("a full store makes the list unknown")
		}
	})
}

func TestAllGivesWhatIsAlive(t *testing.T) {
	l := New(Config{})
	want := []Entry{
		{Issuer: "i", ID: "1", Until: hour}, {Issuer: "i", Session: "s", Until: hour.Add(time.Microsecond)},
		{Issuer: "i", Subject: "bob", Before: now.Add(1234 * time.Microsecond), Until: hour},
	}
	revoked(t, l, append(want, Entry{Issuer: "i", ID: "over", Until: now.Add(time.Second)})...)
	all := l.All(now.Add(2 * time.Second))
	if len(all) != len(want) {
		t.Fatalf("%+v", all)
	}
	for _, e := range all {
		if !slices.ContainsFunc(want, func(w Entry) bool {
			return w.Issuer == e.Issuer && w.ID == e.ID && w.Session == e.Session && w.Subject == e.Subject && w.Before.Equal(e.Before) && w.Until.Equal(e.Until)
		}) {
			t.Errorf("%+v was never revoked so", e)
		}
	}
}
