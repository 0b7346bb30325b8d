package resilience

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// outcome is a row of the table of docs/reliability.md: what an upstream does, and what client, upstream and breaker make of it, by
// one try and with a retry of three tries.
type outcome struct {
	name           string
	script         func() func(*peer)
	url            func(*testing.T) string // in place of script
	method, body   string
	first          bool   // a good call goes before, whose connection is kept
	on             string // what is tried again; "": the defaults
	once, thrice   result
	more, streamed string // further words of the upstream
}

// result is what one call comes to.
type result struct {
	status int // 0: the answer breaks off
	kind   string
	seen   int // requests at the upstream
	calls  int // that the breaker judged
	failed int
}

const tried = ", breaker: { minimum: 10000 }, timeout: { connect: 200ms, first_byte: 150ms, idle_body: 300ms }"

func outcomes() []outcome {
	script := func(answers ...string) func() func(*peer) {
		return func() func(*peer) { return turns(answers...) }
	}
	refused := func(t *testing.T) string { return "http://" + refusing(t) }
	failed, late := "upstream-failed", "upstream-timeout"
	last := func(code, fields string) func() func(*peer) { return script(status(code, fields, "of the upstream")) }
	return []outcome{
		{name: "refused GET", url: refused, method: "GET", once: result{502, failed, 0, 1, 1}, thrice: result{502, failed, 0, 3, 3}},
		{name: "refused POST", url: refused, method: "POST", body: "x", once: result{502, failed, 0, 1, 1}, thrice: result{502, failed, 0, 3, 3}},
		{name: "connecting takes for ever", url: blackhole, method: "POST", body: "x", once: result{504, late, 0, 1, 1}, thrice: result{504, late, 0, 3, 3}},
		{name: "TLS fails", url: plainSocket, method: "POST", body: "x", once: result{502, failed, 0, 1, 1}, thrice: result{502, failed, 0, 3, 3}},
		{name: "TLS is silent", url: silentSocket, method: "POST", body: "x", once: result{504, late, 0, 1, 1}, thrice: result{504, late, 0, 3, 3}},

		{name: "kept connection ends, GET", first: true, script: script(fine, "", fine), method: "GET", once: result{200, "", 3, 2, 0}, thrice: result{200, "", 3, 2, 0}},
		{name: "kept connection is reset, GET", first: true, script: script(fine, "RST", fine), method: "GET", once: result{200, "", 3, 2, 0}, thrice: result{200, "", 3, 2, 0}},
		{name: "kept connection ends, POST", first: true, script: script(fine, "", fine), method: "POST", body: "x", once: result{502, failed, 2, 2, 1}, thrice: result{502, failed, 2, 2, 1}},
		{name: "kept connection ends, PUT", first: true, script: script(fine, "", fine), method: "PUT", body: "x", once: result{502, failed, 2, 2, 1}, thrice: result{200, "", 3, 3, 1}},
		{name: "new connection ends, GET", script: script(""), method: "GET", once: result{502, failed, 1, 1, 1}, thrice: result{502, failed, 3, 3, 3}},
		{name: "new connection is reset, POST", script: script("RST"), method: "POST", body: "x", once: result{502, failed, 1, 1, 1}, thrice: result{502, failed, 1, 1, 1}},
		{name: "head breaks off", script: script("HTTP/1.1 200 OK\r\nContent-"), method: "POST", body: "x", once: result{504, late, 1, 1, 1}, thrice: result{504, late, 1, 1, 1}},

		{name: "writing fails, POST", script: resetsUploads, method: "POST", streamed: strings.Repeat("x", 8<<20), once: result{502, failed, 1, 1, 1}, thrice: result{502, failed, 1, 1, 1}},
		{name: "writing fails, PUT", script: resetsUploads, method: "PUT", streamed: strings.Repeat("x", 8<<20), once: result{502, failed, 1, 1, 1}, thrice: result{502, failed, 1, 1, 1}},
		{name: "an early answer", script: earlyAnswer, method: "POST", streamed: strings.Repeat("x", 8<<20), once: result{413, "", 1, 1, 0}, thrice: result{413, "", 1, 1, 0}},

		{name: "silence, GET", script: script("..."), method: "GET", once: result{504, late, 1, 1, 1}, thrice: result{504, late, 1, 1, 1}},
		{name: "silence, GET, on timeout", script: script("..."), method: "GET", on: "timeout", once: result{504, late, 1, 1, 1}, thrice: result{504, late, 3, 3, 3}},
		{name: "silence, POST, on timeout", script: script("..."), method: "POST", body: "x", on: "timeout", once: result{504, late, 1, 1, 1}, thrice: result{504, late, 1, 1, 1}},

		{name: "502, GET", script: last("502 Bad", ""), method: "GET", once: result{502, "", 1, 1, 1}, thrice: result{502, "", 3, 3, 3}},
		{name: "503, GET", script: last("503 Busy", ""), method: "GET", once: result{503, "", 1, 1, 1}, thrice: result{503, "", 3, 3, 3}},
		{name: "504, GET", script: last("504 Late", ""), method: "GET", once: result{504, "", 1, 1, 1}, thrice: result{504, "", 3, 3, 3}},
		{name: "503, POST", script: last("503 Busy", ""), method: "POST", body: "x", once: result{503, "", 1, 1, 1}, thrice: result{503, "", 1, 1, 1}},
		{name: "500, GET", script: last("500 Bug", ""), method: "GET", once: result{500, "", 1, 1, 1}, thrice: result{500, "", 1, 1, 1}},
		{name: "501, GET", script: last("501 No", ""), method: "GET", once: result{501, "", 1, 0, 0}, thrice: result{501, "", 1, 0, 0}},
		{name: "429, GET", script: last("429 Slow", "Retry-After: 120\r\n"), method: "GET", on: "429", once: result{429, "", 1, 0, 0}, thrice: result{429, "", 1, 0, 0}},
		{name: "503 with Retry-After, GET", script: last("503 Busy", "Retry-After: 120\r\n"), method: "GET", once: result{503, "", 1, 0, 0}, thrice: result{503, "", 1, 0, 0}},
		{name: "Retry-After that fits", script: script(status("503 Busy", "Retry-After: 1\r\n", ""), fine), method: "GET", once: result{503, "", 1, 0, 0}, thrice: result{200, "", 2, 1, 0}},
		{name: "404, GET", script: last("404 None", ""), method: "GET", once: result{404, "", 1, 1, 0}, thrice: result{404, "", 1, 1, 0}},
		{name: "409, PUT", script: last("409 Conflict", ""), method: "PUT", body: "x", once: result{409, "", 1, 1, 0}, thrice: result{409, "", 1, 1, 0}},

		{name: "sized body breaks off", script: cuts("Content-Length: 100\r\n\r\nbegin"), method: "GET", once: result{0, "", 1, 1, 1}, thrice: result{0, "", 1, 1, 1}},
		{name: "chunked body breaks off", script: cuts("Transfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n"), method: "GET", once: result{0, "", 1, 1, 1}, thrice: result{0, "", 1, 1, 1}},
		{name: "body stands still", script: script("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegin"), method: "GET", once: result{0, "", 1, 1, 1}, thrice: result{0, "", 1, 1, 1}},
	}
}

