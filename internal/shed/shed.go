// Package shed refuses requests of this process when it has too much to do, the least important first.
//
// It promises: of a class of priority never more requests are let in than its share of the bound has room for, in exact
// numbers; each place is given back once, whatever became of the request; a refused request reached nothing. in_flight
// counts requests from admission to the last byte. The learned bound counts those that wait for their answer's head, which
// are the ones that latency speaks of: thousands of quiet streams don't close the door. It does not promise a place to
// anybody, it does not queue, it knows nothing of other processes, and it judges the process, not an upstream: that one of
// several upstreams is slow is for its breaker and its connection cap. It has no store that could fail.
//
// There is no signal of its own for queueing inside the process: a goroutine that is not run in time reads its answer late,
// so that delay is part of the latency that is measured.
package shed

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Recorder hears what happens. Shed must be quick; Bound is called under a lock and must not call back.
type Recorder interface {
	Shed(priority string) // a request was refused; the word is one of the four constants
	Bound(requests int)   // the learned bound, at first and when it changes
}

type silent struct{}

func (silent) Shed(string) {}
func (silent) Bound(int)   {}

// Shedder counts the requests of the process and learns its bound. It outlives reloads and serves any number of goroutines.
type Shedder struct {
	rec    Recorder
	origin time.Time

	gate    gate
	bound   atomic.Uint32 // the learned bound in force, a probe's during a probe; 0: nothing learns
	until   atomic.Int64  // nanoseconds since origin: when the window may close
	refused atomic.Bool   // the learned bound refused somebody in this window

	mu       sync.Mutex
	learner  learner
	profiles map[string]*profile
}

// New makes a shedder in which nothing is in flight. rec may be nil.
func New(rec Recorder) *Shedder {
	if rec == nil {
		rec = silent{}
	}
	return &Shedder{rec: rec, origin: time.Now(), profiles: make(map[string]*profile)}
}

// Snapshot is the shedder for people.
type Snapshot struct {
	InFlight int  // from admission to the last byte
	Waiting  int  // of those, without their answer's head; only counted on routes that learn
	Bound    int  // the learned bound in force; 0: none
	Probing  bool // the bound is lowered for a moment to see whether latencies fall with it
}

// Snapshot shows the shedder now.
func (s *Shedder) Snapshot() Snapshot {
	s.mu.Lock()
	probing := s.learner.phase != idle
	s.mu.Unlock()
	inFlight, waiting := s.gate.counts()
	return Snapshot{InFlight: int(inFlight), Waiting: int(waiting), Bound: int(s.bound.Load()), Probing: probing}
}

// begin has a bound learned from here on. What was learned under an earlier configuration stays.
func (s *Shedder) begin(ceiling float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.learner.bound == 0 {
		now := time.Since(s.origin)
		s.learner.begin(ceiling, now)
		s.until.Store(int64(now + minWindow))
	}
	s.publish(ceiling)
}

// publish puts the learner's bound in force.
func (s *Shedder) publish(ceiling float64) {
	n := room(min(s.learner.inForce(), ceiling), 1)
	if s.bound.Swap(n) != n {
		s.rec.Bound(int(n))
	}
}

// tick closes the window if it is over at now. It costs one load when it is not; no goroutine is needed, since without
// requests there is nothing to learn.
func (s *Shedder) tick(now time.Time, ceiling float64) {
	at := now.Sub(s.origin)
	if int64(at) < s.until.Load() || !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	if int64(at) < s.until.Load() {
		return
	}
	if !s.learner.complete(s.learner.collect(s.profiles), at) {
		s.until.Store(int64(at + minWindow/4))
		return
	}
	_, waiting := s.gate.counts()
	w := window{at: at, peak: float64(s.gate.peak.Swap(waiting)), left: float64(waiting), refused: s.refused.Swap(false)}
	s.learner.step(w, ceiling, s.profiles)
	s.publish(ceiling)
	s.until.Store(int64(at + s.learner.length()))
}

// gate counts in one word, so that both counts are compared and changed as one.
type gate struct {
	_    [64]byte
	word atomic.Uint64 // upper half: in flight; lower half: of those, waiting for the answer's head
	_    [56]byte
	peak atomic.Uint32 // of waiting in this window; read by all, written when it rises
	_    [60]byte
}

const (
	oneInFlight = 1 << 32
	oneWaiting  = 1
	noBound     = math.MaxUint32
)

// verdict is what the gate says.
type verdict uint8

const (
	admitted verdict = iota
	full             // in_flight is reached
	slow             // the learned bound is reached
)

// enter lets one more in while there are fewer than all in flight and fewer than most waiting. A refused request writes
// nothing: a storm of them does not slow down those that are let in.
func (g *gate) enter(all, most uint32, as uint64) (verdict, uint32) {
	for {
		w := g.word.Load()
		switch {
		case uint32(w>>32) >= all:
			return full, 0
		case uint32(w) >= most:
			return slow, 0
		case g.word.CompareAndSwap(w, w+as):
			return admitted, uint32(w + as)
		}
	}
}

// risen notes the highest number of waiting requests. One that another overwrites at the same moment is missed by one or
// two, which is nothing to an average.
func (g *gate) risen(waiting uint32) {
	if waiting > g.peak.Load() {
		g.peak.Store(waiting)
	}
}

func (g *gate) answered() { g.word.Add(^uint64(oneWaiting - 1)) }
func (g *gate) left()     { g.word.Add(^uint64(oneInFlight - 1)) }

func (g *gate) counts() (inFlight, waiting uint32) {
	w := g.word.Load()
	return uint32(w >> 32), uint32(w)
}
