package fleet

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"
)

// T15: every gateway is replaced in turn under four times the limit. Leases are given back, nothing is counted twice, and a
// gateway that starts brings no burst of its own.
func TestRollingRestart(t *testing.T) {
	n, rule := 3, Rule{200, 200}
	if full() {
		n = 8
	}
	d := Document{Shared: true, Limits: []Limit{{Name: "rolled", Rule: rule, Spec: "rate: 200/s, burst: 200"}}}
	fairly(t, "T15", func(uint64) ([]string, float64) {
		f := Open(t, binary(t), n, Single(t, false), d)
		defer f.Stop()
		h := f.during(t, func() { f.roll(t) }, Stream{PerSecond: 4 * rule.Rate, Clients: []int{0}, For: time.Minute},
			Stream{Route: f.Free(), PerSecond: freePerSecond, Clients: []int{0}, For: time.Minute})
		got := Judge(rule, h.Route(0))
		t.Logf("T15: %d of %d admitted in %v, an ideal bucket %d: ratio %.4f; %.1f tokens above the rule; %d found no gateway, %d met one that drained",
			got.Admitted, got.Offered, h[len(h)-1].Done, got.Ideal, got.Ratio, got.Excess, got.Other[0], got.Other[503])
		delete(got.Other, 0) // no balancer takes them elsewhere
		delete(got.Other, 503)
		return got.Misses(rule, got.Targets(rule, 4, n)), h.Answered().Busy(f.Free())
	})
}

// roll replaces each gateway by a new process.
func (f *Fleet) roll(t *testing.T) {
	time.Sleep(time.Second)
	for _, g := range f.Gateways {
		g.Stop()
		if err := g.Start(); err != nil {
			t.Error(err)
			return
		}
		if err := g.Ready(20 * time.Second); err != nil {
			t.Error(err)
		}
		time.Sleep(200 * time.Millisecond)
	}
	time.Sleep(time.Second)
}

// during loads the fleet while act runs.
func (f *Fleet) during(t *testing.T, act func(), streams ...Stream) History {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	load, got := f.Load(Connections(len(f.Gateways))), make(chan History, 1)
	load.Begun = time.Now()
	arrivals := Poisson(seed(t), len(f.Gateways), streams...)
	go func() { got <- load.Run(ctx, arrivals) }()
	act()
	stop()
	return <-got
}

// vitals are what must not grow with reloads.
type vitals struct{ goroutines, files, heap, clients float64 }

// vitals are the least of some samples: a collection of garbage or a probe may be under way.
func (f *Fleet) vitals() vitals {
	least := vitals{math.Inf(1), math.Inf(1), math.Inf(1), math.Inf(1)}
	g := f.Gateways[0]
	for range 30 {
		least.goroutines = min(least.goroutines, g.Metric("go_goroutines"))
		least.files = min(least.files, g.Metric("process_open_fds"))
		least.heap = min(least.heap, g.Metric("go_memstats_heap_alloc_bytes"))
		least.clients = min(least.clients, float64(f.Store.Clients()))
		time.Sleep(50 * time.Millisecond)
	}
	return least
}

// T18, edge case 40: reloads keep the buckets and the one client of Redis.
func TestReloadsKeepBucketsAndConnections(t *testing.T) {
	reloads := 40
	if full() {
		reloads = 500
	}
	document := func(rate int) Document {
		return Document{Shared: true, Limits: []Limit{{Name: "kept", Rule: Rule{100, 100}, Spec: fmt.Sprintf("rate: %d/s, burst: 100", rate)}}}
	}
	f := Open(t, binary(t), 1, Single(t, false), document(100))
	var before, after vitals
	h := f.during(t, func() {
		time.Sleep(time.Second)
		f.Reload(document(99))
		before = f.vitals()
		for i := range reloads {
			f.Reload(document(99 + i%2))
		}
		after = f.vitals()
	}, Stream{PerSecond: 200, Clients: []int{0}, For: 5 * time.Minute})
	t.Logf("T18: %d reloads: before %+v, after %+v", reloads, before, after)
	if n := f.Gateways[0].Metric(`gateway_config_reloads_total{result="success"}`); n < float64(reloads) {
		t.Errorf("only %v of %d reloads happened", n, reloads)
	}
	for _, c := range []struct {
		what        string
		was, is, by float64
	}{{"goroutines", before.goroutines, after.goroutines, 8}, {"open files", before.files, after.files, 8}, {"connections to Redis", before.clients, after.clients, 2}, {"bytes of heap", before.heap, after.heap, before.heap/2 + 4<<20}} {
		if c.is > c.was+c.by {
			t.Errorf("%s: %v, %v before %d reloads", c.what, c.is, c.was, reloads)
		}
	}
	rule := Rule{100, 100}
	for status := range h.Statuses() {
		if status != 200 && status != 429 {
			t.Errorf("answers with status %d", status)
		}
	}
	if got := rule.Proven(h.Admitted()); got > 1 {
		t.Errorf("%.1f tokens above the rule: a reload filled the bucket", got)
	}
	if got, due := len(h.Admitted()), .95*99*h[len(h)-1].Done.Seconds(); float64(got) < due {
		t.Errorf("%d admitted, at least %.0f are due", got, due)
	}
}
