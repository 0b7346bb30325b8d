package flags

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/units"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type readings chan error

func (r readings) FlagsRead(err error) { r <- err }

// set opens a file with this text; write replaces it and waits until that was noticed.
func set(t *testing.T, text string) (s *Set, write func(text string) error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "flags.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	heard := make(readings, 10)
	var log bytes.Buffer
	s, err := Open(Config{File: file, Refresh: units.Duration(5 * time.Millisecond)}, slog.New(slog.NewTextHandler(&locked{b: &log}, nil)), heard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, func(text string) error {
		next := file + ".new"
		if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, file); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-heard:
			return err
		case <-time.After(10 * time.Second):
			t.Fatal("nobody noticed")
			return nil
		}
	}
}

type locked struct {
	mu sync.Mutex
	b  *bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func count(s *Set, flag string) (n int) {
	for key := range uint64(10000) {
		if s.On(flag, key) {
			n++
		}
	}
	return n
}

func TestFlags(t *testing.T) {
	s, _ := set(t, "all: { on: true }\noff: { on: false, percent: 100 }\nsome: { on: true, percent: 25 }\nnone: { on: true, percent: 0 }\n")
	for flag, want := range map[string]int{"all": 10000, "off": 0, "none": 0, "unknown": 0} {
		if got := count(s, flag); got != want {
			t.Errorf("%s is on for %d of 10000", flag, got)
		}
	}
	if got := count(s, "some"); got < 2370 || got > 2630 {
		t.Errorf("25 %%: %d of 10000", got)
	}
	if !s.Has("off") || s.Has("unknown") {
		t.Error("Has")
	}
}

// A percentage that grows takes nobody back; the kill switch takes all.
func TestGrowthAndKillSwitch(t *testing.T) {
	s, write := set(t, "f: { on: true, percent: 10 }\n")
	var early []uint64
	for key := range uint64(10000) {
		if s.On("f", key) {
			early = append(early, key)
		}
	}
	if err := write("f: { on: true, percent: 50 }\n"); err != nil {
		t.Fatal(err)
	}
	for _, key := range early {
		if !s.On("f", key) {
			t.Fatal("a client lost the feature when its share grew")
		}
	}
	if err := write("f: { on: false }\n"); err != nil || count(s, "f") > 0 {
		t.Errorf("%v: still on for %d", err, count(s, "f"))
	}
}

// A bad file changes nothing, and says why.
func TestBadFilesChangeNothing(t *testing.T) {
	s, write := set(t, "f: { on: true }\n")
	for _, bad := range []string{"f: [", "f: { on: true, percnt: 3 }\n", "f: { on: true, percent: 101 }\n", "f: { on: true, percent: -1 }\n", "f: { on: true, percent: .nan }\n", "f: 1\n", "", "\n", "f: { on: 1 }\nf: { on: false }\n"} {
		if err := write(bad); err == nil || !s.On("f", 1) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := write("g: { on: true }\n"); err != nil || s.On("f", 1) || !s.On("g", 1) {
		t.Errorf("%v: it does not come back", err)
	}
}

func TestOpenFails(t *testing.T) {
	if _, err := Open(Config{File: "/none/flags.yaml"}, slog.New(slog.DiscardHandler), nil); err == nil || !strings.Contains(err.Error(), "/none/flags.yaml") {
		t.Errorf("%v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("a: { on: true, percent: 2.5 }\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) < 4096 {
			_, _ = Parse(text)
		}
	})
}
