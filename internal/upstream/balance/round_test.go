package balance

import (
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"testing"
)

// seats makes targets of those weights, with loads of their own.
func seats(weights ...int) []Seat {
	list := make([]Seat, len(weights))
	for i, w := range weights {
		list[i] = Seat{ID: "http://10.0.0." + strconv.Itoa(i) + ":80", Weight: w, Load: &Load{}}
	}
	return list
}

// rig is a set with chance of a known seed, all of it usable.
func rig(kind Kind, list []Seat) (*Set, *View) {
	s := New(kind, list, new(atomic.Int64))
	s.rand = rand.New(rand.NewPCG(1, 2)).Uint64
	return s, s.Look(all(len(list)))
}

func all(n int) []uint32 {
	ramp := make([]uint32, n)
	for i := range ramp {
		ramp[i] = Full
	}
	return ramp
}

func without(n int, out ...int) []uint32 {
	ramp := all(n)
	for _, i := range out {
		ramp[i] = 0
	}
	return ramp
}

// Smooth: in a round every target has its share, and the turns of the heavy one are spread.
func TestRoundRobinIsSmooth(t *testing.T) {
	for _, tt := range []struct {
		weights []int
		want    string
	}{
		{[]int{1}, "0000"}, {[]int{1, 1}, "0101"}, {[]int{5, 1, 1}, "0010200"}, {[]int{10, 20}, "101101"}, {[]int{1000, 1000, 1000}, "012012"},
	} {
		s, v := rig(RoundRobin, seats(tt.weights...))
		got := ""
		for range tt.want {
			got += string(rune('0' + s.Pick(v, &Tried{}, 0, 0)))
		}
		if got != tt.want {
			t.Errorf("%v: %s, want %s", tt.weights, got, tt.want)
		}
	}
}

func TestRoundIsBounded(t *testing.T) {
	weights := []int{999, 1000, 1, 997, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000}
	s, v := rig(RoundRobin, seats(weights...))
	if len(s.round) > maxRound+len(weights) {
		t.Errorf("a round of %d", len(s.round))
	}
	seen, total := make([]int, len(weights)), 0
	for range s.round {
		seen[s.Pick(v, &Tried{}, 0, 0)]++
		total++
	}
	for i, w := range weights {
		if share := float64(seen[i]) / float64(total); share < float64(w)/13997-0.001 || share > float64(w)/13997+0.001 {
			t.Errorf("target %d: share %f", i, share)
		}
	}
}

func TestRoundRobinOutlastsAHeavyTargetThatIsOut(t *testing.T) {
	s, _ := rig(RoundRobin, seats(1000, 1, 3))
	v, seen := s.Look(without(3, 0)), [3]int{}
	for range 4000 {
		seen[s.Pick(v, &Tried{}, 0, 0)]++
	}
	if seen[0] != 0 || seen[1] < 850 || seen[1] > 1150 {
		t.Errorf("%v, want 0 and about 1 to 3", seen)
	}
}

func TestTriedTargetsAreAvoided(t *testing.T) {
	for _, kind := range []Kind{RoundRobin, LeastRequest, EWMA, Hash} {
		s, v := rig(kind, seats(3, 1, 1))
		for key := range uint64(500) {
			var tried Tried
			met := map[int]bool{}
			for range 3 {
				i := s.Pick(v, &tried, mix(key), 0)
				if i < 0 || met[i] {
					t.Fatalf("kind %d: %d again, or none", kind, i)
				}
				met[i] = true
				tried.Add(i)
			}
			if i := s.Pick(v, &tried, mix(key), 0); i != -1 {
				t.Fatalf("kind %d: %d is left", kind, i)
			}
		}
	}
}

func TestUnusableTargetsAreNotPicked(t *testing.T) {
	for _, kind := range []Kind{RoundRobin, LeastRequest, EWMA, Hash} {
		s, _ := rig(kind, seats(1, 1, 1, 1, 1))
		some, one, none := s.Look(without(5, 0, 3)), s.Look(without(5, 0, 1, 2, 3)), s.Look(without(5, 0, 1, 2, 3, 4))
		seen := [5]int{}
		for key := range uint64(3000) {
			seen[s.Pick(some, &Tried{}, mix(key), 0)]++
			if i := s.Pick(one, &Tried{}, mix(key), 0); i != 4 {
				t.Fatalf("kind %d: %d", kind, i)
			}
		}
		if s.Pick(none, &Tried{}, 0, 0) != -1 || some.Usable() != 3 {
			t.Errorf("kind %d: something was picked", kind)
		}
		if seen[0]+seen[3] > 0 || min(seen[1], seen[2], seen[4]) < 800 {
			t.Errorf("kind %d: %v", kind, seen)
		}
	}
}

func TestTriedForgetsTheOldest(t *testing.T) {
	var tried Tried
	for i := range 12 {
		tried.Add(i)
	}
	if tried.Has(0) || tried.Has(1) || !tried.Has(2) || !tried.Has(11) {
		t.Errorf("%+v", tried)
	}
}
