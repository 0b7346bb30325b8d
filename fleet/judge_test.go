package fleet

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// at makes a history of admissions that were decided without any delay.
func at(times ...time.Duration) (h History) {
	for _, t := range times {
		h = append(h, Request{Due: t, Sent: t, Done: t, Status: 200, Left: -1})
	}
	return h
}

func every(gap time.Duration, n int) (out []time.Duration) {
	for i := range n {
		out = append(out, time.Duration(i)*gap)
	}
	return out
}

func near(a, b float64) bool { return math.Abs(a-b) < 1e-6 }

func TestIdealBucket(t *testing.T) {
	for _, c := range []struct {
		name string
		rule Rule
		at   []time.Duration
		want int
	}{
		{"none", Rule{10, 5}, nil, 0},
		{"the burst at once", Rule{10, 5}, make([]time.Duration, 20), 5},
		{"exactly at the rate", Rule{10, 1}, every(100*time.Millisecond, 50), 50},
		{"twice the rate", Rule{10, 1}, every(50*time.Millisecond, 41), 21},
		{"burst and rate", Rule{10, 5}, every(10*time.Millisecond, 101), 15},
		{"never more than the burst comes back", Rule{10, 5}, append(make([]time.Duration, 5), slices.Repeat([]time.Duration{time.Hour}, 9)...), 10},
		{"one in ten seconds", Rule{.1, 1}, every(time.Second, 30), 3},
	} {
		if got := len(c.rule.Admits(c.at)); got != c.want {
			t.Errorf("%s: %d admitted, wanted %d", c.name, got, c.want)
		}
	}
}

func TestExcess(t *testing.T) {
	rule := Rule{10, 5}
	for _, c := range []struct {
		name string
		at   []time.Duration
		want float64
	}{
		{"none", nil, -5},
		{"the burst", make([]time.Duration, 5), 0},
		{"three above the burst", make([]time.Duration, 8), 3},
		{"at the rate for ever", every(100*time.Millisecond, 500), -4},
		{"twice the rate for a second", every(50*time.Millisecond, 21), 21 - 10 - 5},
		{"a burst, a pause that refills it, a burst", append(make([]time.Duration, 5), slices.Repeat([]time.Duration{time.Second}, 5)...), 0},
		{"a burst, half the pause, a burst", append(make([]time.Duration, 5), slices.Repeat([]time.Duration{250 * time.Millisecond}, 5)...), 2.5},
	} {
		if got := rule.Excess(c.at); !near(got, c.want) {
			t.Errorf("%s: %v above the burst, wanted %v", c.name, got, c.want)
		}
		if got := rule.Proven(at(c.at...)); !near(got, c.want) {
			t.Errorf("%s: %v proven, wanted %v", c.name, got, c.want)
		}
	}
}

// The tree finds what comparing every span with every other one finds.
func TestProvenAgreesWithAllPairs(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		rule := Rule{1 + 50*rng.Float64(), 1 + 5*rng.Float64()}
		var h History
		for range rng.IntN(40) {
			from := time.Duration(rng.IntN(2000)) * time.Millisecond
			h = append(h, Request{Sent: from, Done: from + time.Duration(rng.IntN(300))*time.Millisecond, Status: 200})
		}
		if got, want := rule.Proven(h), allPairs(rule, h); !near(got, want) {
			t.Fatalf("%v proven of %v, wanted %v", got, h, want)
		}
	}
}

func allPairs(rule Rule, h History) float64 {
	worst := 0.0
	for _, a := range h {
		for _, b := range h {
			inside := 0
			for _, r := range h {
				if r.Sent >= a.Sent && r.Done <= b.Done {
					inside++
				}
			}
			if inside > 0 {
				worst = max(worst, float64(inside)-(b.Done-a.Sent).Seconds()*rule.Rate)
			}
		}
	}
	return worst - rule.Burst
}

// Ten answers that a stalled machine let out together prove nothing: each may have been decided when it was sent.
func TestDelayedAnswersProveNoExcess(t *testing.T) {
	rule := Rule{10, 1}
	var h History
	for i := range 10 {
		h = append(h, Request{Sent: time.Duration(i) * 100 * time.Millisecond, Done: 950 * time.Millisecond, Status: 200})
	}
	if got := rule.Proven(h); got > 0 {
		t.Errorf("%v tokens proven", got)
	}
	if got := rule.Excess(h.times(done)); got < 8 {
		t.Errorf("by the answers alone it is %v", got)
	}
}

func TestJain(t *testing.T) {
	for _, c := range []struct {
		shares []float64
		want   float64
	}{{[]float64{1, 1, 1, 1}, 1}, {[]float64{1, 0, 0, 0}, .25}, {[]float64{2, 1}, .9}, {nil, 1}, {[]float64{0, 0}, 1}} {
		if got := Jain(c.shares); !near(got, c.want) {
			t.Errorf("%v: %v, wanted %v", c.shares, got, c.want)
		}
	}
}

