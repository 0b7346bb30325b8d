package dedup

import (
	"fmt"
	"testing"
	"time"
)

// TestWarnedRoutesAreBounded: reloads may rename routes for ever.
func TestWarnedRoutesAreBounded(t *testing.T) {
	var w warned
	now := time.Now()
	for i := range 3 * warnMost {
		if !w.due(fmt.Sprint(i), now) {
			t.Fatalf("route %d is not warned of", i)
		}
	}
	if w.due(fmt.Sprint(3*warnMost-1), now.Add(warnEvery-1)) {
		t.Error("warned twice in a minute")
	}
	if n := len(w.at); n > warnMost {
		t.Errorf("%d routes are remembered", n)
	}
}
