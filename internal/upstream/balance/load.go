package balance

import (
	"math"
	"sync/atomic"
	"time"
)

// How a Load learns. They are no settings: the shares that come of them are checked by the tests.
const (
	memory      = 10 * time.Second // what is this old counts for about 1/e
	rise        = 0.3              // weight of a call that took longer than usual
	riseAtMost  = 4                // such a call counts as at most this much longer than usual
	failureStep = 0.3              // weight of the newest call in the share of failures
	penalty     = 100              // a target that only fails costs 1 + this many times its latency
)

// Load is what balancing knows of one target: calls in flight, latency and share of failures, both of the last seconds. It
// belongs to the target, not to a configuration. It is safe for use by many; two calls that end in the same microsecond may
// count as one old one.
type Load struct {
	inFlight atomic.Int64
	learnt   atomic.Uint64 // float32 bits: latency in seconds | share of failures; latency 0: none known
	at       atomic.Int64  // of the newest call, see Now
	_        [40]byte      // the next one has a cache line of its own
}

var began = time.Now()

// Now is t as the loads count it: nanoseconds by the monotonic clock.
func Now(t time.Time) int64 { return int64(t.Sub(began)) }

// Begin counts a call in.
func (l *Load) Begin() { l.inFlight.Add(1) }

// End counts it out.
func (l *Load) End() { l.inFlight.Add(-1) }

// InFlight is the number of calls that run.
func (l *Load) InFlight() int64 { return l.inFlight.Load() }

// Answered learns from a call that went well.
func (l *Load) Answered(took time.Duration, now int64) { l.learn(took, 0, now) }

// Failed learns from a call that did not: its time counts only when it was long, so that failing fast is no merit.
func (l *Load) Failed(took time.Duration, now int64) { l.learn(took, 1, now) }

func (l *Load) learn(took time.Duration, failed float64, now int64) {
	sample := max(took.Seconds(), 1e-6)
	last := l.at.Swap(now)
	kept := fade(now - last)
	for {
		old := l.learnt.Load()
		latency, failing := unpack(old)
		switch {
		case latency == 0 && failed == 0:
			latency = sample
		case latency == 0: // never answered: it goes on at the others' pace
		case sample > latency:
			latency += (min(sample, riseAtMost*latency) - latency) * max(rise, 1-kept)
		case failed == 0:
			latency += (sample - latency) * (1 - kept)
		}
		failing = failing*kept*(1-failureStep) + failed*failureStep
		if l.learnt.CompareAndSwap(old, pack(latency, failing)) {
			return
		}
	}
}

// Latency is the usual time to an answer's head; 0: none is known.
func (l *Load) Latency() time.Duration {
	latency, _ := unpack(l.learnt.Load())
	return time.Duration(latency * float64(time.Second))
}

// Failing is the share of failures, 0 to 1, of the last calls.
func (l *Load) Failing(now int64) float64 {
	_, failing := unpack(l.learnt.Load())
	return failing * fade(now-l.at.Load())
}

// cost is what a call costs here, in seconds, with usual being the median of all targets: that is where unknown ones begin, and
// where slow ones go back to while nobody calls them.
func (l *Load) cost(usual float64, now int64) float64 {
	latency, failing := unpack(l.learnt.Load())
	kept := fade(now - l.at.Load())
	switch {
	case latency == 0:
		latency = usual
	case latency > usual:
		latency = usual + (latency-usual)*kept
	}
	failing *= kept
	return latency * (1 + penalty*failing*failing)
}

// blame is how much a target costs more than one that does not fail.
func (l *Load) blame(now int64) float64 {
	if failing := l.Failing(now); failing > 0.05 {
		return 1 + penalty*failing*failing
	}
	return 1
}

// fade is what is left of a weight after some nanoseconds: close to exp(-age/memory), and cheaper.
func fade(age int64) float64 {
	if age <= 0 {
		return 1
	}
	x := float64(age) / float64(memory)
	return 1 / (1 + x*(1+x*(0.5+x*(1.0/6))))
}

func pack(latency, failing float64) uint64 {
	return uint64(math.Float32bits(float32(latency)))<<32 | uint64(math.Float32bits(float32(failing)))
}

func unpack(v uint64) (latency, failing float64) {
	return float64(math.Float32frombits(uint32(v >> 32))), float64(math.Float32frombits(uint32(v)))
}
