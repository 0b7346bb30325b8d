package spool

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/answer"
	"github.com/oncegate/oncegate/internal/dedup/record"
)

func open(t *testing.T, dir string, opts Options) *Spool {
	t.Helper()
	opts.LockWait = -1
	s, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func entry(n byte, answer string) Entry {
	e := Entry{
		Key: record.Key{n}, Token: record.Token{n, 1}, At: time.Unix(1_700_000_000, int64(n)),
		Result: record.Result{
			State: record.Completed, Fingerprint: record.Fingerprint{n, 2}, Subject: record.Subject{n, 3}, Route: "orders", Status: 201,
			RequestID: "id", Location: "/orders/1", KeepAnswer: time.Hour, KeepKey: 3 * time.Hour,
		},
	}
	if answer != "" {
		e.Result.Answer = []byte(answer)
	}
	return e
}

func put(t *testing.T, s *Spool, e Entry) {
	t.Helper()
	if err := s.Put(e); err != nil {
		t.Fatal(err)
	}
}

// holds checks what the spool holds, and that its sums are those of the disk.
func holds(t *testing.T, s *Spool, want ...Entry) {
	t.Helper()
	got := map[record.Key]Entry{}
	if err := s.All(func(e Entry) bool { got[e.Key] = e; return true }); err != nil {
		t.Error(err)
	}
	for _, w := range want {
		if g := got[w.Key]; !same(g, w) {
			t.Errorf("%x: got %+v\nwant %+v", w.Key[:1], g, w)
		}
	}
	files, size := onDisk(t, s.dir, suffix)
	if len(got) != len(want) || s.Len() != len(want) || len(files) != len(want) || s.Bytes() != size {
		t.Errorf("%d given, Len %d, %d files; want %d. Bytes %d, on disk %d", len(got), s.Len(), len(files), len(want), s.Bytes(), size)
	}
	if temps, _ := onDisk(t, s.dir, tempSuffix); len(temps) != 0 {
		t.Errorf("half written: %q", temps)
	}
}

func same(a, b Entry) bool {
	at := a.At.Equal(b.At)
	a.At, b.At = time.Time{}, time.Time{}
	return at && reflect.DeepEqual(a, b)
}

func onDisk(t *testing.T, dir, end string) (names []string, size int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), end) {
			info, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			names, size = append(names, e.Name()), size+info.Size()
		}
	}
	return names, size
}

func TestPutDeleteAll(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	holds(t, s)
	sealed := entry(2, "")
	sealed.Result.State = record.Sealed
	unknown := Entry{Key: record.Key{3}, At: time.Unix(0, 0), Result: record.Result{State: record.Unknown}}
	put(t, s, entry(1, "one"))
	put(t, s, sealed)
	put(t, s, unknown)
	holds(t, s, entry(1, "one"), sealed, unknown)

	var b answer.Builder // of a gRPC call
	b.Begin(200)
	b.Trailer([]byte("Grpc-Status"), []byte("9"))
	call := string(b.End([]byte("\x00\x00\x00\x00\x01m")))
	put(t, s, entry(4, call))
	holds(t, s, entry(1, "one"), sealed, unknown, entry(4, call))
	if err := s.Delete(entry(4, "")); err != nil {
		t.Error(err)
	}

	put(t, s, entry(1, "another, longer")) // of the same attempt
	holds(t, s, entry(1, "another, longer"), sealed, unknown)
	other := entry(1, "of another attempt")
	other.Token[15]++
	other.Key = record.Key{9}
	put(t, s, other)

	for range 2 {
		if err := s.Delete(Entry{Key: sealed.Key, Token: sealed.Token}); err != nil {
			t.Error(err)
		}
	}
	holds(t, s, entry(1, "another, longer"), unknown, other)
	n := 0
	if err := s.All(func(Entry) bool { n++; return false }); err != nil || n != 1 {
		t.Errorf("All went on after false: %d, %v", n, err)
	}
}

func TestAttemptsOfOneKeyAreApart(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	a, b := entry(1, "a"), entry(1, "b")
	b.Token[0]++
	put(t, s, a)
	put(t, s, b)
	if s.Len() != 2 {
		t.Errorf("%d entries", s.Len())
	}
}

func TestAllLetsItsCallerDelete(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	for n := range byte(20) {
		put(t, s, entry(n, "x"))
	}
	if err := s.All(func(e Entry) bool { return s.Delete(e) == nil }); err != nil {
		t.Error(err)
	}
	holds(t, s)
}

