//go:build failpoint

package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Enabled tells whether failpoints are built in.
const Enabled = true

// armed is read once: where to end, and after how many visits.
var armed, left = parse(os.Getenv("ONCEGATE_FAILPOINT"))

func parse(s string) (string, *atomic.Int64) {
	place, times, _ := strings.Cut(s, "@")
	n, err := strconv.ParseInt(times, 10, 64)
	if err != nil {
		n = 1
	}
	var left atomic.Int64
	left.Store(n)
	return place, &left
}

// Hit ends the process with SIGKILL when the place is armed and was visited often enough.
func Hit(place string) {
	if Due(place) {
		Kill()
	}
}

// Due counts a visit and tells whether it is the one; the caller prepares its half-done work and calls Kill.
func Due(place string) bool { return place == armed && left.Add(-1) == 0 }

// Kill ends the process as kill -9 would: no deferred call runs, no buffer is flushed.
func Kill() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
