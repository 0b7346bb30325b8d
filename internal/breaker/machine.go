package breaker

import (
	"math"
	"time"
)

// State is what the breaker does with calls. The numbers are those of the gauge.
type State uint8

// The states.
const (
	Closed   State = iota // lets calls through and counts
	HalfOpen              // lets probes through
	Open                  // refuses
)

var stateWords = [...]string{"closed", "half_open", "open"}

// String is the state's word in logs and the admin API.
func (s State) String() string { return stateWords[s] }

// Reason is why a breaker opened, one of a fixed list.
type Reason string

// The reasons.
const (
	FailureRate Reason = "failure_rate"
	SlowRate    Reason = "slow_rate"
	Consecutive Reason = "consecutive"
	Probe       Reason = "probe" // one failed, or was slow
	Operator    Reason = "operator"
)

// Outcome is how a call ended, as far as the upstream is to blame.
type Outcome uint8

// The outcomes.
const (
	Success Outcome = iota
	Failure
	Neutral // says nothing about the upstream: the client left, or we refused
	Pending // good as far as is known: it counts, but ends no series of failures. See Well
)

const (
	maxProbes = 100
	minLease  = 10 * time.Second // a probe that has not reported by then does not hold its place any longer
)

// machine is the breaker without clock, lock and listeners: each method is a step from (state, event, now) to a state. Times
// are since an origin, never negative and never before an earlier step's.
type machine struct {
	state      State
	generation uint64        // grows with each change of state: results of calls that were let through before it are dropped
	since      time.Duration // when the state began
	why        Reason        // of the latest opening
	openings   int           // in a row, none of which has ended in Closed
	spread     float64       // of the present opening: 0 to 1
	seed       uint64        // of what comes by chance

	window    window // Closed
	failures  int    // Closed: in a row
	successes int    // HalfOpen: in a row
	leases    [maxProbes]lease
	places    int // HalfOpen: leases that were ever used
}

// lease is a probe's place. It is free when it has expired.
type lease struct {
	expires time.Duration
	serial  uint32 // of the holder: a late one must not free the place of the next
}

// pass lets one call through.
type pass struct {
	generation uint64
	serial     uint32
	place      uint8
}

// acquire lets a call through, or says how long until one may be.
func (m *machine) acquire(s *Settings, now time.Duration) (pass, time.Duration, bool) {
	if m.state == Closed {
		return pass{generation: m.generation}, 0, true
	}
	if wait := m.wait(s, now); wait > 0 {
		return pass{}, wait, false
	}
	if m.state == Open {
		m.enter(HalfOpen, now)
	}
	place, _ := m.free(s, now)
	m.places = max(m.places, place+1)
	l := &m.leases[place]
	l.expires = now + max(s.Open, minLease)
	l.serial++
	return pass{m.generation, l.serial, uint8(place)}, 0, true
}

// wait is 0 when a call may go now. A probe usually reports long before its lease expires: nobody is sent away for longer
// than a second on its account.
func (m *machine) wait(s *Settings, now time.Duration) time.Duration {
	switch m.state {
	case Open:
		return max(m.since+m.pause(s)-now, 0)
	case HalfOpen:
		if place, next := m.free(s, now); place < 0 {
			return min(next-now, time.Second)
		}
	}
	return 0
}

// free gives a free place, or -1 and when the next lease expires. It counts the leases in use instead of looking at the
// first places: after a reload to fewer probes higher ones may still be held.
func (m *machine) free(s *Settings, now time.Duration) (place int, next time.Duration) {
	used := 0
	place, next = m.places, math.MaxInt64
	for i := m.places - 1; i >= 0; i-- {
		if at := m.leases[i].expires; at > now {
			used++
			next = min(next, at)
		} else {
			place = i
		}
	}
	if used >= min(s.Probes, maxProbes) {
		return -1, next
	}
	return place, 0
}

// report judges the result of a call that was let through.
func (m *machine) report(s *Settings, p pass, o Outcome, took, now time.Duration) {
	if p.generation != m.generation {
		return
	}
	slow := s.Slow > 0 && took > s.Slow
	switch m.state {
	case Closed:
		if o != Neutral {
			m.judge(s, o, slow, now)
		}
	case HalfOpen:
		if l := &m.leases[p.place]; l.serial == p.serial {
			l.expires = 0
		}
		m.judgeProbe(s, o, slow, now)
	}
}

func (m *machine) judge(s *Settings, o Outcome, slow bool, now time.Duration) {
	m.window.advance(s.Window, now)
	c := count{calls: 1}
	if slow {
		c.slow = 1
	}
	switch o {
	case Failure:
		c.failed = 1
		m.failures++
	case Success:
		m.failures = 0
	}
	m.window.add(c)
	m.trip(s, now)
}

// judgeProbe: a slow probe is a failed one, or a breaker that slow calls had opened would close on slow calls.
func (m *machine) judgeProbe(s *Settings, o Outcome, slow bool, now time.Duration) {
	switch {
	case o == Neutral:
	case o == Failure || slow:
		m.open(Probe, now)
	default:
		if m.successes++; m.successes >= s.Probes {
			m.enter(Closed, now)
		}
	}
}

// spoil takes back the good result of a call begun at began, whose answer broke off after its head. A call begun before the
// state did says nothing any more.
func (m *machine) spoil(s *Settings, began, now time.Duration) {
	if began < m.since {
		return
	}
	switch m.state {
	case Closed:
		m.window.advance(s.Window, now)
		m.window.spoil()
		m.failures++
		m.trip(s, now)
	case HalfOpen:
		m.open(Probe, now)
	}
}

func (m *machine) trip(s *Settings, now time.Duration) {
	sum := &m.window.sum
	full := sum.calls >= s.Minimum
	switch {
	case s.Consecutive > 0 && m.failures >= s.Consecutive:
		m.open(Consecutive, now)
	case full && reached(sum.failed, sum.calls, s.FailureRate):
		m.open(FailureRate, now)
	case full && s.Slow > 0 && reached(sum.slow, sum.calls, s.SlowRate):
		m.open(SlowRate, now)
	}
}

func (m *machine) open(why Reason, now time.Duration) {
	m.why = why
	m.enter(Open, now)
}

// reached compares with a little room, or 7 of 100 would not reach 7 % in binary fractions.
func reached(part, whole int, rate float64) bool {
	return float64(part) >= rate*float64(whole)-1e-9
}

// enter begins a state with nothing counted and nothing leased.
func (m *machine) enter(state State, now time.Duration) {
	next := machine{state: state, generation: m.generation + 1, since: now, openings: m.openings, seed: m.seed, why: m.why}
	switch state {
	case Closed:
		next.openings, next.why = 0, ""
	case Open:
		if next.openings++; next.openings > 1 {
			next.seed = m.seed*6364136223846793005 + 1442695040888963407 // Knuth's MMIX
			next.spread = float64(next.seed>>11) / (1 << 53)
		}
	}
	*m = next
}

// pause is how long the present opening lasts. The first lasts as long as set; each further one doubles, with up to a fifth
// more by chance, so that the gateways of a fleet do not probe in step.
func (m *machine) pause(s *Settings) time.Duration {
	d := s.Open
	for i := 1; i < m.openings && d < s.MaxOpen; i++ {
		d *= 2
	}
	if d = min(d, s.MaxOpen); d <= s.Open {
		return s.Open
	}
	return d + time.Duration(m.spread*float64(d)/5)
}
