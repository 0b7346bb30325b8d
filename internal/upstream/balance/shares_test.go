package balance

import (
	"math"
	"testing"
	"time"
)

// withinThreeSigma wants counts that come of independent picks with those probabilities.
func withinThreeSigma(t *testing.T, what string, seen []int, weights ...int) {
	t.Helper()
	n, total := 0, 0
	for i, w := range weights {
		n += seen[i]
		total += w
	}
	for i, w := range weights {
		p := float64(w) / float64(total)
		mean, sigma := p*float64(n), math.Sqrt(float64(n)*p*(1-p))
		if off := math.Abs(float64(seen[i]) - mean); off > 3*sigma {
			t.Errorf("%s: target %d was picked %d times, %.1f sigma off %.0f", what, i, seen[i], off/sigma, mean)
		}
	}
}

// At low load, one call after the other, weights hold whatever the kind.
func TestWeightsHold(t *testing.T) {
	weights := []int{1, 2, 3, 4, 10}
	for _, kind := range []Kind{RoundRobin, LeastRequest, EWMA, Hash} {
		s, v := rig(kind, seats(weights...))
		seen := make([]int, len(weights))
		for key := range uint64(20_000) {
			seen[s.Pick(v, &Tried{}, mix(key+1), 0)]++
		}
		if kind == Hash { // shares are those of the slots: not a matter of the number of picks
			for i, w := range weights {
				if got, want := float64(seen[i])/20_000, float64(w)/20; math.Abs(got-want) > 0.015 {
					t.Errorf("hash: target %d has %.3f, want %.3f", i, got, want)
				}
			}
			continue
		}
		withinThreeSigma(t, "weights", seen, weights...)
	}
}

// Under load, calls in flight are in proportion to weights.
func TestCallsInFlightFollowWeights(t *testing.T) {
	for _, kind := range []Kind{LeastRequest, EWMA} {
		list := seats(1, 2, 4)
		s, v := rig(kind, list)
		for range 700 {
			list[s.Pick(v, &Tried{}, 0, 0)].Load.Begin()
		}
		for i, want := range []int64{100, 200, 400} {
			if got := list[i].Load.InFlight(); got < want*9/10 || got > want*11/10 {
				t.Errorf("kind %d: %d in flight at target %d, want about %d", kind, got, i, want)
			}
		}
	}
}

// Two candidates are always different ones: with two targets the busy one is never taken.
func TestTheTwoCandidatesAreDistinct(t *testing.T) {
	list := seats(1, 1)
	list[0].Load.Begin()
	s, v := rig(LeastRequest, list)
	for range 10_000 {
		if s.Pick(v, &Tried{}, 0, 0) == 0 {
			t.Fatal("the busier of two was picked")
		}
	}
}

func TestSlowStartCutsTheShare(t *testing.T) {
	for _, kind := range []Kind{RoundRobin, LeastRequest, EWMA, Hash} {
		s, _ := rig(kind, seats(1, 1, 1, 1))
		ramp := all(4)
		ramp[2] = Full / 10
		v, seen := s.Look(ramp), [4]int{}
		for key := range uint64(31_000) {
			seen[s.Pick(v, &Tried{}, mix(key+1), 0)]++
		}
		if seen[2] < 500 || seen[2] > 1300 {
			t.Errorf("kind %d: a tenth of the weight got %d of 31000", kind, seen[2])
		}
	}
}

const ms = time.Millisecond

func TestEWMAPrefersTheFastOne(t *testing.T) {
	list := seats(1, 1)
	now := int64(time.Hour)
	for range 20 {
		list[0].Load.Answered(100*ms, now)
		list[1].Load.Answered(5*ms, now)
	}
	s, v := rig(EWMA, list)
	for range 10 {
		list[1].Load.Begin()
	}
	if i := s.Pick(v, &Tried{}, 0, now); i != 1 {
		t.Error("ten calls of 5 ms before a call of 100 ms: the slow one was picked")
	}
	for range 15 {
		list[1].Load.Begin()
	}
	if i := s.Pick(v, &Tried{}, 0, now); i != 0 {
		t.Error("25 calls of 5 ms: the idle slow one was not picked")
	}
}

// Edge case 22: failing in a millisecond is no reason to be called more.
func TestFailingFastAttractsNothing(t *testing.T) {
	for _, kind := range []Kind{EWMA, LeastRequest} {
		list := seats(1, 1, 1)
		s, _ := rig(kind, list)
		now, seen := int64(time.Hour), [3]int{}
		for range 3000 {
			now += int64(ms)
			i := s.Pick(s.Look(all(3)), &Tried{}, 0, now)
			seen[i]++
			if i == 0 {
				list[i].Load.Failed(time.Millisecond, now)
			} else {
				list[i].Load.Answered(50*ms, now)
			}
		}
		if seen[0] > 30 {
			t.Errorf("kind %d: the failing target got %d of 3000 calls", kind, seen[0])
		}
	}
}

func TestOneFailureIsForgiven(t *testing.T) {
	l, now := &Load{}, int64(time.Hour)
	l.Answered(10*ms, now)
	now += int64(5 * time.Second)
	l.Failed(ms, now) // fast, but no answer
	if l.Failing(now) < 0.29 || l.Latency() < 9*ms {
		t.Errorf("failing %v, latency %v", l.Failing(now), l.Latency())
	}
	for range 10 {
		l.Answered(10*ms, now)
	}
	if l.Failing(now) > 0.01 {
		t.Errorf("after ten answers failing is still %v", l.Failing(now))
	}
}

// Edge case 23: a target that was slow or failed gets its calls again after a time without them.
func TestIdleTargetsAreForgotten(t *testing.T) {
	list := seats(1, 1, 1)
	now := int64(time.Hour)
	for range 30 {
		list[0].Load.Failed(2*time.Second, now)
		list[1].Load.Answered(10*ms, now)
		list[2].Load.Answered(10*ms, now)
	}
	s, v := rig(EWMA, list)
	usual := s.usual()
	if c := list[0].Load.cost(usual, now); c < 50*usual {
		t.Errorf("costs %v at once", c)
	}
	if c := list[0].Load.cost(usual, now+int64(2*time.Minute)); c > 1.1*usual {
		t.Errorf("costs %v after two minutes, the others %v", c, usual)
	}
	seen := [3]int{}
	for range 3000 {
		seen[s.Pick(v, &Tried{}, 0, now+int64(2*time.Minute))]++
	}
	if seen[0] < 900 {
		t.Errorf("%v", seen)
	}
}

func TestUnknownTargetsBeginAtTheMedian(t *testing.T) {
	list := seats(1, 1, 1, 1)
	now := int64(time.Hour)
	for i, took := range []time.Duration{10 * ms, 20 * ms, 900 * ms} {
		list[i].Load.Answered(took, now)
	}
	s, v := rig(EWMA, list)
	if v.usual < 0.019 || v.usual > 0.021 || list[3].Load.cost(s.usual(), now) != v.usual {
		t.Errorf("usual %v", v.usual)
	}
}

// One call that took long is not the truth; several are.
func TestOutliersCountLittle(t *testing.T) {
	l, now := &Load{}, int64(time.Hour)
	l.Answered(5*ms, now)
	l.Answered(5*time.Second, now)
	if l.Latency() > 10*ms {
		t.Errorf("one outlier: %v", l.Latency())
	}
	for range 20 {
		l.Answered(100*ms, now)
	}
	if l.Latency() < 90*ms {
		t.Errorf("twenty slow calls: %v", l.Latency())
	}
}
