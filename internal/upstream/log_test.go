package upstream

import (
	"bytes"
	"log/slog"
	"sync"
	"testing"
	"time"
)

// logged collects a log while the test reads it.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(p) }
func (l *logged) String() string              { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

func newLoggedRig(t testing.TB, cfg Config, log *logged) *rig {
	t.Helper()
	r := &rig{pools: NewPools(slog.New(slog.NewJSONHandler(log, nil))), rec: &recorder{}}
	t.Cleanup(r.pools.Close)
	u, err := New("orders", cfg, r.pools, r.rec)
	if err != nil {
		t.Fatal(err)
	}
	FirstLook(t.Context(), []*Upstream{u})
	r.Upstream = u
	return r.live()
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 15 s", what)
		}
	}
}
