package upstream

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/units"
)

// service answers calls and health checks, each by a switch.
type service struct {
	*httptest.Server
	healthy, failing atomic.Bool
	calls, checks    atomic.Int32
}

func newService(t *testing.T) *service {
	s := &service{}
	s.healthy.Store(true)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			s.checks.Add(1)
			if !s.healthy.Load() {
				w.WriteHeader(500)
			}
			return
		}
		s.calls.Add(1)
		if s.failing.Load() {
			w.WriteHeader(503)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func checked(urls ...string) Config {
	cfg := several(urls...)
	cfg.Health = &HealthConfig{Type: "http", Path: "/healthz", Interval: units.Duration(10 * time.Millisecond), Timeout: units.Duration(5 * time.Second), Unhealthy: 3, Healthy: 2, Expect: "200-299"}
	return cfg
}

func (r *rig) settles(t *testing.T, states string) {
	t.Helper()
	eventually(t, "states "+states, func() bool { return r.states() == states })
}

// A target that is found unhealthy gets nothing until it is healthy again; it is healthy until proven otherwise.
func TestHealthChecksTakeOutAndBringBack(t *testing.T) {
	a, b := newService(t), newService(t)
	a.healthy.Store(false)
	r := newRig(t, checked(a.URL, b.URL)).live()
	r.wantStates(t, "up up")
	r.settles(t, "unhealthy up")
	if info := r.Targets()[0]; info.Reason != "status 500" || info.Healthy {
		t.Errorf("%+v", info)
	}
	before := a.calls.Load()
	if r.errors(t, 20) != 0 || a.calls.Load() != before {
		t.Error("the unhealthy target was called")
	}
	a.healthy.Store(true)
	r.settles(t, "up up")
	r.errors(t, 20)
	if got := a.calls.Load() - before; got != 10 {
		t.Errorf("%d of 20 calls at the target that is back", got)
	}
}

// Edge case 21: checks that pass end an ejection, but only until calls have shown that they are not worth it: the next ejection
// lasts at least as long as the first would have.
func TestPassingChecksAreBelievedOnce(t *testing.T) {
	a, b := newService(t), newService(t)
	a.failing.Store(true)
	log := &logged{}
	r := newLoggedRig(t, checked(a.URL, b.URL), log)
	bad := 0
	eventually(t, "it is out for the second time", func() bool {
		bad += r.errors(t, 2)
		return r.Targets()[0].EjectedErrors == 2
	})
	if bad != 6 {
		t.Errorf("%d calls failed, want five and one", bad)
	}
	n := a.checks.Load()
	eventually(t, "it is checked some more", func() bool { return a.checks.Load() > n+6 })
	r.wantStates(t, "ejected up")
	if info := r.Targets()[0]; !info.Healthy || time.Until(info.Until) < 59*time.Second || r.errors(t, 20) != 0 {
		t.Errorf("%+v", info)
	}
	if said := log.String(); strings.Count(said, `"msg":"target is back from ejection","upstream":"orders","target":"`+strings.TrimPrefix(a.URL, "http://")+`","by":"checks"`) != 1 {
		t.Error(said)
	}
}

// A target that was down is called again as soon as its checks pass, not when the ejection is over, and is then on probation.
func TestPassingChecksEndAnEjection(t *testing.T) {
	a, b := newService(t), newService(t)
	a.failing.Store(true)
	a.healthy.Store(false)
	cfg := checked(a.URL, b.URL)
	cfg.Health.Unhealthy = 1 << 30 // so that it gets calls at all
	r := newRig(t, cfg).live()
	r.errors(t, 20)
	n := a.checks.Load()
	eventually(t, "it is checked some more", func() bool { return a.checks.Load() > n+6 })
	r.wantStates(t, "ejected up")
	a.failing.Store(false)
	a.healthy.Store(true)
	r.settles(t, "up up")
	before := a.calls.Load()
	if r.errors(t, 20) != 0 || a.calls.Load()-before != 10 {
		t.Errorf("%d of 20 calls at the target that is back", a.calls.Load()-before)
	}
	if info := r.Targets()[0]; !info.Until.IsZero() || info.EjectedErrors != 1 {
		t.Errorf("%+v", info)
	}
}

// Checks end with their configuration, and what they found goes with them; equal ones go on over a reload.
func TestChecksFollowReloads(t *testing.T) {
	a, b := newService(t), newService(t)
	a.healthy.Store(false)
	r := newRig(t, checked(a.URL, b.URL)).live()
	r.settles(t, "unhealthy up")
	reload := func(cfg Config) {
		t.Helper()
		next, err := New("orders", cfg, r.pools, r.rec)
		if err != nil {
			t.Fatal(err)
		}
		r.Upstream = next
		r.live()
	}
	running := func() (list []*check) {
		r.group.mu.Lock()
		defer r.group.mu.Unlock()
		for _, target := range r.set.Load().targets {
			list = append(list, r.group.checks[target.node])
		}
		return list
	}
	before := running()
	reload(checked(a.URL, b.URL))
	r.wantStates(t, "unhealthy up")
	if after := running(); after[0] != before[0] || after[1] != before[1] {
		t.Error("equal checks began anew")
	}
	other := checked(a.URL, b.URL)
	other.Health.Expect = "500"
	reload(other)
	r.settles(t, "up unhealthy")
	reload(several(a.URL, b.URL))
	r.wantStates(t, "up up")
	settled := func() bool {
		n := a.checks.Load() + b.checks.Load()
		time.Sleep(100 * time.Millisecond)
		return n == a.checks.Load()+b.checks.Load()
	}
	eventually(t, "nothing is checked any more", settled)
	reload(checked(b.URL))
	r.pools.Live(nil)
	eventually(t, "nothing is checked any more", settled)
}

// A target that is new or back takes its part step by step; when all are new, nobody has to be spared.
func TestSlowStart(t *testing.T) {
	first, second := newFake(t, answering(okAnswer)), newFake(t, answering(okAnswer))
	cfg := several(first.url, second.url)
	cfg.SlowStart = units.Duration(time.Hour)
	r := newRig(t, cfg).live()
	r.wantStates(t, "up up")
	r.errors(t, 20)
	if len(first.requests()) != 10 {
		t.Errorf("%d of 20 calls while both are new", len(first.requests()))
	}
	r.group.mu.Lock()
	r.set.Load().targets[0].node.since -= int64(2 * time.Hour)
	r.group.epoch.Add(1)
	r.group.mu.Unlock()
	r.wantStates(t, "up starting")
	n := len(second.requests())
	r.errors(t, 440)
	if got := len(second.requests()) - n; got < 10 || got > 80 {
		t.Errorf("%d of 440 calls at a target with a tenth of its part", got)
	}
	half := r.set.Load().targets[1].node
	r.group.mu.Lock()
	half.since -= int64(30 * time.Minute)
	r.group.epoch.Add(1)
	r.group.mu.Unlock()
	n = len(second.requests())
	r.errors(t, 600)
	if got := len(second.requests()) - n; got < 140 || got > 260 {
		t.Errorf("%d of 600 calls at a target with half its part", got)
	}
}

// A check that was ended while it asked changes nothing any more.
func TestEndedChecksReportNothing(t *testing.T) {
	r := newRig(t, several("http://127.0.0.1:1", "http://127.0.0.1:2")).live()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	report{r.set.Load().targets[0].node, ctx, 1}.Health(false, "late")
	r.wantStates(t, "up up")
}

// What comes into force keeps its connections, though a sweep came between its making and that.
func TestSweepBetweenMakingAndServing(t *testing.T) {
	r := newRig(t, several(newFake(t, answering(okAnswer)).url))
	r.pools.Live(nil)
	r.live()
	r.errors(t, 2)
	if info := r.Targets()[0]; info.Idle != 1 || len(r.pools.list()) != 1 {
		t.Errorf("%+v, %d pools", info, len(r.pools.list()))
	}
}
