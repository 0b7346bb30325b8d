package e2e

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// fickle is an upstream that does what it was told last.
type fickle struct {
	*service
	what atomic.Value
}

func newFickle(t *testing.T) *fickle {
	f := &fickle{}
	f.what.Store("ok")
	f.service = serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch f.what.Load() {
		case "503":
			w.Header().Set("Retry-After", "9")
			w.WriteHeader(503)
		case "404", "500":
			code, _ := strconv.Atoi(f.what.Load().(string))
			w.WriteHeader(code)
		case "reset":
			panic(http.ErrAbortHandler)
		case "garbage":
			if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
				_, _ = c.Write([]byte("hello\r\n\r\n"))
				_ = c.Close()
			}
		case "silent":
			select {
			case <-r.Context().Done():
			case <-time.After(5 * time.Second):
			}
		case "liar":
			w.Header().Set("X-Gateway-Fallback", "respond")
			ok(w, r)
		default:
			ok(w, r)
		}
	})
	return f
}

// What a fallback may do about each failure, for reads, writes and keyed writes, over real upstreams: a write never reaches two
// of them, and a keyed one never gets an answer that is not its own.
func TestTrafficFallbacks(t *testing.T) {
	first, second := newFickle(t), newFickle(t)
	g := begin(t, fmt.Sprintf(`upstreams:
  first: { targets: [%q], timeout: { first_byte: 300ms }, breaker: { minimum: 100000 } }
  gone: { targets: [%q], timeout: { connect: 300ms } }
  second: { targets: [%q] }
routes:
  - id: first
    match: { path: /first }
    auth: none
    dedup: { client: "header:X-Tenant" }
    to: first
    fallback: [{ on: [open, connect, reset, timeout, 5xx], upstream: second }, { on: [reset, timeout, 5xx], respond: { status: 203, body: "fixed" } }]
  - id: gone
    match: { path: /gone }
    auth: none
    dedup: { client: "header:X-Tenant" }
    to: gone
    fallback: [{ on: [connect], upstream: second }]
`, first.url, "http://"+freePort(t), second.url))
	keys := 0
	for _, c := range []struct {
		what, path  string
		read        string // status and X-Gateway-Fallback
		write       string
		keyed       string
		readsSecond int64
		writeSecond int64
	}{
		{"ok", "/first", "200 ", "200 ", "200 ", 0, 0},
		{"404", "/first", "404 ", "404 ", "404 ", 0, 0},
		{"liar", "/first", "200 ", "200 ", "200 ", 0, 0},
		{"503", "/first", "200 second", "203 respond", "503 ", 1, 0},
		{"reset", "/first", "200 second", "203 respond", "502 outcome-unknown", 1, 0},
		{"silent", "/first", "200 second", "203 respond", "504 outcome-unknown", 1, 0},
		{"open", "/first", "200 second", "200 second", "200 second", 1, 1},
		{"connect", "/gone", "200 second", "200 second", "200 second", 1, 1},
	} {
		first.what.Store(c.what)
		if c.what == "open" {
			g.force("first", "open")
		}
		call := func(kind, method, want string, seconds int64, headers ...string) answer {
			t.Helper()
			one, two := first.count.Load(), second.count.Load()
			a, err := g.call(method, c.path, map[string]string{"POST": "{}"}[method], headers...)
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprintf("%d %s%s", a.status, a.header.Get("X-Gateway-Fallback"), a.kind())
			if got != want || second.count.Load()-two != seconds {
				t.Errorf("%s, %s: %q with %d calls of the second, want %q with %d", c.what, kind, got, second.count.Load()-two, want, seconds)
			}
			if method == "POST" && first.count.Load()-one+second.count.Load()-two > 1 {
				t.Errorf("%s, %s: a write was sent %d times", c.what, kind, first.count.Load()-one+second.count.Load()-two)
			}
			return a
		}
		call("read", "GET", c.read, c.readsSecond, "X-Gateway-Fallback", "mine")
		call("write", "POST", c.write, c.writeSecond)
		keys++
		keyed := []string{"Idempotency-Key", fmt.Sprintf("a-key-of-many-letters-%d", keys), "X-Tenant", "t"}
		a := call("keyed", "POST", c.keyed, c.writeSecond, keyed...)
		one, two := first.count.Load(), second.count.Load()
		b, err := g.call("POST", c.path, "{}", keyed...)
		unknown := a.kind() == "outcome-unknown"
		switch {
		case err != nil || first.count.Load() != one || second.count.Load() != two:
			t.Errorf("%s: the repetition was sent: %v", c.what, err)
		case unknown && b.kind() != "outcome-unknown", !unknown && (b.status != a.status || b.body != a.body || b.header.Get("Idempotent-Replayed") != "true"):
			t.Errorf("%s: the repetition got %d %s, the first %d %s", c.what, b.status, b.body, a.status, a.body)
		}
	}
	if log := g.log.String(); !strings.Contains(log, `"fallback":"second"`) || !strings.Contains(log, `"fallback":"respond"`) {
		t.Error("the log does not say what took over")
	}
	if g.metric(`gateway_fallbacks_total{route="first",what="second"}`) == "" {
		t.Error("the metric does not say what took over")
	}
}

