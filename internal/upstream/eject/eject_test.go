package eject

import (
	"testing"
	"time"
)

var usual = Settings{Consecutive: 5, Connect: 3, Time: 30 * time.Second, MaxTime: 5 * time.Minute, MaxShare: 0.5}

func sec(n int) int64 { return int64(n) * int64(time.Second) }

func fails(r *Record, s *Settings, reason string, n int) (ejects bool) {
	for range n {
		ejects = r.Bad(s, reason)
	}
	return ejects
}

func TestThresholds(t *testing.T) {
	for reason, limit := range map[string]int{Errors: 5, Connect: 3} {
		r := &Record{}
		if fails(r, &usual, reason, limit-1) {
			t.Errorf("%s: %d were enough", reason, limit-1)
		}
		r.Good()
		if fails(r, &usual, reason, limit-1) {
			t.Errorf("%s: an answer in between was not seen", reason)
		}
		if !r.Bad(&usual, reason) || !r.Failing(&usual) {
			t.Errorf("%s: %d in a row were not enough", reason, limit)
		}
	}
}

func TestErrorsEndARowOfFailedConnections(t *testing.T) {
	r := &Record{}
	fails(r, &usual, Connect, 2)
	r.Bad(&usual, Errors)
	if fails(r, &usual, Connect, 2) || !r.Bad(&usual, Connect) {
		t.Error("a connection that came about counts as none")
	}
}

func TestSwitchedOff(t *testing.T) {
	r, off := &Record{}, &Settings{MaxShare: 1}
	if fails(r, off, Errors, 100) || fails(r, off, Connect, 100) || off.On() || r.Failing(off) {
		t.Error("0 ejects")
	}
}

func TestTimesGrowAndAreCapped(t *testing.T) {
	r, now := &Record{}, sec(1000)
	for n := 1; n <= 14; n++ {
		want := min(time.Duration(n)*30*time.Second, 5*time.Minute)
		if got := r.Eject(&usual, Errors, now, 0); got != want {
			t.Errorf("ejection %d: %v, want %v", n, got, want)
		}
		if r.Until() != now+int64(want) || !r.Out() {
			t.Errorf("until %d", r.Until())
		}
		if r.Bad(&usual, Errors) {
			t.Error("what is out is ejected again")
		}
		now = r.Until()
		r.Return(&usual, now)
	}
	if a, b := r.Ejections(); a != 14 || b != 0 {
		t.Errorf("%d, %d", a, b)
	}
	if reason, _, times := r.Last(); reason != Errors || times != 14 {
		t.Errorf("%s %d", reason, times)
	}
}

func TestJitterAddsATenth(t *testing.T) {
	for jitter, want := range map[float64]time.Duration{0: 30 * time.Second, 0.5: 31500 * time.Millisecond, 1: 33 * time.Second} {
		if got := (&Record{}).Eject(&usual, Errors, 1, jitter); got != want {
			t.Errorf("%v: %v", jitter, got)
		}
	}
}

// A time without ejection is forgiven step by step.
func TestGoodTimesAreCounted(t *testing.T) {
	r, now := &Record{}, sec(1)
	for range 4 {
		r.Eject(&usual, Errors, now, 0)
		now = r.Until()
		r.Return(&usual, now)
	}
	if got := r.Eject(&usual, Errors, now+sec(65), 0); got != 90*time.Second {
		t.Errorf("after 65 s: %v, want 5 - 2 times 30 s", got)
	}
	now = r.Until()
	r.Return(&usual, now)
	if got := r.Eject(&usual, Errors, now+sec(3600), 0); got != 30*time.Second {
		t.Errorf("after an hour: %v", got)
	}
}

