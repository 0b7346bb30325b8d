package e2e

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// broken is a gateway whose upstream has a breaker, and that upstream.
type broken struct {
	*gateway
	t  *testing.T
	up *scripted
}

const breakable = `upstreams: { up: { targets: [%s], timeout: { connect: 300ms, first_byte: 1s }, breaker: { %s } } }
routes: [ { id: all, match: { path: /** }, auth: none, to: up } ]
`

// behind starts one; more targets may stand before the upstream's own.
func behind(t *testing.T, settings string, targets ...string) *broken {
	t.Helper()
	up := script(t)
	b := &broken{t: t, up: up, gateway: begin(t, fmt.Sprintf(breakable, strings.Join(append(targets, strconv.Quote(up.url)), ", "), settings))}
	up.on("/500", answers(500, ""))
	up.on("/slow", then(pauses(60*time.Millisecond), answers(200, "")))
	return b
}

// get wants a status, n times.
func (b *broken) get(path string, n, status int) (last reply) {
	b.t.Helper()
	for i := range n {
		if last = b.raw(post("GET", path, "")); last.status != status {
			b.t.Fatalf("%d. GET %s: %d %s, %v; wanted %d", i+1, path, last.status, last.body, last.err, status)
		}
	}
	return last
}

func (b *broken) state(n string) {
	b.t.Helper()
	if got := b.metric(`gateway_breaker_state{upstream="up"}`); got != n {
		b.t.Errorf("gateway_breaker_state is %q, wanted %s", got, n)
	}
}

func (b *broken) open(path string) reply {
	b.t.Helper()
	r := b.get(path, 1, 503)
	if !strings.Contains(r.body, "problem:upstream-open") || r.get("Retry-After") == "" || r.member("executed") != "no" {
		b.t.Errorf("%v %s", r.fields, r.body)
	}
	return r
}

func TestBreakerOpensAtTheMinimumAndCloses(t *testing.T) {
	b := behind(t, "window: 10s, minimum: 10, failure_rate: 50%, open: 700ms, probes: 2")
	b.state("0")
	for _, status := range []int{404, 501, 429, 401} {
		b.up.on(fmt.Sprint("/", status), answers(status, ""))
	}
	b.get("/501", 10, 501) // says nothing
	b.get("/429", 10, 429)
	b.get("/404", 3, 404) // successes
	b.get("/401", 2, 401)
	b.get("/500", 4, 500)
	b.state("0")
	b.get("/500", 1, 500) // the tenth of which half failed
	b.state("2")
	for range 20 {
		b.open("/fine")
	}
	b.up.count("/fine", 0)

	release := make(chan struct{})
	b.up.on("/probe", then(until(release), answers(200, "")))
	b.eventually("half-open", func() bool { return b.raw(post("GET", "/fine", "")).status == 201 })
	b.state("1")
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() { b.raw(post("GET", "/probe", "")) })
	}
	b.up.await("/probe", 2)
	for range 10 {
		b.open("/probe") // the places are taken
	}
	close(release)
	group.Wait()
	b.up.count("/probe", 2)
	b.get("/fine", 1, 201)
	b.state("0")
	b.get("/500", 8, 500) // nothing is remembered from before
	b.state("0")
}

func TestBreakerRetryAfterCountsDown(t *testing.T) {
	b := behind(t, "consecutive: 3, open: 2s, probes: 1")
	b.get("/500", 2, 500)
	b.get("/fine", 1, 201) // in a row
	b.get("/500", 3, 500)
	if first := b.open("/fine").get("Retry-After"); first != "2" {
		t.Errorf("Retry-After %s, wanted 2", first)
	}
	b.eventually("one second to be left", func() bool { return b.open("/fine").get("Retry-After") == "1" })
	b.eventually("a probe", func() bool { return b.raw(post("GET", "/500", "")).status == 500 })
	b.state("2") // it failed
	b.open("/fine")
}

func TestBreakerCountsWhatTheUpstreamDid(t *testing.T) {
	for name, do := range map[string]act{
		"502": answers(502, ""), "503": answers(503, ""), "504": answers(504, ""), "reset": resets, "closed": closes, "garbage": then(says("what?\r\n\r\n"), closes),
		"cut": then(says("HTTP/1.1 200 X\r\nContent-Length: 50000\r\n\r\n"+strings.Repeat("x", 20000)), closes),
	} {
		t.Run(name, func(t *testing.T) {
			b := behind(t, "minimum: 3, failure_rate: 100%, open: 60s")
			b.up.on("/bad", do)
			for i := range 3 {
				b.state("0")
				b.raw(post("POST", "/bad", "x"))
				b.up.count("/bad", i+1)
			}
			b.eventually("open", func() bool { return b.metric(`gateway_breaker_state{upstream="up"}`) == "2" }) // a cut body is known a moment after the client has it
			b.open("/bad")
		})
	}
}