// Each call of an upstream is counted for it by what became of it, whoever answered the client in the end; further tries belong
// to their call.
func TestTrafficFallbacksCountEachCall(t *testing.T) {
	first, second := newFickle(t), newFickle(t)
	g := begin(t, fmt.Sprintf(`upstreams:
  first: { targets: [%q], timeout: { first_byte: 300ms }, retry: { attempts: 2, on: [reset] } }
  gone: { targets: [%q], timeout: { connect: 300ms } }
  second: { targets: [%q] }
routes:
  - { id: fixed, match: { path: /fixed }, auth: none, to: first, fallback: [{ on: [reset, timeout, 5xx, 404], respond: { status: 200 } }] }
  - { id: other, match: { path: /other }, auth: none, to: first, fallback: [{ on: [5xx], upstream: second }] }
  - { id: gone, match: { path: /gone }, auth: none, to: gone, fallback: [{ on: [connect], respond: { status: 200 } }] }
  - { id: both, match: { path: /both }, auth: none, to: gone, fallback: [{ on: [connect], upstream: second }, { on: [5xx], respond: { status: 200 } }] }
`, first.url, "http://"+freePort(t), second.url))
	was := map[string]int{}
	for i, c := range []struct{ first, second, path, want string }{
		{"500", "ok", "/fixed", "first error_5xx"},
		{"reset", "ok", "/fixed", "first failed"},
		{"silent", "ok", "/fixed", "first timeout"},
		{"404", "ok", "/fixed", "first success"},
		{"ok", "ok", "/fixed", "first success"},
		{"500", "ok", "/other", "first error_5xx, second success"},
		{"500", "500", "/other", "first error_5xx, second error_5xx"},
		{"ok", "ok", "/other", "first success"},
		{"ok", "ok", "/gone", "gone failed"},
		{"ok", "ok", "/both", "gone failed, second success"},
		{"ok", "500", "/both", "gone failed, second error_5xx"},
	} {
		first.what.Store(c.first)
		second.what.Store(c.second)
		id := fmt.Sprint("counted-", i)
		if _, err := g.call("GET", c.path, "", "X-Request-Id", id); err != nil {
			t.Fatal(err)
		}
		g.lineOf(id) // all is counted before it
		var got []string
		timed := true
		for _, upstream := range []string{"first", "gone", "second"} {
			calls := 0
			for _, outcome := range []string{"success", "error_5xx", "timeout", "failed", "gone", "refused"} {
				series := fmt.Sprintf(`gateway_upstream_requests_total{outcome=%q,upstream=%q}`, outcome, upstream)
				n, _ := strconv.Atoi(g.metric(series))
				if n > was[series] {
					got = append(got, upstream+" "+outcome)
				}
				calls += n
				was[series] = n
			}
			n, _ := strconv.Atoi(g.metric(fmt.Sprintf(`gateway_upstream_duration_seconds_count{upstream=%q}`, upstream)))
			timed = timed && n == calls
		}
		if strings.Join(got, ", ") != c.want || !timed {
			t.Errorf("%s and %s at %s: %q, times for all: %v", c.first, c.second, c.path, got, timed)
		}
	}
}

// An upstream that is down, resets, talks nonsense or is silent is a 502 or 504 to clients, so it is to 5xx and those statuses. In
// a chain the second upstream's failure is its own. Writes go nowhere else once they may have been sent.
func TestTrafficFallbackOn5xxCoversAnOutage(t *testing.T) {
	fickle, dr := newFickle(t), branded(t, "dr")
	down := "http://" + freePort(t)
	route := func(id, to, rules string) string {
		return fmt.Sprintf("  - { id: %s, match: { path: /%s }, auth: none, to: %s, fallback: [%s] }\n", id, id, to, rules)
	}
	both := `{ on: [open, timeout, 5xx], upstream: dr }`
	g := begin(t, fmt.Sprintf("upstreams:\n  fickle: { targets: [%q], timeout: { first_byte: 300ms }, breaker: { minimum: 100000 } }\n  down: { targets: [%q] }\n  dr: { targets: [%q] }\nroutes:\n",
		fickle.url, down, dr.url)+
		route("down", "down", both)+route("fickle", "fickle", both)+
		route("late", "fickle", `{ on: ["504"], upstream: dr }`)+route("broken", "fickle", `{ on: ["502"], upstream: dr }`)+
		route("chain", "fickle", `{ on: [5xx], upstream: down }, { on: [connect], respond: { status: 203 } }`)+
		route("wrong", "fickle", `{ on: [5xx], upstream: down }, { on: [reset], respond: { status: 203 } }`))
	for _, c := range []struct{ path, what, read, write string }{
		{"/down", "ok", "200 dr", "200 dr"}, // nothing was sent
		{"/fickle", "garbage", "200 dr", "502 "},
		{"/fickle", "reset", "200 dr", "502 "},
		{"/fickle", "silent", "200 dr", "504 "},
		{"/late", "silent", "200 dr", "504 "},
		{"/late", "reset", "502 ", "502 "},
		{"/broken", "reset", "200 dr", "502 "},
		{"/broken", "silent", "504 ", "504 "},
		{"/chain", "500", "203 respond", "500 "},
		{"/wrong", "500", "502 ", "500 "},
	} {
		fickle.what.Store(c.what)
		for method, want := range map[string]string{"GET": c.read, "POST": c.write} {
			a := g.mustCall(method, c.path, map[string]string{"POST": "{}"}[method])
			if got := fmt.Sprintf("%d %s", a.status, a.header.Get("X-Gateway-Fallback")); got != want {
				t.Errorf("%s %s, %s: %q, want %q", method, c.path, c.what, got, want)
			}
		}
	}
	if n := dr.count.Load(); n != 7 {
		t.Errorf("%d calls of the other upstream, want 6 reads and one write that was not sent", n)
	}
}

