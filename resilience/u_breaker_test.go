package resilience

import (
	"strings"
	"testing"
	"time"
)

const opens = ", breaker: { minimum: 1, open: 100ms, probes: 1 }, timeout: { first_byte: 30s }"

// state waits for the breaker's.
func (g *gate) state(upstream, want string) {
	g.t.Helper()
	g.eventually("the breaker of "+upstream+" to be "+want, func() bool { return g.upstreams()[upstream].Breaker.State == want })
}

// Edge case 14: a probe that hangs loses its place after ten seconds, and the next one decides.
func TestU14HungProbeGivesItsPlaceBack(t *testing.T) {
	t.Parallel()
	o := scripted(t, turns(status("500 Bug", "", ""), "...", fine))
	g := before(t, o.url, opens)
	g.want(500, "", "GET", "/x", "")
	g.want(503, "upstream-open", "GET", "/x", "")
	time.Sleep(150 * time.Millisecond) // the opening
	probe := g.dialog().say("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
	g.eventually("the probe", func() bool { return o.count() == 2 })
	start := time.Now()
	if a := g.want(503, "upstream-open", "GET", "/x", ""); a.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
	}
	g.eventually("another probe", func() bool { a, _ := g.call("GET", "/x", ""); return a.status == 200 })
	if took := time.Since(start); took < 9*time.Second || took > 12*time.Second {
		t.Errorf("after %v", took)
	}
	g.state("up", "closed")
	_ = probe.Close()
}

// Edge case 15: below the minimum nothing is judged.
func TestU15OneFailureIsNoRate(t *testing.T) {
	t.Parallel()
	o := scripted(t, turns(status("500 Bug", "", ""), fine))
	g := before(t, o.url, ", breaker: { minimum: 20 }")
	g.want(500, "", "GET", "/x", "")
	g.want(200, "", "GET", "/x", "")
	if b := g.upstreams()["up"].Breaker; b.State != "closed" || b.Calls != 2 || b.Failed != 1 {
		t.Errorf("%+v", b)
	}
}

// Edge case 16: what an open breaker refuses is neither sent nor counted; one good probe is enough afterwards.
func TestU16OwnRefusalsAreNotCounted(t *testing.T) {
	t.Parallel()
	o := scripted(t, turns(status("500 Bug", "", ""), fine))
	g := before(t, o.url, strings.Replace(opens, "open: 100ms", "open: 1s", 1)+again)
	g.want(500, "", "GET", "/x", "")
	for range 50 {
		if a, err := g.call("GET", "/x", ""); err != nil || a.status != 503 {
			t.Fatalf("%d, %v", a.status, err)
		}
	}
	if b := g.upstreams()["up"].Breaker; b.State != "open" || b.Calls != 0 || o.count() != 1 {
		t.Errorf("%+v, %d requests at the upstream", b, o.count())
	}
	g.eventually("the probe", func() bool { a, _ := g.call("GET", "/x", ""); return a.status == 200 })
	g.state("up", "closed")
}

// Edge case 17: a client that leaves during a probe says nothing about the upstream, and its place is free at once.
func TestU17ClientThatLeavesAProbe(t *testing.T) {
	t.Parallel()
	o := scripted(t, turns(status("500 Bug", "", ""), "...", fine))
	g := before(t, o.url, opens)
	g.want(500, "", "GET", "/x", "")
	time.Sleep(150 * time.Millisecond) // the opening
	probe := g.dialog().say("GET /x HTTP/1.1\r\nHost: a\r\nX-Request-Id: probe\r\n\r\n")
	g.eventually("the probe", func() bool { return o.count() == 2 })
	_ = probe.Close()
	o.closedWithin(t, "the probe", time.Second)
	if line := g.line("probe"); line["status"] != 499.0 {
		t.Errorf("%v", line)
	}
	g.want(200, "", "GET", "/x", "")
	g.state("up", "closed")
}