func TestWorstWindow(t *testing.T) {
	times := append(every(100*time.Millisecond, 20), slices.Repeat([]time.Duration{5 * time.Second}, 30)...)
	for span, want := range map[time.Duration]int{time.Second: 30, 2 * time.Second: 30, 5 * time.Second: 49, 10 * time.Second: 50} {
		if got := Worst(times, span); got != want {
			t.Errorf("%v: %d, wanted %d", span, got, want)
		}
	}
}

// offered makes a history of requests every gap on two gateways in turn; admit decides.
func offered(gap time.Duration, n int, admit func(i int, t time.Duration) bool) (h History) {
	for i := range n {
		t := time.Duration(i) * gap
		r := Request{Due: t, Sent: t, Done: t + time.Millisecond, Gateway: i % 2, Status: 429, Left: -1}
		if admit(i, t) {
			r.Status = 200
		}
		h = append(h, r)
	}
	return h
}

// Limiters with known faults: each must miss the target that is meant for it, and a right one none.
func TestJudgeTellsFaultyLimitersFromARightOne(t *testing.T) {
	rule := Rule{100, 100}
	bucket := func(rule Rule) func(int, time.Duration) bool {
		level, last := rule.Burst, time.Duration(0)
		return func(_ int, now time.Duration) bool {
			level, last = min(rule.Burst, level+(now-last).Seconds()*rule.Rate), now
			if level < 1-tiny {
				return false
			}
			level--
			return true
		}
	}
	divided := []func(int, time.Duration) bool{bucket(Rule{50, 50}), bucket(Rule{50, 50})}
	apart := []func(int, time.Duration) bool{bucket(rule), bucket(rule)}
	refilled := bucket(Rule{100, 200})
	late := bucket(rule)
	for _, c := range []struct {
		name, want string
		gap        time.Duration
		load       float64
		admit      func(int, time.Duration) bool
	}{
		{"right", "", 2500 * time.Microsecond, 4, bucket(rule)},
		{"right, below the limit", "", 11 * time.Millisecond, .9, bucket(rule)},
		{"each gateway counts alone", Grossly, 2500 * time.Microsecond, 4, func(i int, t time.Duration) bool { return apart[i%2](i, t) }},
		{"divided, all traffic on one", "A3:", 11 * time.Millisecond, .9, func(i int, t time.Duration) bool { return divided[0](i, t) }},
		{"a burst too much", "A2:", 2500 * time.Microsecond, 4, refilled},
		{"every hundredth is refused", "A3:", 11 * time.Millisecond, .9, func(i int, t time.Duration) bool { return late(i, t) && i%100 != 0 }},
		{"two percent too much", "A1:", 2500 * time.Microsecond, 4, bucket(Rule{103, 100})},
	} {
		f := Judge(rule, offered(c.gap, 4000, c.admit))
		misses := strings.Join(f.Misses(rule, f.Targets(rule, c.load, 2)), "; ")
		if c.want == "" && misses != "" || !strings.Contains(misses, c.want) {
			t.Errorf("%s: %q, wanted %q; %+v", c.name, misses, c.want, f)
		}
	}
}

func TestJudgeCountsClientsApart(t *testing.T) {
	h := offered(time.Millisecond, 20, func(i int, _ time.Duration) bool { return i%2 == 0 || i < 2 })
	for i := range h {
		h[i].Client = i % 4
	}
	h = append(h, Request{Sent: time.Second, Status: 0}, Request{Sent: time.Second, Done: time.Second, Status: 503})
	f := Judge(Rule{.001, 5}, h)
	if f.Offered != 21 || f.Admitted != 11 || f.Refused != 9 || f.Ideal != 20 || f.Other[0] != 1 || f.Other[503] != 1 {
		t.Errorf("%+v", f)
	}
	if f.ByGateway > .8 || f.ByClient > .8 {
		t.Errorf("one of two gateways has almost everything: %v, %v", f.ByGateway, f.ByClient)
	}
	if got := f.Misses(Rule{.001, 5}, Targets{4, 5, 5, 2}); len(got) < 3 {
		t.Errorf("answers of other kinds are no miss: %v", got)
	}
}

func TestHeld(t *testing.T) {
	for _, c := range []struct {
		burst float64
		n     int
		want  float64
	}{{1000, 8, 96}, {100, 8, 8}, {5, 8, 8}, {100, 1, 10}} {
		if got := Held(Rule{1, c.burst}, c.n); got != c.want {
			t.Errorf("burst %v of %d gateways: %v, wanted %v", c.burst, c.n, got, c.want)
		}
	}
}
