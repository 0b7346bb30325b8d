package breaker

import (
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// defaults are the document's.
func defaults() Settings {
	return Settings{Window: 10 * time.Second, Minimum: 20, FailureRate: 0.5, SlowRate: 0.8, Open: 5 * time.Second, Probes: 3}
}

// states notes what the recorder hears.
type states struct {
	heard []string
	why   []Reason
}

func (s *states) BreakerState(name string, state State, why Reason) {
	s.why = append(s.why, why)
	s.heard = append(s.heard, name+" "+state.String())
}

// rig is a breaker with a clock that the test turns.
type rig struct {
	t     *testing.T
	b     *Breaker
	s     *Settings
	now   time.Time
	heard *states
}

func newRig(t *testing.T, change ...func(*Settings)) *rig {
	s := defaults()
	r := &rig{t: t, s: &s, now: time.Unix(1000, 0), heard: new(states)}
	for _, f := range change {
		f(r.s)
	}
	r.b = New("orders", r.heard)
	return r
}

// reload gives later calls other settings; permits that are out keep theirs.
func (r *rig) reload(change func(*Settings)) {
	s := *r.s
	change(&s)
	r.s = &s
}

func (r *rig) acquire() Permit {
	r.t.Helper()
	p, wait, err := r.b.Acquire(r.s, r.now)
	if err != nil || wait != 0 {
		r.t.Fatalf("refused: %v, %v", wait, err)
	}
	return p
}

func (r *rig) refused() time.Duration {
	r.t.Helper()
	ready, ok := r.b.Ready(r.s, r.now)
	_, wait, err := r.b.Acquire(r.s, r.now)
	if err != pipeline.UpstreamOpen || wait <= 0 || ok || ready != wait {
		r.t.Fatalf("not refused: %v, %v, Ready %v, %v", wait, err, ready, ok)
	}
	return wait
}

// calls makes n calls with this result.
func (r *rig) calls(n int, o Outcome, took time.Duration) {
	r.t.Helper()
	for range n {
		r.acquire().Done(o, took, r.now)
	}
}

func (r *rig) is(want State) {
	r.t.Helper()
	if got := r.b.State(r.now); got != want {
		r.t.Fatalf("%v, want %v", got, want)
	}
}

func (r *rig) open() *rig {
	r.t.Helper()
	r.calls(r.s.Minimum, Failure, 0)
	r.is(Open)
	return r
}

func (r *rig) halfOpen() *rig {
	r.t.Helper()
	r.open()
	r.now = r.now.Add(r.s.Open)
	return r
}
