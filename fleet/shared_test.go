package fleet

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

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