// plainSocket answers whatever it is asked with what is not TLS.
func plainSocket(t *testing.T) string {
	o := scripted(t, func(p *peer) { _, _ = p.Read(make([]byte, 1)); p.say("this is not TLS") })
	return "https://" + o.ln.Addr().String()
}

func silentSocket(t *testing.T) string {
	o := scripted(t, func(p *peer) { _, _ = p.Read(make([]byte, 1<<16)); p.hang() })
	return "https://" + o.ln.Addr().String()
}

func resetsUploads() func(*peer) {
	return func(p *peer) {
		if s, body := p.head(); s != nil {
			_, _ = body.Read(make([]byte, 1000))
			p.reset()
		}
	}
}

// earlyAnswer refuses an upload after its head, and lingers a little so that the answer is not lost.
func earlyAnswer() func(*peer) {
	return func(p *peer) {
		if s, _ := p.head(); s != nil {
			p.say("HTTP/1.1 413 Too much\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			_ = p.Conn.(*net.TCPConn).CloseWrite()
			_ = p.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			p.hang()
		}
	}
}

// cuts answers in two pieces and closes before all of it was said.
func cuts(rest string) func() func(*peer) {
	return func() func(*peer) {
		return func(p *peer) {
			for p.request() != nil {
				p.say("HTTP/1.1 200 OK\r\n" + rest)
				time.Sleep(20 * time.Millisecond) // the client has the beginning by now
				return
			}
		}
	}
}

// Every row of the outcome table, through the real binary: all in one document, each with an upstream of its own.
func TestOutcomeTable(t *testing.T) {
	t.Parallel()
	rows := outcomes()
	origins := map[string]*origin{}
	var upstreams, routes strings.Builder
	for i, row := range rows {
		for _, kind := range []string{"once", "thrice"} {
			name := fmt.Sprintf("%s%d", kind, i)
			url := ""
			if row.url != nil {
				url = row.url(t)
			} else {
				origins[name] = scripted(t, row.script())
				url = origins[name].url
			}
			more := tried + row.more
			if kind == "thrice" {
				more += ", retry: { attempts: 3, floor: 1000, backoff: { base: 1ms, max: 2ms }"
				if row.on != "" {
					more += ", on: [" + row.on + "]"
				}
				more += " }"
			}
			upstreams.WriteString(up(name, more, url))
			routes.WriteString(route(name, "/"+name, ", timeout: 5s", name))
		}
	}
	g := begin(t, "limits: { body: 16MiB },", upstreams.String(), routes.String())
	for i, row := range rows {
		for kind, want := range map[string]result{"once": row.once, "thrice": row.thrice} {
			name := fmt.Sprintf("%s%d", kind, i)
			t.Run(row.name+", "+kind, func(t *testing.T) {
				t.Parallel()
				g.judge(t, row, name, want, origins[name])
			})
		}
	}
}

func (g *gate) judge(t *testing.T, row outcome, name string, want result, o *origin) {
	if row.first {
		if a, err := g.call("GET", "/"+name, ""); err != nil || a.status != 200 {
			t.Fatalf("before it: %d, %v", a.status, err)
		}
	}
	var a answer
	var err error
	if row.streamed != "" {
		a, err = g.streamed(row.method, "/"+name, row.streamed)
	} else {
		a, err = g.call(row.method, "/"+name, row.body)
	}
	switch {
	case want.status == 0:
		if err == nil {
			t.Errorf("%d %q looks complete", a.status, a.body)
		} else if a.body != "" && a.body != "begin" {
			t.Errorf("what came was not the upstream's: %q", a.body)
		}
	case err != nil || a.status != want.status || a.kind() != want.kind:
		t.Errorf("%d %q, %v; wanted %d %q: %s", a.status, a.kind(), err, want.status, want.kind, a.body)
	case want.kind == "" && want.status >= 429 && a.body != "of the upstream" && !row.first && !strings.HasPrefix(row.name, "Retry-After"):
		t.Errorf("the answer is not the upstream's: %q", a.body)
	}
	seen := 0
	if o != nil {
		seen = o.count()
	}
	if seen != want.seen {
		t.Errorf("the upstream saw %d requests, wanted %d", seen, want.seen)
	}
	var b struct{ calls, failed int }
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		shot := g.upstreams()[name].Breaker
		if b.calls, b.failed = shot.Calls, shot.Failed; b.calls == want.calls && b.failed == want.failed {
			return
		}
	}
	t.Errorf("the breaker judged %d calls, %d failed; wanted %d, %d", b.calls, b.failed, want.calls, want.failed)
}

