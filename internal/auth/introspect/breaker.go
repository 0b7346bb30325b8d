package introspect

import (
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	tolerated  = 3 // failures in a row
	firstPause = time.Second
	lastPause  = 30 * time.Second
)

// breaker leaves a failing server in peace: after three failures in a row for a second, then for twice as long each time, up
// to thirty seconds. Then one question at a time is let through until one is answered.
type breaker struct {
	mu       sync.Mutex
	failures int // in a row
	pauses   int // in a row
	until    time.Time
	probing  bool
}

func (b *breaker) admits(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures < tolerated {
		return true
	}
	if now.Before(b.until) || b.probing {
		return false
	}
	b.probing = true
	return true
}

// reports tells how a question ended. Those that were under way together fail together: they make one pause.
func (b *breaker) reports(now time.Time, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
	var question refused
	if err == nil || errors.As(err, &question) {
		b.failures, b.pauses = 0, 0
		return
	}
	if b.failures++; b.failures < tolerated || now.Before(b.until) {
		return
	}
	b.until = now.Add(pause(b.pauses))
	b.pauses++
}

// forgets is called for a question that was never sent.
func (b *breaker) forgets() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
}

// pause is up to a quarter shorter, so that a fleet does not knock in step.
func pause(before int) time.Duration {
	full := min(firstPause<<min(before, 10), lastPause)
	return full - time.Duration(rand.Float64()*0.25*float64(full))
}

func (b *breaker) retryAfter(now time.Time) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	wait := b.until.Sub(now)
	return int(min(max((wait+time.Second-1)/time.Second, 1), 30))
}
