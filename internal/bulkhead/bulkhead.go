// Package bulkhead bounds the calls that one upstream has at once, so that a slow one can't take all that the process has.
//
// It promises: there are never more calls at once than set; a place is given back with the answer's last byte, whatever
// becomes of the call; no more wait than the queue holds, none longer than set or than the deadline, and who waits is served
// newest first, since the oldest has most likely been given up by its client. It does not know why a call is slow, and does
// not count its own refusals against the upstream. It has no store that could fail; each process counts for itself.
package bulkhead

import (
	"context"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// look is how often a waiting call looks whether its client left.
const look = 50 * time.Millisecond

// Bulkhead counts the calls of one upstream, for any number of goroutines. It outlives reloads.
type Bulkhead struct {
	mu       sync.Mutex
	inFlight int
	waiting  []*waiter // newest last
	gradient gradient
	refused  uint64
}

type waiter struct{ place chan struct{} } // of capacity 1

// New makes an empty bulkhead.
func New() *Bulkhead { return &Bulkhead{} }

// Snapshot is a bulkhead for people and metrics.
type Snapshot struct {
	InFlight, Waiting int
	Learned           int    // what adaptive has found; 0: nothing yet
	Refused           uint64 // since the process began
}

// Snapshot shows the bulkhead.
func (b *Bulkhead) Snapshot() Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Snapshot{b.inFlight, len(b.waiting), int(b.gradient.bound), b.refused}
}

func (b *Bulkhead) limit(s *Settings) int {
	if s.Enforce {
		return b.gradient.limit(s)
	}
	return s.InFlight
}

// acquire takes a place, or refuses with pipeline.Overloaded or pipeline.ClientGone.
func (b *Bulkhead) acquire(ctx context.Context, x *pipeline.Exchange, s *Settings) error {
	b.mu.Lock()
	if b.inFlight < b.limit(s) {
		b.inFlight++
		b.mu.Unlock()
		return nil
	}
	wait, _ := x.Remaining(time.Now(), s.Wait)
	if len(b.waiting) >= s.Queue || wait <= 0 {
		b.refused++
		b.mu.Unlock()
		return pipeline.Overloaded
	}
	w := &waiter{place: make(chan struct{}, 1)}
	b.waiting = append(b.waiting, w)
	b.mu.Unlock()
	return b.await(ctx, x, w, wait)
}

func (b *Bulkhead) await(ctx context.Context, x *pipeline.Exchange, w *waiter, wait time.Duration) error {
	end := time.NewTimer(wait)
	defer end.Stop()
	tick := time.NewTicker(look)
	defer tick.Stop()
	var err error
	for err == nil {
		select {
		case <-w.place:
			return nil
		case <-end.C:
			err = pipeline.Overloaded
		case <-ctx.Done():
			err = pipeline.Draining
		case <-tick.C:
			if !x.Keyed && x.Gone() {
				err = pipeline.ClientGone
			}
		}
	}
	if !b.leave(w, err == pipeline.Overloaded) {
		return nil // the place came at the same instant
	}
	return err
}

// leave takes a waiter out; false when it has been given a place already.
func (b *Bulkhead) leave(w *waiter, refused bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, one := range b.waiting {
		if one == w {
			b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
			if refused {
				b.refused++
			}
			return true
		}
	}
	return false
}

// release gives a place back, to the newest who waits.
func (b *Bulkhead) release(s *Settings) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inFlight--
	for len(b.waiting) > 0 && b.inFlight < b.limit(s) {
		last := len(b.waiting) - 1
		w := b.waiting[last]
		b.waiting[last] = nil
		b.waiting = b.waiting[:last]
		b.inFlight++
		w.place <- struct{}{}
	}
}

// learn tells the time of a good call to its answer's head.
func (b *Bulkhead) learn(s *Settings, took time.Duration, now time.Time) {
	if !s.Learn {
		return
	}
	b.mu.Lock()
	b.gradient.learn(s, took, b.inFlight, now)
	b.mu.Unlock()
}