// The rows of the table that are no answer of an upstream: what the gateway refuses by itself counts for nothing.
func TestOutcomeOwnRefusals(t *testing.T) {
	t.Parallel()
	o := scripted(t, turns("...", fine))
	const retry = ", retry: { attempts: 3, floor: 1000, backoff: { base: 1ms, max: 1ms } }, breaker: { minimum: 10000 }"
	g := begin(t, "", up("open", retry, o.url)+up("full", retry+", bulkhead: { in_flight: 1 }, timeout: { first_byte: 10s }", o.url),
		route("open", "/open", "", "open")+route("full", "/full", "", "full"))
	if code, text := g.ask("POST", "/api/v1/upstreams/open/breaker", `{"state":"open"}`); code != 200 {
		t.Fatalf("%d %s", code, text)
	}
	for _, method := range []string{"GET", "POST"} {
		if a := g.want(503, "upstream-open", method, "/open", ""); a.header.Get("Retry-After") == "" {
			t.Errorf("%s: 503 without Retry-After", method)
		}
	}
	held := g.dialog().say("GET /full HTTP/1.1\r\nHost: a\r\n\r\n")
	g.eventually("the call that fills the bulkhead", func() bool { return o.count() == 1 })
	if a := g.want(503, "overloaded", "GET", "/full", ""); a.header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	_ = held.Close() // a client that leaves: neutral, and the place is free again
	o.closedWithin(t, "the held call", 2*time.Second)
	g.eventually("the place", func() bool { return g.upstreams()["full"].Bulkhead.InFlight == 0 })
	g.want(200, "", "GET", "/full", "")
	for name, calls := range map[string]int{"open": 0, "full": 1} {
		if b := g.upstreams()[name].Breaker; b.Calls != calls || b.Failed != 0 {
			t.Errorf("%s: the breaker judged %+v", name, b)
		}
	}
	if n := g.metric(`gateway_upstream_retries_total{upstream="open",reason="connect"}`) + g.metric(`gateway_upstream_retries_total{reason="connect",upstream="full"}`); n != 0 || o.count() != 2 {
		t.Errorf("%v retries, %d requests at the upstream", n, o.count())
	}
}

// The last row: calls beside a call count for nobody.
func TestOutcomeCallsBeside(t *testing.T) {
	t.Parallel()
	slow := scripted(t, turns("...", fine))
	dead := "http://" + refusing(t)
	g := begin(t, "", up("hedged", ", retry: { attempts: 1, hedge: { after: 30ms } }, breaker: { minimum: 10000 }", slow.url)+
		up("plain", ", breaker: { minimum: 10000 }", scripted(t, gives(fine)).url)+up("copied", ", breaker: { minimum: 1 }", dead),
		route("hedged", "/hedged", "", "hedged")+"  - { id: mirrored, match: { path: /mirrored }, auth: none, to: { upstream: plain, mirror: { upstream: copied } } }\n")
	g.want(200, "", "GET", "/hedged", "")
	slow.closedWithin(t, "the loser of the race", time.Second)
	g.want(200, "", "GET", "/mirrored", "")
	g.eventually("the copy", func() bool { return g.metric(`gateway_mirrored_total{result="failed",upstream="copied"}`) == 1 })
	for name, calls := range map[string]int{"hedged": 1, "plain": 1, "copied": 0} {
		if b := g.upstreams()[name].Breaker; b.Calls != calls || b.Failed != 0 {
			t.Errorf("%s: the breaker judged %+v, wanted %d calls", name, b, calls)
		}
	}
}
