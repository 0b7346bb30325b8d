package balance

const maxRound = 10_000 // longer rounds are scaled down; the shares stay right to 0.01 %

// newRound is smooth weighted round robin: the order of one full round is worked out beforehand, so that a pick is one atomic
// step.
func newRound(seats []Seat) (round []uint16) {
	weights := scaled(seats)
	total := 0
	for _, w := range weights {
		total += w
	}
	current := make([]int, len(weights))
	for range total {
		best := 0
		for i, w := range weights {
			current[i] += w
			if current[i] > current[best] {
				best = i
			}
		}
		current[best] -= total
		round = append(round, uint16(best))
	}
	return round
}

func scaled(seats []Seat) []int {
	divisor, total := 0, 0
	for _, s := range seats {
		divisor = gcd(s.Weight, divisor)
		total += s.Weight
	}
	out := make([]int, len(seats))
	for i, s := range seats {
		out[i] = s.Weight / divisor
		if total/divisor > maxRound {
			out[i] = max(1, s.Weight*maxRound/total)
		}
	}
	return out
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// steps bounds how far the turn goes on for one pick. Beyond, chance by weight decides: with heavy targets out of use, most of
// a round may be theirs.
const steps = 32

// inTurn gives the next target of the round. One that is starting is passed over as often as its weight is cut.
func (s *Set) inTurn(v *View, tried *Tried) int {
	for range steps {
		i := int(s.round[(s.turn.Add(1)-1)%uint64(len(s.round))])
		r := v.ramp[i]
		if r == 0 || tried.Has(i) {
			continue
		}
		if r >= Full || uint32(s.rand())%Full < r {
			return i
		}
	}
	return s.another(v, tried, -1, s.rand())
}