func TestBreakerIgnoresClientsThatLeave(t *testing.T) {
	b := behind(t, "minimum: 1, failure_rate: 1%, consecutive: 1, open: 60s")
	b.up.on("/silent", silence)
	c, err := net.Dial("tcp", b.address)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, post("GET", "/silent", ""))
	b.up.await("/silent", 1)
	c.Close()
	b.eventually("the client's leaving to be logged", func() bool { return contains(b.log.String(), `"client-gone"`) })
	b.state("0")
	b.get("/fine", 1, 201)
}

func TestBreakerSlowCalls(t *testing.T) {
	b := behind(t, "minimum: 4, slow: 40ms, slow_rate: 75%, open: 60s")
	b.get("/fine", 1, 201)
	b.get("/slow", 2, 200)
	b.state("0")
	b.get("/slow", 1, 200)
	b.state("2")
	b.open("/fine")
}

func TestBreakerKeepsItsStateOverReloads(t *testing.T) {
	b := behind(t, "consecutive: 2, open: 60s")
	reload := func(old, with string) {
		t.Helper()
		before := b.metric(`gateway_config_reloads_total{result="success"}`)
		b.replace(old, with)
		b.eventually("a reload", func() bool { return b.metric(`gateway_config_reloads_total{result="success"}`) != before })
	}
	b.get("/500", 1, 500)
	reload("open: 60s", "open: 50s")
	b.state("0")
	b.get("/500", 1, 500)
	b.state("2")
	b.open("/fine")
	reload("open: 50s", "open: 10ms")
	b.get("/fine", 1, 201) // the new time counts for what is open
}

func TestRefusedConnections(t *testing.T) {
	b := behind(t, "consecutive: 1, open: 60s", strconv.Quote("http://"+freePort(t)))
	for i := range 20 {
		r := b.raw(post("POST", fmt.Sprintf("/%d", i), "x"))
		if r.status != 201 {
			t.Errorf("one target is dead: %d %s", r.status, r.body)
		}
		b.up.count(fmt.Sprintf("/%d", i), 1)
	}
	b.state("0")

	all := behind(t, "consecutive: 2, open: 60s", strconv.Quote("http://"+freePort(t)))
	all.up.close()
	all.get("/x", 1, 502)
	all.state("0") // two connections were refused, but one call failed
	all.get("/x", 1, 502)
	all.state("2")
	all.open("/x")
}

// TestHalfOpenBoundsKeyedWrites: a write that gets no place as a probe leaves no record.
func TestHalfOpenBoundsKeyedWrites(t *testing.T) {
	d := &desk{up: script(t)}
	d.gateway = begin(t, fmt.Sprintf(`upstreams: { up: { targets: [%q], breaker: { consecutive: 1, open: 300ms, probes: 1 } } }
routes: [ { id: w, match: { path: /w/** }, auth: { issuers: [main] }, dedup: { key: required }, to: up } ]
`, d.up.url))
	d.alice = "Authorization: " + d.token()
	d.up.on("/w/bad", answers(500, ""))
	d.check(d.post("/w/bad", "h1", "{}"), 500, "executed")
	d.problem(d.post("/w/fine", "h2", "{}"), 503, "upstream-open no true true")
	release := make(chan struct{})
	d.up.on("/w/probe", then(until(release), answers(201, "probed")))
	probe := make(chan reply, 1)
	go func() {
		for {
			if r := d.post("/w/probe", "h3", "{}"); r.status != 503 {
				probe <- r
				return
			}
		}
	}()
	d.up.await("/w/probe", 1)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			r := d.problem(d.post("/w/fine", fmt.Sprintf("h4-%d", i), "{}"), 503, "upstream-open no true true")
			if r.get("Retry-After") != "1" {
				t.Errorf("%v", r.fields)
			}
		})
	}
	all.Wait()
	d.up.count("/w/fine", 0)
	close(release)
	d.check(<-probe, 201, "executed")
	d.check(d.post("/w/fine", "h4-0", "{}"), 201, "executed")
	d.check(d.post("/w/fine", "h2", "{ }"), 201, "executed") // another body: there was no record
	d.up.count("/w/probe", 1)
}
