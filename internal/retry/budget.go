package retry

import (
	"sync"
	"time"
)

const (
	seconds = 10 // how far back a budget looks
)

// Budget bounds the retries and hedges of one upstream to a share of its calls, so that a failing upstream is not met with a
// storm: over the last ten seconds at most calls x share, or floor a second (Finagle's RetryBudget has the same two parts). It
// belongs to the upstream, outlives reloads, and is for any number of goroutines.
type Budget struct {
	mu     sync.Mutex
	origin time.Time
	at     int64 // second of the running part since the origin
	parts  [seconds]spent
	sum    spent
}

type spent struct{ calls, retries int }

// NewBudget makes an unspent budget.
func NewBudget() *Budget { return &Budget{} }

// Call counts a call that was asked for by a client.
func (b *Budget) Call(now time.Time) {
	b.mu.Lock()
	b.advance(now)
	b.parts[b.at%seconds].calls++
	b.sum.calls++
	b.mu.Unlock()
}

// Take spends one retry when there is one left.
func (b *Budget) Take(share float64, floor int, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.advance(now)
	part := &b.parts[b.at%seconds]
	if float64(b.sum.retries+1) > share*float64(b.sum.calls) && part.retries >= floor {
		return false
	}
	part.retries++
	b.sum.retries++
	return true
}

// Spent tells the calls and the retries of the last ten seconds.
func (b *Budget) Spent(now time.Time) (calls, retries int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.advance(now)
	return b.sum.calls, b.sum.retries
}

func (b *Budget) advance(now time.Time) {
	if b.origin.IsZero() {
		b.origin = now
	}
	at := int64(now.Sub(b.origin) / time.Second)
	for gone := 0; b.at < at && gone < seconds; gone++ {
		b.at++
		part := &b.parts[b.at%seconds]
		b.sum.calls -= part.calls
		b.sum.retries -= part.retries
		*part = spent{}
	}
	b.at = max(b.at, at)
}
