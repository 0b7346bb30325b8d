package fleet

import (
	"math"
	"time"
)

// Rule is what a limit promises: tokens a second, and tokens of a full bucket.
type Rule struct{ Rate, Burst float64 }

// tiny keeps a token that came back exactly in time from being lost to rounding.
const tiny = 1e-9

// Admits gives those of the arrivals, in order, that one bucket admits which began full.
func (r Rule) Admits(at []time.Duration) (out []time.Duration) {
	level := r.Burst
	for i, t := range at {
		if i > 0 {
			level = min(r.Burst, level+(t-at[i-1]).Seconds()*r.Rate)
		}
		if level >= 1-tiny {
			level--
			out = append(out, t)
		}
	}
	return out
}

// Excess is how many tokens a counter of the admissions, in order, that drains at the rate rose above the burst; negative
// when it never reached it. It catches bursts that averages hide.
func (r Rule) Excess(at []time.Duration) float64 {
	level, peak := 0.0, 0.0
	for i, t := range at {
		if i > 0 {
			level = max(0, level-(t-at[i-1]).Seconds()*r.Rate)
		}
		level++
		peak = max(peak, level)
	}
	return peak - r.Burst
}

// Proven is by how many tokens admissions broke the rule in the worst span of time, counting in a span only what was sent and
// answered within it: so much was surely decided there. A machine that delays answers can only make it smaller. Without
// admissions it is minus the burst.
func (r Rule) Proven(admitted History) float64 {
	h := admitted.bySent() // a span begins at a sending: the tree holds its tokens so far, plus rate times its beginning
	spans, worst, last := newTree(len(h)), 0.0, -1
	for i := range h {
		spans.add(i, i, h[i].Sent.Seconds()*r.Rate)
	}
	for _, i := range h.orderOfDone() {
		spans.add(0, i, 1)
		last = max(last, i) // spans that begin later hold nothing yet
		worst = max(worst, spans.max(last)-h[i].Done.Seconds()*r.Rate)
	}
	return worst - r.Burst
}

// Jain is the fairness of shares: 1 when all are equal, 1/n when one has everything (Jain, Chiu and Hawe, 1984).
func Jain(shares []float64) float64 {
	sum, squares := 0.0, 0.0
	for _, x := range shares {
		sum += x
		squares += x * x
	}
	if squares == 0 {
		return 1
	}
	return sum * sum / (float64(len(shares)) * squares)
}

// Worst is the most events within any span of the length.
func Worst(at []time.Duration, span time.Duration) int {
	most, from := 0, 0
	for i, t := range at {
		for t-at[from] >= span {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}

// tree holds a number for each index, and can add to a range and tell the greatest of those up to an index, both in log n.
type tree struct {
	size      int
	plus, top []float64 // added to all below a node; the greatest below it, with what was added there
}

func newTree(n int) *tree {
	size := 1
	for size < n {
		size *= 2
	}
	return &tree{size: size, plus: make([]float64, 2*size), top: make([]float64, 2*size)}
}

func (t *tree) add(from, to int, v float64) { t.addIn(1, 0, t.size-1, from, to, v) }

func (t *tree) addIn(node, low, high, from, to int, v float64) {
	if to < low || high < from {
		return
	}
	if from <= low && high <= to {
		t.plus[node] += v
		t.top[node] += v
		return
	}
	mid := (low + high) / 2
	t.addIn(2*node, low, mid, from, to, v)
	t.addIn(2*node+1, mid+1, high, from, to, v)
	t.top[node] = t.plus[node] + max(t.top[2*node], t.top[2*node+1])
}

func (t *tree) max(to int) float64 { return t.maxIn(1, 0, t.size-1, to) }

func (t *tree) maxIn(node, low, high, to int) float64 {
	if to < low {
		return math.Inf(-1)
	}
	if high <= to {
		return t.top[node]
	}
	mid := (low + high) / 2
	return t.plus[node] + max(t.maxIn(2*node, low, mid, to), t.maxIn(2*node+1, mid+1, high, to))
}
