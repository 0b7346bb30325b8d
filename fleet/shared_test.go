package fleet

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var shared struct {
	once    sync.Once
	missing string // why the shared tier can't be measured
}

// needShared skips a test while this gateway can't share limits, and fails it when ONCEGATE_FLEET asks for it.
func needShared(t *testing.T) {
	t.Helper()
	shared.once.Do(func() { shared.missing = sharedMissing(t) })
	switch {
	case shared.missing == "":
	case os.Getenv("ONCEGATE_FLEET") != "":
		t.Fatal("this gateway does not share limits: ", shared.missing)
	default:
		t.Skip("this gateway does not share limits: ", shared.missing)
	}
}

// sharedMissing asks the gateway: it must take scope: shared, and a request must reach Redis.
func sharedMissing(t *testing.T) string {
	store := Single(t, false)
	d := Document{Shared: true, Limits: AccuracyLimits[:1]}
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	text := d.text("127.0.0.1:1", "127.0.0.1:2", file+".data", store.Redis(), "http://127.0.0.1:3")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(binary(t), "check", "-config", file).CombinedOutput(); err != nil {
		return strings.TrimSpace(string(out))
	}
	f := Open(t, binary(t), 1, store, d)
	f.Send(t.Context(), Burst(0, 3, 1, 0, 0))
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if store.Scripts() > 0 {
			return ""
		}
	}
	return "the document is taken, but Redis is never asked"
}

// within bounds a whole load, generously: it ends by itself.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d+30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// seed differs from run to run; ONCEGATE_FLEET_SEED repeats one.
func seed(t *testing.T) uint64 {
	t.Helper()
	n := uint64(time.Now().UnixNano())
	if s := os.Getenv("ONCEGATE_FLEET_SEED"); s != "" {
		if _, err := fmt.Sscan(s, &n); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("ONCEGATE_FLEET_SEED=%d", n)
	return n
}

// fairly plays up to three times until nothing is missed. Misses count when the machine was calm, or when no machine explains
// them: twice is a fault. A machine that never is calm proves nothing else, and the log says so.
func fairly(t *testing.T, what string, play func(try uint64) (misses []string, busy float64)) {
	t.Helper()
	calm := 0
	for try := range uint64(3) {
		misses, busy := play(try)
		if len(misses) == 0 {
			return
		}
		t.Logf("%s, try %d, machine busy %.1f %%: %s", what, try+1, 100*busy, strings.Join(misses, "; "))
		if text := strings.Join(misses, "; "); busy <= Calm || strings.Contains(text, Grossly) || strings.Contains(text, "status") || strings.Contains(text, "Retry-After") {
			calm++
		}
		if calm == 2 {
			t.Errorf("%s: %s", what, strings.Join(misses, "; "))
			return
		}
	}
	t.Logf("%s: NOT JUDGED, the machine is too busy", what)
}
