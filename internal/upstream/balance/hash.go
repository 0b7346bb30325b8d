package balance

import (
	"math"

	"github.com/cespare/xxhash/v2"
)

// tableBits: every slot of the table belongs to a target, a key to a slot. A target's part is exact to about
// sqrt(targets / slots): 1 % for two, 8 % for a hundred.
const tableBits = 14

const (
	headroom = 1.25 // bounded load (Mirrokni et al. 2018): a target takes at most this much more than its part
	hops     = 16
)

// newTable gives each slot to the target with the highest score for it: rendezvous hashing (Thaler and Ravishankar 1998) with
// weights. Who joins takes slots only for itself, who leaves frees only its own, whatever the weights are.
func newTable(seats []Seat) []uint16 {
	table := make([]uint16, 1<<tableBits)
	best := make([]float64, len(table))
	alike := true
	for _, s := range seats {
		alike = alike && s.Weight == seats[0].Weight
	}
	for i, s := range seats {
		own := xxhash.Sum64String(s.ID)
		for slot := range table {
			// 0 < score < 1; its order stays when all weights are the same
			score := (float64(mix(own^mix(uint64(slot)+1))>>11) + 0.5) / (1 << 53)
			if !alike {
				score = -float64(s.Weight) / math.Log(score)
			}
			if score > best[slot] {
				best[slot], table[slot] = score, uint16(i)
			}
		}
	}
	return table
}

// Key is the number of a text, the same in every gateway.
func Key[T string | []byte](text T) uint64 {
	switch t := any(text).(type) {
	case string:
		return xxhash.Sum64String(t)
	case []byte:
		return xxhash.Sum64(t)
	}
	return 0
}

// byKey gives the key's own target, or the next in the key's order when that one is not usable, has more than its part to do,
// or is starting and has not taken this key back yet.
func (s *Set) byKey(v *View, tried *Tried, key uint64) int {
	limit := headroom * float64(s.total.Load()+1) / v.weight
	at := key
	for range hops {
		i := int(s.table[at>>(64-tableBits)])
		r := v.ramp[i]
		if r > 0 && !tried.Has(i) && (r >= Full || uint32(key)%Full < r) &&
			float64(s.seats[i].Load.InFlight()) < math.Ceil(limit*float64(v.share[i])) {
			return i
		}
		at = mix(at)
	}
	return s.scan(v, tried, key)
}

// mix is the finalizer of MurmurHash3: every bit depends on every bit.
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
