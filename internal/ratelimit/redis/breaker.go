package redis

import (
	"sync"
	"time"
)

// breaker tells when a server is not to be asked: after 3 failures in a row, or when half of at least 20 round trips of a second
// failed. Round trips that were under way when another one failed are of the same row's entry: one hiccup is one failure, however
// many pipelines it meets. It closes after some good probes.
type breaker struct {
	mu     sync.Mutex
	open   bool
	row    int       // failures in a row
	last   time.Time // one
	good   int       // probes in a row
	since  time.Time
	calls  int
	failed int
}

const (
	rowLimit  = 3
	leastSeen = 20
	spell     = time.Second
)

// record counts a round trip that was sent while the breaker was closed, and tells whether it opens now.
func (b *breaker) record(ok bool, began, now time.Time) (opens bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open {
		return false
	}
	if now.Sub(b.since) >= spell {
		b.since, b.calls, b.failed = now, 0, 0
	}
	b.calls++
	switch {
	case ok:
		b.row = 0
	case began.Before(b.last):
		b.failed++
	default:
		b.row, b.last = b.row+1, now
		b.failed++
	}
	b.open = b.row >= rowLimit || b.calls >= leastSeen && 2*b.failed >= b.calls
	b.good = 0
	return b.open
}

// probed counts a probe, and tells whether the breaker closes now.
func (b *breaker) probed(ok bool) (closes bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return false
	}
	b.good++
	if !ok {
		b.good = 0
	}
	if b.good < goodProbes {
		return false
	}
	b.open, b.row, b.calls, b.failed = false, 0, 0, 0
	return true
}

func (b *breaker) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open
}

// halfway tells that a probe was good.
func (b *breaker) halfway() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.good > 0
}
