package breaker

import (
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Each opening that probes did not end lasts twice as long, up to the longest; one that they ended starts anew.
func TestOpeningsGrow(t *testing.T) {
	r := newRig(t, func(s *Settings) { s.MaxOpen = 30 * time.Second })
	r.open()
	waits := map[time.Duration]bool{}
	for _, least := range []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second, 30 * time.Second} {
		wait := r.refused()
		if wait < least || wait > least*6/5 || least == r.s.Open && wait != least {
			t.Errorf("an opening lasts %v, not %v to %v", wait, least, least*6/5)
		}
		waits[wait] = true
		r.now = r.now.Add(wait)
		r.is(HalfOpen)
		r.acquire().Done(Failure, 0, r.now)
		r.is(Open)
	}
	if len(waits) < 5 {
		t.Error("nothing is left to chance: a fleet would probe in step")
	}
	r.now = r.now.Add(36 * time.Second)
	r.calls(r.s.Probes, Success, 0)
	r.is(Closed)
	if r.open(); r.refused() != 5*time.Second {
		t.Error("an upstream that had recovered pays for its past")
	}
}

// A longest time that is not above open keeps it as it is.
func TestOpeningsThatDoNotGrow(t *testing.T) {
	r := newRig(t, func(s *Settings) { s.MaxOpen = time.Second })
	r.b.machine.seed = 0
	r.halfOpen().acquire().Done(Failure, 0, r.now)
	if wait := r.refused(); wait > r.s.Open*6/5 {
		t.Errorf("%v", wait)
	}
}

func TestForcedOpen(t *testing.T) {
	r := newRig(t)
	held := r.acquire()
	r.b.Force(Open, r.now)
	r.now = r.now.Add(time.Hour)
	if wait := r.refused(); wait != forcedWait {
		t.Errorf("wait %v", wait)
	}
	held.Done(Success, 0, r.now)
	r.is(Open)
	if shot := r.b.Snapshot(r.now); !shot.Forced || shot.State != Open {
		t.Errorf("%+v", shot)
	}
	r.b.Release(r.now)
	r.is(Closed)
	r.open() // it judges again
}

func TestForcedClosed(t *testing.T) {
	r := newRig(t)
	r.open()
	r.b.Force(Closed, r.now)
	r.calls(10*r.s.Minimum, Failure, 0)
	r.b.Fail(r.s, r.now, r.now)
	if _, _, err := r.b.Acquire(r.s, r.now); err == pipeline.UpstreamOpen {
		t.Error("refused though forced closed")
	}
	r.is(Closed)
	r.b.Release(r.now)
	r.calls(r.s.Minimum-1, Failure, 0)
	r.is(Closed) // what was seen meanwhile does not count
}

// A question about later is no event: who asks whether a retry in four seconds makes sense must not bring the probes forward.
func TestReadyMovesNothing(t *testing.T) {
	r := newRig(t)
	r.calls(20, Failure, 0)
	if _, ok := r.b.Ready(r.s, r.now.Add(5*time.Second)); !ok {
		t.Error("in five seconds a probe may go")
	}
	if wait := r.refused(); wait != 5*time.Second {
		t.Errorf("the breaker opens in %v", wait)
	}
	fresh := newRig(t)
	if _, ok := fresh.b.Ready(fresh.s, fresh.now.Add(time.Hour)); !ok {
		t.Error("an unused breaker is closed")
	}
	fresh.calls(20, Failure, 0) // the window must not begin in an hour
	if wait := fresh.refused(); wait != 5*time.Second {
		t.Errorf("the breaker opens in %v", wait)
	}
}

// Why a breaker opened is told, one word of five.
func TestReasons(t *testing.T) {
	for want, f := range map[Reason]func(*rig){
		FailureRate: func(r *rig) { r.calls(20, Failure, 0) },
		SlowRate:    func(r *rig) { r.s.Slow = time.Second; r.calls(20, Success, 2*time.Second) },
		Consecutive: func(r *rig) { r.s.Consecutive = 3; r.calls(3, Failure, 0) },
		Operator:    func(r *rig) { r.b.Force(Open, r.now) },
		Probe: func(r *rig) {
			r.calls(20, Failure, 0)
			r.now = r.now.Add(5 * time.Second)
			r.calls(1, Failure, 0)
		},
	} {
		r := newRig(t)
		f(r)
		if shot := r.b.Snapshot(r.now); shot.State != Open || shot.Why != want || r.heard.why[len(r.heard.why)-1] != want {
			t.Errorf("%s: %+v, heard %q", want, shot, r.heard.why)
		}
		if r.b.Release(r.now); r.b.Snapshot(r.now).Why != "" {
			t.Errorf("%s: a closed breaker has no reason", want)
		}
	}
}