// Who comes back is on probation: one failed call, not five.
func TestProbation(t *testing.T) {
	for _, reason := range []string{Errors, Connect} {
		r := &Record{}
		r.Eject(&usual, Errors, 1, 0)
		r.Return(&usual, sec(30))
		if r.Out() || r.Failing(&usual) {
			t.Error("still out")
		}
		if !r.Bad(&usual, reason) {
			t.Errorf("%s: the first failure after the return was let pass", reason)
		}
		r = &Record{}
		r.Return(&usual, sec(30))
		r.Good()
		if r.Bad(&usual, reason) {
			t.Errorf("%s: a good call did not end the probation", reason)
		}
	}
}

func TestMay(t *testing.T) {
	for _, c := range []struct {
		n, out int
		share  float64
		want   bool
	}{
		{1, 0, 1, false}, {2, 0, 0.5, true}, {2, 1, 0.5, false}, {3, 0, 0.1, true}, {3, 1, 0.5, false}, {10, 4, 0.5, true}, {10, 5, 0.5, false},
		{100, 0, 0, true}, {100, 1, 0, false}, {4, 3, 1, true},
	} {
		s := Settings{MaxShare: c.share}
		if s.May(c.n, c.out) != c.want {
			t.Errorf("%+v", c)
		}
	}
}

// Checks that pass in a row, begun after the ejection, end it.
func TestChecksEndAnEjection(t *testing.T) {
	out := func() *Record { r := &Record{}; r.Eject(&usual, Connect, sec(100), 0); return r }
	for name, c := range map[string]struct {
		began []int // seconds; negative: it failed
		ends  bool
	}{
		"one":                  {[]int{101}, false},
		"two":                  {[]int{101, 102}, true},
		"one is older":         {[]int{99, 101}, false},
		"a failure between":    {[]int{101, -102, 103}, false},
		"two behind a failure": {[]int{101, -102, 103, 104}, true},
		"an older failure":     {[]int{101, -99, 103}, true},
		"all fail":             {[]int{-101, -102}, false},
	} {
		r, ends := out(), false
		for _, at := range c.began {
			ends = r.Checked(at > 0, sec(max(at, -at)), sec(max(at, -at)+1), 2)
		}
		if ends != c.ends {
			t.Errorf("%s: %v", name, ends)
		}
	}
	r := &Record{}
	if r.Checked(true, 1, 1, 1) {
		t.Error("there was no ejection to end")
	}
	r.Eject(&usual, Errors, sec(1), 0)
	if !r.Checked(true, sec(2), sec(2), 1) {
		t.Fatal("not believed")
	}
	r.Return(&usual, sec(2))
	if r.Checked(true, sec(3), sec(3), 1) || !r.Bad(&usual, Errors) {
		t.Error("no probation")
	}
	r.Eject(&usual, Errors, sec(1000), 0)
	if r.Checked(true, sec(1001), sec(1001), 2) {
		t.Error("checks of the ejection before count")
	}
}

// A target whose checks always pass while its calls fail is believed once. After that it stays away longer each time, up to
// max_time, as without checks.
func TestChecksThatAlwaysPassDoNotMakeATargetFlap(t *testing.T) {
	for _, s := range []Settings{usual, {Consecutive: 5, Time: 30 * time.Second, MaxTime: 30 * time.Second}} {
		r, now, check, before := &Record{}, sec(1000), int64(200*time.Millisecond), int64(0)
		for n := 1; now < sec(1000+3600); n++ { // each call that it gets fails
			r.Eject(&s, Errors, now, 0.5)
			began := now
			for now += check; now < r.Until() && !r.Checked(true, now-check/2, now, 2); now += check {
			}
			stayed := now - began
			switch r.Return(&s, now); {
			case n == 1 && stayed > 2*check:
				t.Errorf("the first ejection lasted %v", time.Duration(stayed))
			case n > 1 && stayed < min(int64(s.Time)*int64(n-1), int64(s.MaxTime)), stayed < before:
				t.Errorf("ejection %d lasted %v, the one before %v", n, time.Duration(stayed), time.Duration(before))
			case s.MaxTime > s.Time && n > 20, n > 122:
				t.Fatalf("%d ejections in an hour", n)
			}
			before = stayed
		}
	}
}
