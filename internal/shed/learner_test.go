package shed

import (
	"testing"
	"time"
)

func TestRoom(t *testing.T) {
	for _, c := range []struct {
		bound, share float64
		want         uint32
	}{{100, 0.07, 7}, {100, 0.29, 29}, {1000, 0.55, 550}, {10, 0.75, 8}, {1, 0.5, 1}, {1, 0.01, 1}, {20, 1, 20}} {
		if got := room(c.bound, c.share); got != c.want {
			t.Errorf("%v of %v: %d, want %d", c.share, c.bound, got, c.want)
		}
	}
}

func TestGradient(t *testing.T) {
	for _, c := range []struct{ short, want float64 }{{50, 1}, {100, 1}, {125, 1}, {156.25, 0.8}, {10_000, 0.5}} {
		if got := (&profile{long: 100, short: c.short}).gradient(); got != c.want {
			t.Errorf("short %v: %v, want %v", c.short, got, c.want)
		}
	}
}

func TestBaselineFollows(t *testing.T) {
	for name, c := range map[string]struct {
		short  float64
		plenty bool
		late   bool
		want   float64
	}{
		"much faster, at any time":    {10, false, false, 91},
		"much faster, with time-outs": {10, true, true, 100},
		"a little faster, pressed":    {90, false, false, 100},
		"slower, pressed":             {110, false, false, 100},
		"slower, with room":           {110, true, false, 100.05},
		"much slower, with room":      {300, true, false, 101},
	} {
		p := &profile{long: 100, short: c.short, learnt: enough, age: drift, late: c.late}
		if p.follow(c.plenty, 100*time.Millisecond); p.long < c.want-1e-6 || p.long > c.want+1e-6 {
			t.Errorf("%s: %v, want %v", name, p.long, c.want)
		}
	}
}

// A bound that nobody comes near falls no further than to four times what is used, so that it sheds nobody.
func TestAnUnusedBoundStaysAboveItsUse(t *testing.T) {
	l := learner{bound: 1000}
	for range 200 {
		l.move(window{peak: 30}, 0.5)
	}
	if l.bound != 120 {
		t.Errorf("the bound fell to %v", l.bound)
	}
	for range 200 {
		l.move(window{peak: 30}, 1)
	}
	if l.bound != 120 {
		t.Errorf("a bound that is not used grew to %v", l.bound)
	}
}

func TestWhatAProbeConcludes(t *testing.T) {
	for name, c := range map[string]struct {
		mean, before float64
		bound, long  float64
		soon         bool
	}{
		"as ever":                       {100, 125, 50, 100, false},
		"slower for good":               {300, 310, 80, 300, false},
		"a queue below the level, too":  {300, 600, 25, 100, true},
		"the baseline had been a queue": {50, 100, 50, 50, true},
	} {
		p := &profile{long: 100, short: c.before, before: c.before, learnt: enough, mean: c.mean, n: 1e9}
		l := learner{bound: 50, level: 25, anchor: 80, phase: measuring, interval: 8 * time.Second, active: []*profile{p}}
		l.conclude(time.Minute)
		if l.bound != c.bound || int(p.long+0.5) != int(c.long) || (l.interval == firstProbe) != c.soon || l.phase != idle {
			t.Errorf("%s: bound %v, baseline %v, next after %v", name, l.bound, p.long, l.interval)
		}
		if !c.soon && l.interval != 16*time.Second {
			t.Errorf("%s: next after %v", name, l.interval)
		}
	}
}

// Edge case 40: what was learned outlives a reload.
func TestReloadKeepsWhatWasLearned(t *testing.T) {
	s := New(nil)
	s.Layer(adaptive(300), Normal)
	s.learner.bound = 50
	s.Layer(adaptive(400), Normal)
	if got := s.Snapshot().Bound; got != 50 {
		t.Errorf("bound %d", got)
	}
}

func TestTheMiddleIsTheOneOfRequests(t *testing.T) {
	for _, c := range []struct {
		points []point
		want   float64
	}{
		{nil, 1},
		{[]point{{0.5, 1}}, 0.5},
		{[]point{{1, 60}, {0.5, 40}}, 1},
		{[]point{{1, 40}, {0.5, 60}}, 0.5},
		{[]point{{1, 30}, {0.5, 30}, {0.7, 30}}, 0.7},
	} {
		if got := middle(c.points); got != c.want {
			t.Errorf("%v: %v, want %v", c.points, got, c.want)
		}
	}
}
