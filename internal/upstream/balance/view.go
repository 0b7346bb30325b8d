package balance

import (
	"math"
	"slices"
)

// Full is the share of a target that takes all calls that its weight gives it.
const Full = 1 << 10

// View is which targets may be picked now, and how much of its weight each may take. It is immutable; the caller makes a new
// one when something changes.
type View struct {
	usable []uint16
	keep   []uint32 // alias method (Vose 1991) over usable: keep it below, else take other
	other  []uint16
	ramp   []uint32 // by seat: 0 to Full; 0: not usable
	share  []uint32 // by seat: weight * ramp
	weight float64  // sum of share
	usual  float64  // median latency in seconds, for EWMA
}

// Look makes a view. ramp has an entry for each seat: 0 for one that is not to be picked, Full for one that is, in between for
// one that is only starting. The slice is kept.
func (s *Set) Look(ramp []uint32) *View {
	v := &View{ramp: ramp, share: make([]uint32, len(ramp))}
	for i, r := range ramp {
		if r == 0 {
			continue
		}
		v.share[i] = max(1, uint32(s.seats[i].Weight)*r)
		v.weight += float64(v.share[i])
		v.usable = append(v.usable, uint16(i))
	}
	if s.kind == EWMA {
		v.usual = s.usual()
	}
	v.vose()
	return v
}

// Usable is the number of targets that may be picked.
func (v *View) Usable() int { return len(v.usable) }

// Ramp is how much of its weight a target may take, 0 to Full.
func (v *View) Ramp(i int) uint32 { return v.ramp[i] }

// vose makes the tables of the alias method.
func (v *View) vose() {
	n := len(v.usable)
	v.keep, v.other = make([]uint32, n), make([]uint16, n)
	scaled := make([]float64, n)
	var small, large []int
	for i, at := range v.usable {
		scaled[i] = float64(v.share[at]) * float64(n) / v.weight
		if scaled[i] < 1 {
			small = append(small, i)
		} else {
			large = append(large, i)
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		v.keep[s], v.other[s] = uint32(scaled[s]*math.MaxUint32), uint16(l)
		if scaled[l] += scaled[s] - 1; scaled[l] < 1 {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	for _, i := range append(small, large...) {
		v.keep[i], v.other[i] = math.MaxUint32, uint16(i)
	}
}

// usual is the median of the latencies that are known; 1 when there is none.
func (s *Set) usual() float64 {
	known := make([]float64, 0, len(s.seats))
	for i := range s.seats {
		if latency := s.seats[i].Load.Latency(); latency > 0 {
			known = append(known, latency.Seconds())
		}
	}
	if len(known) == 0 {
		return 1
	}
	slices.Sort(known)
	return known[(len(known)-1)/2]
}