func TestPutRefusesWhatIsNoResult(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	for _, r := range []record.Result{{}, {State: record.InFlight}, {State: 99}, {State: record.Sealed, Status: -1}, {State: record.Sealed, Status: 1 << 16}} {
		if err := s.Put(Entry{Result: r}); err == nil {
			t.Errorf("%+v is taken", r)
		}
	}
	holds(t, s)
}

func TestBounds(t *testing.T) {
	s := open(t, t.TempDir(), Options{MaxEntries: 2})
	put(t, s, entry(1, "one"))
	put(t, s, entry(2, "two"))
	if err := s.Put(entry(3, "three")); !errors.Is(err, ErrFull) {
		t.Errorf("a third of two: %v", err)
	}
	put(t, s, entry(2, "again")) // replacing takes no room
	holds(t, s, entry(1, "one"), entry(2, "again"))
	if err := s.Delete(entry(1, "")); err != nil {
		t.Error(err)
	}
	put(t, s, entry(3, "three"))

	one, _ := entry(1, strings.Repeat("x", 1000)).encode()
	s = open(t, t.TempDir(), Options{MaxBytes: 2 * int64(len(one))})
	put(t, s, entry(1, strings.Repeat("x", 1000)))
	put(t, s, entry(2, strings.Repeat("y", 1000)))
	if err := s.Put(entry(3, "")); !errors.Is(err, ErrFull) {
		t.Errorf("bytes: %v", err)
	}
	if err := s.Put(entry(2, strings.Repeat("y", 1001))); !errors.Is(err, ErrFull) {
		t.Errorf("a longer one in the place of another: %v", err)
	}
	holds(t, s, entry(1, strings.Repeat("x", 1000)), entry(2, strings.Repeat("y", 1000)))
	put(t, s, entry(2, ""))
	put(t, s, entry(3, ""))
}

func TestReopenCountsWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	put(t, s, entry(1, "one"))
	put(t, s, entry(2, "two"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{MaxEntries: 1}) // a lower bound loses nothing
	holds(t, s, entry(1, "one"), entry(2, "two"))
	if err := s.Put(entry(3, "")); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
}

func TestClosed(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	put(t, s, entry(1, "one"))
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, err := range []error{s.Put(entry(2, "")), s.Delete(entry(1, "")), s.All(func(Entry) bool { return true })} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
}

// closing is a log that closes the channel at its first line.
type closing chan struct{}

func (c closing) Write(b []byte) (int, error) {
	close(c)
	return len(b), nil
}

func TestOneProcessOnly(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir, Options{})
	if _, err := Open(dir, Options{LockWait: -1}); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("a second one: %v", err)
	}
	waits, said := make(chan *Spool), make(chan struct{})
	log := slog.New(slog.NewTextHandler(closing(said), nil))
	go func() {
		s, err := Open(dir, Options{LockWait: time.Minute, Log: log})
		if err != nil {
			t.Error(err)
		}
		waits <- s
	}()
	<-said // that it waits
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	s := <-waits
	holds(t, s)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestOnlyItsOwnerReadsIt(t *testing.T) {
	for _, made := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "a", "spool")
		if made {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		s := open(t, dir, Options{})
		put(t, s, entry(1, "one"))
		for path, want := range map[string]fs.FileMode{dir: 0o700, filepath.Join(dir, entry(1, "").name()): 0o600, filepath.Join(dir, lockFile): 0o600} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v, %v", path, info.Mode(), err)
			}
		}
	}
}

func TestConcurrently(t *testing.T) {
	s := open(t, t.TempDir(), Options{MaxEntries: 20})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range byte(12) {
				mine := entry(n+20*byte(i%4), strings.Repeat("z", int(n)*i)) // two goroutines on the same names
				if err := s.Put(mine); err != nil && !errors.Is(err, ErrFull) {
					t.Error(err)
				}
				if err := s.All(func(Entry) bool { return n%2 == 0 }); err != nil {
					t.Error(err)
				}
				if n%3 != 0 {
					if err := s.Delete(mine); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	var left []Entry
	if err := s.All(func(e Entry) bool { left = append(left, e); return true }); err != nil {
		t.Error(err)
	}
	holds(t, s, left...)
	if s.Len() > 20 {
		t.Errorf("%d entries, more than 20", s.Len())
	}
}

func BenchmarkPut(b *testing.B) {
	s, err := Open(b.TempDir(), Options{MaxEntries: 1 << 30, MaxBytes: 1 << 40})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	var n atomic.Uint32
	b.SetParallelism(32) // 64 writers on 2 cores
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			e := entry(1, strings.Repeat("x", 2048))
			binary.BigEndian.PutUint32(e.Token[:], n.Add(1))
			if err := s.Put(e); err != nil {
				b.Error(err)
			}
		}
	})
}
