package breaker

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/units"
)

func TestOpensAtTheMinimum(t *testing.T) {
	r := newRig(t)
	r.calls(19, Failure, 0)
	r.is(Closed)
	r.calls(1, Failure, 0)
	r.is(Open)
	if wait := r.refused(); wait != 5*time.Second {
		t.Errorf("wait %v", wait)
	}
}

// One failing call must never stop an upstream that is rarely called (edge case 15).
func TestOneFailureUnderTheMinimum(t *testing.T) {
	r := newRig(t)
	for range 50 {
		r.calls(1, Failure, 0)
		r.now = r.now.Add(time.Second)
		r.is(Closed)
	}
}

func TestFailureRate(t *testing.T) {
	for _, c := range []struct {
		rate       float64
		good, bad  int
		wantedOpen bool
	}{
		{0.5, 11, 9, false}, {0.5, 10, 10, true}, {0.07, 93, 7, true}, {0.07, 94, 6, false}, {1, 1, 99, false}, {1, 0, 20, true},
	} {
		r := newRig(t, func(s *Settings) { s.FailureRate = c.rate; s.Minimum = c.good + c.bad })
		r.calls(c.bad, Failure, 0)
		r.calls(c.good, Success, 0) // the rate is judged by whoever completes the minimum
		if got := r.b.State(r.now) == Open; got != c.wantedOpen {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestOldFailuresDoNotCount(t *testing.T) {
	r := newRig(t)
	r.calls(19, Failure, 0)
	r.now = r.now.Add(10 * time.Second)
	r.calls(19, Failure, 0)
	r.is(Closed)
}

func TestSlowCalls(t *testing.T) {
	slow := func(s *Settings) { s.Slow = 2 * time.Second }
	r := newRig(t, slow)
	r.calls(4, Success, time.Second)
	r.calls(15, Success, 3*time.Second)
	r.is(Closed)
	r.calls(1, Success, 3*time.Second)
	r.is(Open)
	r = newRig(t, slow)
	r.calls(100, Success, 2*time.Second) // not longer than slow
	r.is(Closed)
	r = newRig(t)
	r.calls(100, Success, time.Hour) // slow calls are not judged
	r.is(Closed)
}

// What slow calls opened does not close on slow probes.
func TestSlowProbeOpensAgain(t *testing.T) {
	r := newRig(t, func(s *Settings) { s.Slow = 2 * time.Second }).halfOpen()
	r.calls(1, Success, 3*time.Second)
	r.is(Open)
}

func TestConsecutive(t *testing.T) {
	r := newRig(t, func(s *Settings) { s.Consecutive = 3 })
	r.calls(2, Failure, 0)
	r.calls(1, Success, 0)
	r.calls(1, Failure, 0)
	r.calls(1, Neutral, 0) // does not interrupt the row
	r.calls(1, Failure, 0)
	r.is(Closed)
	r.calls(1, Failure, 0)
	r.is(Open)
}

// Neutral results are not calls: neither failures nor volume.
func TestNeutralIsNotCounted(t *testing.T) {
	r := newRig(t)
	r.calls(100, Neutral, time.Hour)
	r.calls(19, Failure, 0)
	r.is(Closed)
}

func TestOpenThenProbesThenClosed(t *testing.T) {
	r := newRig(t).open()
	r.now = r.now.Add(5*time.Second - 1)
	if wait := r.refused(); wait != 1 {
		t.Errorf("wait %v", wait)
	}
	r.now = r.now.Add(1)
	r.is(HalfOpen) // though nobody has come yet
	if _, ok := r.b.Ready(r.s, r.now); !ok {
		t.Error("not ready for a probe")
	}
	probes := []Permit{r.acquire(), r.acquire(), r.acquire()}
	if wait := r.refused(); wait > time.Second {
		t.Errorf("wait %v", wait)
	}
	probes[0].Done(Success, 0, r.now)
	probes[1].Done(Success, 0, r.now)
	r.is(HalfOpen)
	probes[2].Done(Success, 0, r.now)
	r.is(Closed)
	r.calls(19, Failure, 0) // counting starts afresh
	r.is(Closed)
	want := "orders closed, orders open, orders half_open, orders closed"
	if got := strings.Join(r.heard.heard, ", "); got != want {
		t.Errorf("heard %s", got)
	}
}

func TestProbeFails(t *testing.T) {
	r := newRig(t).halfOpen()
	r.calls(2, Success, 0)
	r.calls(1, Failure, 0)
	r.is(Open)
	if wait := r.refused(); wait != 5*time.Second {
		t.Errorf("wait %v", wait)
	}
	r.now = r.now.Add(5 * time.Second)
	r.calls(2, Success, 0) // the earlier two do not count any more
	r.is(HalfOpen)
}

// The client of a probe leaves (edge case 17): the place is free again, nothing is judged.
func TestNeutralProbeReturnsItsPlace(t *testing.T) {
	r := newRig(t).halfOpen()
	for range 20 {
		probes := []Permit{r.acquire(), r.acquire(), r.acquire()}
		r.refused()
		for _, p := range probes {
			p.Done(Neutral, 0, r.now)
		}
		r.is(HalfOpen)
	}
	r.calls(3, Success, 0)
	r.is(Closed)
}

// Probes that never report (edge case 14) hold their places for ten seconds, or for open when that is longer.
func TestHungProbe(t *testing.T) {
	for _, c := range []struct{ open, lease time.Duration }{{5 * time.Second, 10 * time.Second}, {30 * time.Second, 30 * time.Second}} {
		r := newRig(t, func(s *Settings) { s.Open = c.open }).halfOpen()
		late := []Permit{r.acquire(), r.acquire(), r.acquire()}
		r.now = r.now.Add(c.lease - 1)
		if wait := r.refused(); wait != 1 {
			t.Errorf("wait %v", wait)
		}
		r.now = r.now.Add(1)
		r.acquire()
		r.acquire()
		r.acquire()
		r.refused()
		late[0].Done(Neutral, time.Minute, r.now) // its place is another's by now
		r.refused()
		late[1].Done(Failure, time.Minute, r.now) // late, but it says what is the case
		r.is(Open)
	}
}

// A result from before a change of state changes nothing, good or bad.
func TestTwoGenerations(t *testing.T) {
	r := newRig(t)
	early, other := r.acquire(), r.acquire()
	r.halfOpen()
	early.Done(Failure, 0, r.now)
	r.calls(2, Success, 0)
	other.Done(Success, 0, r.now)
	r.is(HalfOpen)
	probe := r.acquire()
	r.calls(1, Success, 0)
	r.is(Closed)
	probe.Done(Failure, 0, r.now)
	if shot := r.b.Snapshot(r.now); shot.State != Closed || shot.Calls != 0 {
		t.Errorf("%+v", shot)
	}
}

// Settings travel with the call: a reload changes them at once and forgets nothing.
func TestSettingsChangeLive(t *testing.T) {
	r := newRig(t)
	r.calls(10, Failure, 0)
	r.reload(func(s *Settings) { s.Minimum = 11 })
	r.calls(1, Failure, 0)
	r.is(Open)
	r.reload(func(s *Settings) { s.Open = time.Minute })
	r.now = r.now.Add(5 * time.Second)
	if wait := r.refused(); wait != 55*time.Second {
		t.Errorf("wait %v", wait)
	}
	r.reload(func(s *Settings) { s.Open = 4 * time.Second })
	probes := []Permit{r.acquire(), r.acquire(), r.acquire()}
	r.reload(func(s *Settings) { s.Probes = 1 })
	probes[0].Done(Neutral, 0, r.now)
	r.refused() // two are still out
	probes[1].Done(Neutral, 0, r.now)
	probes[2].Done(Success, 0, r.now)
	r.is(HalfOpen) // judged by the settings it was let through with
	r.calls(1, Success, 0)
	r.is(Closed)
}

// A body that breaks after a good head turns the success into a failure; from before the state began it says nothing.
func TestFail(t *testing.T) {
	r := newRig(t, func(s *Settings) { s.Minimum = 4 })
	began := r.now
	r.now = r.now.Add(time.Second)
	r.calls(4, Success, 0)
	r.b.Fail(r.s, began, r.now)
	if shot := r.b.Snapshot(r.now); shot.Calls != 4 || shot.Failed != 1 || shot.Failures != 1 {
		t.Errorf("%+v", shot)
	}
	r.b.Fail(r.s, began, r.now)
	r.is(Open)
	r.b.Fail(r.s, began, r.now)
	r.now = r.now.Add(5 * time.Second)
	r.calls(1, Success, 0)
	r.b.Fail(r.s, began, r.now)
	r.is(HalfOpen)
	r.b.Fail(r.s, r.now, r.now)
	r.is(Open)
	New("new", nil).Fail(r.s, began, r.now) // before any call
}

func TestSnapshot(t *testing.T) {
	r := newRig(t, func(s *Settings) { s.Slow = time.Second })
	r.calls(2, Success, 2*time.Second)
	r.calls(1, Failure, 0)
	want := Snapshot{Name: "orders", State: Closed, Calls: 3, Failed: 1, Slow: 2, Failures: 1}
	if got := r.b.Snapshot(r.now); got != want {
		t.Errorf("%+v", got)
	}
	r.now = r.now.Add(time.Minute)
	r.open()
	since := r.now
	r.now = r.now.Add(2 * time.Second)
	want = Snapshot{Name: "orders", State: Open, Why: FailureRate, Openings: 1, Since: since, Wait: 3 * time.Second}
	if got := r.b.Snapshot(r.now); got != want {
		t.Errorf("%+v", got)
	}
	r.now = r.now.Add(time.Minute)
	want = Snapshot{Name: "orders", State: HalfOpen, Why: FailureRate, Openings: 1, Since: since.Add(5 * time.Second)}
	if got := r.b.Snapshot(r.now); got != want {
		t.Errorf("%+v", got)
	}
}

// Clocks of two goroutines may cross; an earlier now is taken as the latest one.
func TestTimeDoesNotGoBack(t *testing.T) {
	r := newRig(t).open()
	r.now = r.now.Add(-time.Hour)
	if wait := r.refused(); wait != 5*time.Second {
		t.Errorf("wait %v", wait)
	}
}

func TestZeroPermit(t *testing.T) {
	Permit{}.Done(Failure, 0, time.Now())
}

// The settings of the document's defaults are those of the tests.
func TestConfigSettings(t *testing.T) {
	c := Config{
		Window: units.Duration(10 * time.Second), Minimum: 20, FailureRate: 0.5, SlowRate: 0.8,
		Open: units.Duration(5 * time.Second), Probes: 3,
	}
	if got := c.Settings(); got != defaults() {
		t.Errorf("%+v", got)
	}
	c.Slow, c.Consecutive = units.Duration(time.Second), 4
	if got := c.Settings(); got.Slow != time.Second || got.Consecutive != 4 {
		t.Errorf("%+v", got)
	}
}

// Goroutines at once: in half-open exactly the probes get through, and the race detector sees nothing.
func TestConcurrent(t *testing.T) {
	r := newRig(t).halfOpen()
	var group sync.WaitGroup
	var mu sync.Mutex
	through := 0
	for range 50 {
		group.Go(func() {
			if _, _, err := r.b.Acquire(r.s, r.now); err == nil {
				mu.Lock()
				through++
				mu.Unlock()
			}
			r.b.Ready(r.s, r.now)
			r.b.Snapshot(r.now)
		})
	}
	group.Wait()
	if through != 3 {
		t.Errorf("%d probes", through)
	}
}

func TestWords(t *testing.T) {
	if got := fmt.Sprint(Closed, HalfOpen, Open, uint8(Closed), uint8(HalfOpen), uint8(Open)); got != "closed half_open open 0 1 2" {
		t.Error(got)
	}
}
