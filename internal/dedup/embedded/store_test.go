package embedded

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/dedup/storetest"
)

func TestMain(m *testing.M) {
	switch os.Getenv("EMBEDDED_TEST_CHILD") {
	case "write":
		childWrites(os.Getenv("EMBEDDED_TEST_PATH"))
	case "hold":
		childHolds(os.Getenv("EMBEDDED_TEST_PATH"))
	case "fail":
		childFails(os.Getenv("EMBEDDED_TEST_PATH"))
	default:
		goleak.VerifyTestMain(m)
	}
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newClock() *clock { return &clock{now: time.Unix(1_700_000_000, 0)} }

// open opens a store for a test: little to wait for, nothing held back.
func open(t testing.TB, path string, opts Options) *Store {
	t.Helper()
	opts.Ballast, opts.LockWait = -1, -1
	s, err := Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		c := newClock()
		return storetest.Subject{Store: open(t, t.TempDir(), Options{now: c.Now}), Advance: c.Advance}
	})
}

// key makes one that spreads over the stripes as a hash does.
func key(n int) record.Key { return record.Key{byte(n * 37), byte(n >> 8), byte(n)} }

func token(n int) record.Token { return record.Token{1, byte(n >> 8), byte(n)} }

func begin(t testing.TB, s *Store, n int, tok record.Token) record.Found {
	t.Helper()
	f, err := s.Begin(context.Background(), key(n), record.Claim{Token: tok, Lease: time.Minute, KeepKey: 3 * time.Hour, Grant: true})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func finish(t testing.TB, s *Store, n int, state record.State) {
	t.Helper()
	r := record.Result{State: state, Status: 200, Answer: []byte("answer"), KeepAnswer: time.Hour, KeepKey: 3 * time.Hour}
	if o, err := s.Finish(context.Background(), key(n), token(n), r); err != nil || o != record.Stored {
		t.Fatalf("%s, %v", o, err)
	}
}

func TestReopenKeepsRecordsAndOrphansClaims(t *testing.T) {
	path, c := t.TempDir(), newClock()
	first := open(t, path, Options{now: c.Now})
	for n := range 4 {
		begin(t, first, n, token(n))
	}
	finish(t, first, 0, record.Completed)
	finish(t, first, 1, record.Sealed)
	finish(t, first, 2, record.Unknown)
	secret, _ := first.Secret(t.Context())
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}

	second := open(t, path, Options{now: c.Now})
	if again, _ := second.Secret(t.Context()); again != secret || secret == ([32]byte{}) {
		t.Error("the secret is another one: no record will be found again")
	}
	for n, want := range []record.Verdict{record.Replay, record.NotKept, record.Undetermined, record.Undetermined} {
		if got := begin(t, second, n, record.Token{9}).Verdict; got != want {
			t.Errorf("record %d: %s, want %s", n, got, want)
		}
	}
	finish(t, second, 3, record.Completed) // a late truth still finds its token
	if n := count(t, second, openPrefix); n != 1 {
		t.Errorf("%d open entries; only the one that ended unknown is open", n)
	}
}

func TestClosedRefuses(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, begun := s.Begin(context.Background(), key(1), record.Claim{})
	_, finished := s.Finish(context.Background(), key(1), token(1), record.Result{})
	_, released := s.Release(context.Background(), key(1), token(1))
	_, swept := s.Sweep(context.Background())
	_, renewed := s.Renew(context.Background(), key(1), token(1), time.Minute)
	_, looked := s.Look(context.Background(), key(1))
	_, resolved := s.Resolve(context.Background(), key(1), token(1), record.Resolution{})
	_, erased := s.Erase(context.Background(), record.Subject{})
	opened := s.Open(context.Background(), nil)
	for _, err := range []error{begun, finished, released, swept, renewed, looked, resolved, erased, opened} {
		if !errors.Is(err, dedup.ErrRefused) {
			t.Errorf("after Close: %v", err)
		}
	}
}

func TestWaitingForARecordHasABound(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	s.stripe(key(1)) <- struct{}{} // somebody writes, and his disk hangs
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err := s.Begin(ctx, key(1), record.Claim{Grant: true})
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, dedup.ErrRefused) {
		t.Errorf("got %v", err)
	}
	<-s.stripe(key(1))
}

func TestEdge26FullDiskRefusesClaimsButFinishes(t *testing.T) {
	free, at := int64(1000), int64(1000)
	s := open(t, t.TempDir(), Options{MinFree: at, free: func(string) (int64, error) { return free, nil }})
	begin(t, s, 1, token(1))
	begin(t, s, 2, token(2))
	free = at - 1
	claim := record.Claim{Token: record.Token{9}, Lease: time.Minute, KeepKey: time.Hour, Grant: true}
	if _, err := s.Begin(context.Background(), key(3), claim); !errors.Is(err, dedup.ErrRefused) {
		t.Errorf("a claim on a full disk: %v", err)
	}
	finish(t, s, 1, record.Completed)
	if f := begin(t, s, 1, record.Token{9}); f.Verdict != record.Replay {
		t.Errorf("a replay on a full disk: %s", f.Verdict)
	}
	if ok, err := s.Release(context.Background(), key(2), token(2)); err != nil || !ok {
		t.Errorf("a release on a full disk: %v, %v", ok, err)
	}
	free = at
	if f := begin(t, s, 3, token(3)); f.Verdict != record.Acquired {
		t.Errorf("with room again: %s", f.Verdict)
	}
	s.opts.free = func(string) (int64, error) { return 0, os.ErrPermission }
	if _, err := s.Begin(context.Background(), key(4), claim); !errors.Is(err, dedup.ErrRefused) {
		t.Errorf("when nobody knows how much is free: %v", err)
	}
}

func TestCorruptRecordIsNeverExecuted(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	if err := s.db.Set(recordKey(key(1)), []byte("garbage"), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	f, err := s.Begin(context.Background(), key(1), record.Claim{Token: token(1), Lease: time.Minute, KeepKey: time.Hour, Grant: true})
	if !errors.Is(err, record.ErrCorrupt) || f.Verdict == record.Acquired {
		t.Errorf("%s, %v", f.Verdict, err)
	}
}

func TestBallastGoesWhenTheDiskIsFull(t *testing.T) {
	path := t.TempDir()
	s, err := Open(path, Options{Ballast: 1 << 20, MinFree: 1, LockWait: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	file := filepath.Join(path, "BALLAST")
	if st, err := os.Stat(file); err != nil || st.Size() != 1<<20 {
		probe, made := os.Create(filepath.Join(path, "probe"))
		if made != nil {
			t.Fatal(made)
		}
		defer probe.Close()
		if kept := unix.Fallocate(int(probe.Fd()), 0, 0, 4096); kept == unix.EOPNOTSUPP {
			t.Skip("this file system has no fallocate")
		}
		t.Fatalf("no ballast: %v", err)
	}
	newBallast(path, Options{Ballast: -1, Log: s.opts.Log}).release()
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the ballast is still there: %v", err)
	}
}

func TestNoBallastOnADiskThatIsNearlyFull(t *testing.T) {
	path := t.TempDir()
	s, err := Open(path, Options{Ballast: 1 << 20, MinFree: 10, LockWait: -1, free: func(string) (int64, error) { return 1 << 20, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := os.Stat(filepath.Join(path, "BALLAST")); !os.IsNotExist(err) {
		t.Errorf("a ballast took the last room: %v", err)
	}
}

func TestRealDiskHasFreeBytes(t *testing.T) {
	if free, err := freeBytes(t.TempDir()); err != nil || free <= 0 {
		t.Errorf("%d, %v", free, err)
	}
}
