// Package breaker stops calls to an upstream that fails, and finds out by a few probes when it works again.
//
// It promises: an upstream is judged only with enough calls in the window, or by failures in a row; while open nothing is
// let through before its time; in half-open there are never more probes at once than set, and a probe that never reports
// gives its place back; what was begun before a change of state can't change the state any more. It does not promise that
// no call fails, it knows neither targets nor HTTP clients, and it does not share state between processes. It has no store
// that could fail.
package breaker

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Recorder hears of each new state, and of the first, under the breaker's lock: it must be quick and not call back. why is
// that of the latest opening, "" when closed.
type Recorder interface {
	BreakerState(name string, s State, why Reason)
}

// Breaker is the state of one upstream, for any number of goroutines. It outlives reloads.
type Breaker struct {
	name string
	rec  Recorder

	mu      sync.Mutex
	machine machine
	origin  time.Time     // the first now; zero before
	last    time.Duration // the latest now since origin
	pause   time.Duration // of the present opening, by the latest settings, for State
	forced  bool          // the operator has said the state
}

// New makes a closed breaker. rec may be nil.
func New(name string, rec Recorder) *Breaker {
	if rec != nil {
		rec.BreakerState(name, Closed, "")
	}
	return &Breaker{name: name, rec: rec, machine: machine{seed: rand.Uint64()}}
}

// Permit is the leave to make one call. Its holder calls Done exactly once. The zero value is nobody's.
type Permit struct {
	breaker  *Breaker
	settings *Settings
	pass     pass
}

// Acquire lets a call through or refuses with pipeline.UpstreamOpen and the time, above zero, until it pays to ask again.
// The settings must not change as long as the permit is held.
func (b *Breaker) Acquire(s *Settings, now time.Time) (Permit, time.Duration, error) {
	b.mu.Lock()
	if b.forced {
		defer b.mu.Unlock()
		return b.ordered()
	}
	before := b.machine.state
	pass, wait, ok := b.machine.acquire(s, b.tick(now))
	b.pause = b.machine.pause(s)
	b.tell(before)
	b.mu.Unlock()
	if !ok {
		return Permit{}, wait, pipeline.UpstreamOpen
	}
	return Permit{b, s, pass}, 0, nil
}

// Done returns the permit with the result of the call, which took so long to its answer's head. A result from before the
// latest change of state is dropped.
func (p Permit) Done(o Outcome, took time.Duration, now time.Time) {
	b := p.breaker
	if b == nil {
		return
	}
	b.mu.Lock()
	before := b.machine.state
	b.machine.report(p.settings, p.pass, o, took, b.tick(now))
	b.tell(before)
	b.mu.Unlock()
}

// Fail takes back the good result of a call begun at began, because its answer's body broke off. There is no permit any
// more: the time tells whether the call belongs to the present state.
func (b *Breaker) Fail(s *Settings, began, now time.Time) {
	b.mu.Lock()
	if b.forced {
		b.mu.Unlock()
		return
	}
	before := b.machine.state
	at := b.tick(now)
	b.machine.spoil(s, max(began.Sub(b.origin), 0), at)
	b.tell(before)
	b.mu.Unlock()
}

// Well is the end of a Pending call begun at began that was good after all: it ends a series of failures.
func (b *Breaker) Well(began, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tick(now)
	if m := &b.machine; !b.forced && m.state == Closed && max(began.Sub(b.origin), 0) >= m.since {
		m.failures = 0
	}
}

// Ready tells whether Acquire would let a call through at a time, which may lie ahead, and takes nothing. If not, wait is as
// Acquire's.
func (b *Breaker) Ready(s *Settings, at time.Time) (wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.forced:
		_, wait, _ = b.ordered()
	case !b.origin.IsZero(): // a question is not an event: it must not move the clock on, or an open breaker would let calls through early
		wait = b.machine.wait(s, max(b.last, at.Sub(b.origin)))
	}
	return wait, wait == 0
}

// forcedWait is what clients are told while the operator keeps a breaker open: nobody knows how long.
const forcedWait = 5 * time.Second

// ordered answers Acquire as the operator said: all pass uncounted, or none. The lock is held.
func (b *Breaker) ordered() (Permit, time.Duration, error) {
	if b.machine.state == Open {
		return Permit{}, forcedWait, pipeline.UpstreamOpen
	}
	return Permit{}, 0, nil
}

// Force keeps the breaker open or closed until Release; nothing is judged meanwhile.
func (b *Breaker) Force(s State, now time.Time) { b.order(s, true, now) }

// Release lets the breaker judge by itself again, beginning with closed and nothing counted.
func (b *Breaker) Release(now time.Time) { b.order(Closed, false, now) }

func (b *Breaker) order(s State, forced bool, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.machine.state
	b.machine.openings, b.machine.why = 0, Operator
	b.machine.enter(s, b.tick(now))
	b.forced = forced
	b.tell(before)
}

// State is the state at now: an open breaker whose time is over is half-open, though no probe has come yet.
func (b *Breaker) State(now time.Time) State { return b.Snapshot(now).State }

// Snapshot is a breaker for people.
type Snapshot struct {
	Name                string
	State               State
	Forced              bool          // by the operator: nothing is judged
	Why                 Reason        // of the latest opening; "" when closed
	Openings            int           // in a row without an end in Closed
	Since               time.Time     // when the state began; zero: it has always been so
	Wait                time.Duration // Open: until the first probe
	Calls, Failed, Slow int           // Closed: results in the window, as of the latest one
	Failures, Successes int           // in a row: Closed, HalfOpen
}

// Snapshot shows the breaker at now.
func (b *Breaker) Snapshot(now time.Time) Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, m := b.tick(now), &b.machine
	shot := Snapshot{
		Name: b.name, State: m.state, Forced: b.forced, Why: m.why, Openings: m.openings, Failures: m.failures, Successes: m.successes,
		Calls: m.window.sum.calls, Failed: m.window.sum.failed, Slow: m.window.sum.slow,
	}
	if m.generation > 0 {
		shot.Since = b.origin.Add(m.since)
	}
	if m.state == Open && !b.forced {
		if shot.Wait = m.since + b.pause - at; shot.Wait <= 0 {
			shot.State, shot.Wait, shot.Since = HalfOpen, 0, b.origin.Add(m.since+b.pause)
		}
	}
	return shot
}

// tick is now since the origin. Two goroutines may come in another order than they read the clock in: time stands still
// then, it never goes back.
func (b *Breaker) tick(now time.Time) time.Duration {
	if b.origin.IsZero() {
		b.origin = now
	}
	b.last = max(b.last, now.Sub(b.origin))
	return b.last
}

// tell reports the state when it has changed.
func (b *Breaker) tell(before State) {
	if b.rec != nil && b.machine.state != before {
		b.rec.BreakerState(b.name, b.machine.state, b.machine.why)
	}
}