// force sets a breaker's state by the admin API.
func (g *gateway) force(upstream, state string) {
	g.t.Helper()
	got, err := http.Post("http://"+g.admin+"/api/v1/upstreams/"+upstream+"/breaker", "application/json", strings.NewReader(`{"state":"`+state+`"}`))
	if err != nil || got.StatusCode != 200 {
		g.t.Fatal(err, got)
	}
	got.Body.Close()
}

// Why a breaker is open stands in the API, the log and a metric; while it is, an arm of a split is passed over.
func TestTrafficBreakersExplainThemselves(t *testing.T) {
	bad := newFickle(t)
	bad.what.Store("500") // a 503 with Retry-After would say nothing about its health
	good := branded(t, "good")
	g := begin(t, fmt.Sprintf(`upstreams: { bad: { targets: [%q], breaker: { minimum: 5, open: 1m, max_open: 1m } }, good: { targets: [%q] } }
routes:
  - { id: r, match: { path: /r }, auth: none, to: bad }
  - { id: s, match: { path: /s }, auth: none, to: { split: [{ upstream: bad, weight: 1000 }, { upstream: good, weight: 1 }] } }
`, bad.url, good.url))
	for range 5 {
		g.want(500, "", "GET", "/r", "")
	}
	g.want(503, "upstream-open", "GET", "/r", "")
	for range 20 {
		if g.from("GET", "/s") != "good" {
			t.Fatal("an open arm was asked")
		}
	}
	_, api := g.get(g.admin, "/api/v1/upstreams")
	if !strings.Contains(api, `"reason":"failure_rate"`) || !strings.Contains(g.log.String(), `"reason":"failure_rate"`) || g.metric(`gateway_breaker_openings_total{reason="failure_rate",upstream="bad"}`) != "1" {
		t.Errorf("the reason is missing: %s", api)
	}
	if g.force("bad", "closed"); g.want(500, "", "GET", "/r", "").kind() != "" {
		t.Error("a forced breaker lets calls through")
	}
	if g.force("bad", "open"); g.metric(`gateway_breaker_openings_total{reason="operator",upstream="bad"}`) != "1" {
		t.Error("an opening by the operator is counted as such")
	}
}

// With upstreams that share their keys an unknown write may be sent again, wherever the split leads; without, such a document
// is refused.
func TestTrafficNeedsOneLedger(t *testing.T) {
	doc := func(more string) string {
		return `upstreams: { a: { targets: ["http://127.0.0.1:1"] }, b: { targets: ["http://127.0.0.1:1"] } }
routes: [{ id: r, match: { path: /r }, auth: none, dedup: { client: "header:X-T", upstream_dedup: true` + more + ` }, to: { split: [{ upstream: a }, { upstream: b }] } }]
`
	}
	g := prepare(t, doc(""))
	wants(t, 2, "say dedup.upstreams_share_keys: true", "", "check", "-config", g.file)
	g.write(doc(", upstreams_share_keys: true"))
	if code, out, failure := command(t, "", "check", "-config", g.file); code != 0 {
		t.Error(out, failure)
	}
}

// deaf takes connections and says nothing; it counts them.
func deaf(t *testing.T) (url string, open *atomic.Int64) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	open = new(atomic.Int64)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			open.Add(1)
			go func() {
				buf := make([]byte, 4096)
				for {
					if _, err := c.Read(buf); err != nil {
						c.Close()
						open.Add(-1)
						return
					}
				}
			}()
		}
	}()
	return "http://" + ln.Addr().String(), open
}
