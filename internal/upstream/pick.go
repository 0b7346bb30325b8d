package upstream

import "sync/atomic"

// picker is smooth weighted round robin: the order of one full round is worked out beforehand, so that a pick is one atomic
// step.
type picker struct {
	round []uint16
	at    *atomic.Uint64
	n     int
}

const maxRound = 10_000 // longer rounds are scaled down; the shares stay right to 0.01 %

func newPicker(weights []int) picker {
	p := picker{at: new(atomic.Uint64), n: len(weights)}
	weights = scaled(weights)
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
		p.round = append(p.round, uint16(best))
	}
	return p
}

func scaled(weights []int) []int {
	divisor, total := 0, 0
	for _, w := range weights {
		divisor = gcd(w, divisor)
		total += w
	}
	out := make([]int, len(weights))
	for i, w := range weights {
		out[i] = w / divisor
		if total/divisor > maxRound {
			out[i] = max(1, w*maxRound/total)
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

// next gives the index of the target whose turn it is, another than not when there is one.
func (p *picker) next(not int) int {
	if p.n == 1 {
		return 0
	}
	for range len(p.round) {
		if i := int(p.round[(p.at.Add(1)-1)%uint64(len(p.round))]); i != not {
			return i
		}
	}
	return (not + 1) % p.n // others moved the turn on meanwhile
}
