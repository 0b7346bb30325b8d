package fleet

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// Figures are what a run came to. A1 to A9 are the measures of docs/rate-limits.md.
type Figures struct {
	Offered, Admitted, Refused, Ideal int
	Other                             map[int]int // answers that are neither 200 nor 429, by status
	Ratio                             float64     // A1: admitted / ideal
	Excess, Loose                     float64     // A2: tokens above the rule; proven, and by the times of the answers
	False                             float64     // A3: share refused that the ideal bucket admits
	Worst                             []Window    // A4
	ByGateway, ByClient               float64     // A8: Jain's index of admitted / offered
	Calls                             float64     // A9: scripts that Redis ran for a request
	P50, P99, FreeP50, FreeP99        time.Duration
	Lag                               time.Duration // 99th percentile of how late the generator sent
	Busy                              float64       // see History.Busy; of the run that the figures are part of
}

// Window is the fullest span of a length: what was admitted in it, over what an ideal bucket admitted in its fullest.
type Window struct {
	Span  time.Duration
	Ratio float64
}

var spans = []time.Duration{time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second}

// Judge compares a history of one limit with the rule; every client has a bucket of its own.
func Judge(rule Rule, h History) Figures {
	all := h
	h = h.Answered().bySent()
	f := Figures{Offered: len(h), Excess: math.Inf(-1), Loose: math.Inf(-1), Other: map[int]int{}}
	for status, n := range all.Statuses() {
		switch status {
		case 200:
			f.Admitted = n
		case 429:
			f.Refused = n
		default:
			f.Other[status] = n
		}
	}
	var ideal []time.Duration
	for _, one := range h.by(func(r Request) int { return r.Client }) {
		admitted := one.Admitted()
		ideal = append(ideal, rule.Admits(one.times(sent))...)
		f.Excess = max(f.Excess, rule.Proven(admitted))
		f.Loose = max(f.Loose, rule.Excess(admitted.times(done)))
	}
	slices.Sort(ideal)
	f.Ideal = len(ideal)
	f.Ratio = over(f.Admitted, f.Ideal)
	f.False = max(0, over(f.Refused-(f.Offered-f.Ideal), f.Offered))
	f.Worst = windows(h, ideal)
	f.ByGateway = Jain(shares(h.by(func(r Request) int { return r.Gateway })))
	f.ByClient = Jain(shares(h.by(func(r Request) int { return r.Client })))
	took := h.times(Request.Took)
	f.P50, f.P99 = Quantile(took, .5), Quantile(took, .99)
	f.Lag = Quantile(h.times(lag), .99)
	return f
}

func windows(h History, ideal []time.Duration) (out []Window) {
	if len(h) == 0 {
		return nil
	}
	admitted := h.Admitted().times(done)
	length := h[len(h)-1].Sent - h[0].Sent
	for _, span := range spans {
		if span <= length+span/10 {
			out = append(out, Window{span, over(Worst(admitted, span), Worst(ideal, span))})
		}
	}
	return out
}

// shares are admitted / offered of each group, in a fixed order.
func shares(groups map[int]History) []float64 {
	type share struct {
		key int
		x   float64
	}
	var all []share
	for key, h := range groups {
		all = append(all, share{key, over(len(h.Admitted()), len(h))})
	}
	slices.SortFunc(all, func(a, b share) int { return cmp.Compare(a.key, b.key) })
	out := make([]float64, len(all))
	for i, s := range all {
		out[i] = s.x
	}
	return out
}

func over(a, b int) float64 {
	switch {
	case b != 0:
		return float64(a) / float64(b)
	case a == 0:
		return 1
	}
	return math.Inf(1)
}

// Targets are what figures are held against.
type Targets struct {
	Load float64 // offered, as a multiple of the rate: A3 is asked for up to 0.9
	Held float64 // the most tokens that gateways may hold together: the bound of A2 that can be proven
	Seen float64 // the most tokens above the rule that should be seen
	Off  float64 // how many tokens more or less than an ideal bucket
}

// Targets of a steady load on so many gateways: at most 1 % of the burst above the rule, and of what is due more or less. A token
// can't be split, so one above is always forgiven, and one at either end of a short run.
func (f Figures) Targets(rule Rule, load float64, gateways int) Targets {
	return Targets{load, Held(rule, gateways), max(1, .01*rule.Burst), max(2, .01*float64(f.Ideal))}
}

// AtOnce are the targets of a burst after a pause: leases lie beside a full bucket, and what they hold when the burst is over is
// not used.
func (t Targets) AtOnce() Targets {
	t.Seen = max(t.Seen, t.Held/2)
	t.Off = max(t.Off, t.Held)
	return t
}

// Grossly is in what no busy machine explains.
const Grossly = "grossly"

// Misses tells which targets the figures miss.
func (f Figures) Misses(rule Rule, to Targets) (out []string) {
	miss := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for status, n := range f.Other {
		miss("%d answers have status %d", n, status)
	}
	if off := math.Abs(float64(f.Admitted - f.Ideal)); off > to.Off {
		miss("A1: %d admitted, an ideal bucket admits %d: ratio %.4f", f.Admitted, f.Ideal, f.Ratio)
	}
	if f.Ratio > 1.6 && f.Admitted > f.Ideal+20 {
		miss("A1: %s above an ideal bucket: ratio %.4f", Grossly, f.Ratio)
	}
	if f.Excess > to.Held+tiny {
		miss("A2: %.1f tokens above the rule, more than the %.0f that gateways may hold", f.Excess, to.Held)
	}
	if f.Excess > to.Seen+tiny {
		miss("A2: %.1f tokens above the rule of %.0f, more than %.1f", f.Excess, rule.Burst, to.Seen)
	}
	if to.Load <= .9 && f.False*float64(f.Offered) > max(1, .001*float64(f.Offered))+tiny {
		miss("A3: %.2f %% of %d were refused that an ideal bucket admits", 100*f.False, f.Offered)
	}
	return out
}

// Held is the most tokens of a bucket that so many gateways may hold unused: a tenth of the burst, at least one each.
func Held(rule Rule, gateways int) float64 {
	return float64(gateways) * max(1, math.Floor(.1*rule.Burst/float64(gateways)))
}
