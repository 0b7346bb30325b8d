package gateway

import (
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// A reload that is refused leaves the flags of the running document alive: its kill switch must go on working.
func TestARefusedReloadKeepsTheFlags(t *testing.T) {
	file := filepath.Join(t.TempDir(), "flags.yaml")
	writeFile(t, file, "new: { on: true }\n")
	url := service(t, func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X-Path", r.URL.Path) })
	text := "flags: { file: " + file + ", refresh: 100ms }\nupstreams: { a: { targets: [\"@UP@\"] }, b: { targets: [\"@UP@\"], tls: { ca: \"\" } } }\n" +
		"routes: [{ id: r, match: { path: /r }, auth: none, to: { split: [{ upstream: a }, { upstream: b, when: { flag: new } }] } }]\n"
	g := open(t, document(t, url, text))
	ca := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, ca, "no certificate")
	bad := document(t, url, strings.Replace(strings.Replace(text, "100ms", "200ms", 1), `ca: ""`, "ca: "+ca, 1))
	if err := g.Apply(bad); err == nil {
		t.Fatal("the document was to be refused")
	}
	writeFile(t, file, "new: { on: false }\n")
	if err := os.Chtimes(file, time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if m, err := ask(t, g, "GET", "/r"); err == nil && m.Attempt.Upstream == "a" {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the kill switch is dead")
		}
	}
	g.State().mu.Lock()
	defer g.State().mu.Unlock()
	if n := len(g.State().flagSets); n != 1 {
		t.Errorf("%d files are followed", n)
	}
}

// What has ended says so to everybody whom the route lets in at all, without asking for credentials; the questions about
// writes that were made before are still answered.
func TestAVersionThatHasEnded(t *testing.T) {
	url := service(t, func(http.ResponseWriter, *http.Request) {})
	const text = `issuers: { main: { issuer: "https://id.test/", audiences: [a], secret: "kq83nvb72hsvd0a61mzpf94jwx5ter2y", algorithms: [HS256] } }
upstreams: { a: { targets: ["@UP@"] } }
routes:
  - { id: old, match: { path: /old }, auth: { issuers: [main] }, to: a, version: { name: v1, sunset: 2026-01-01, after_sunset: gone } }
  - { id: dying, match: { path: /dying }, auth: { issuers: [main] }, to: a, version: { name: v1, sunset: 2126-01-01, after_sunset: gone } }
  - { id: w, match: { path: /w }, auth: none, to: a, dedup: { client: "header:X-Tenant" }, version: { name: v1, sunset: SUNSET, after_sunset: gone } }
`
	g := open(t, document(t, url, strings.Replace(text, "SUNSET", "2126-01-01", 1)))
	if m := want(t, g, "GET", "/old", pipeline.Gone); m.Sent.Header("Sunset") == nil {
		t.Error("410 without Sunset")
	}
	if m := want(t, g, "GET", "/dying", pipeline.Unauthenticated); m.Sent.Header("Sunset") == nil {
		t.Error("401 without Sunset")
	}
	live := g.Snapshot().executions["w"]
	if err := g.Apply(document(t, url, strings.Replace(text, "SUNSET", "2026-01-01", 1))); err != nil {
		t.Fatal(err)
	}
	want(t, g, "POST", "/w", pipeline.Gone)
	m := pipeline.NewMemory("GET", "/-/executions/x").WithHeader("X-Tenant", "t")
	m.Start = time.Now()
	if ended := g.Snapshot().executions["w"]; ended == live || pipeline.KindOf(ended.Serve(t.Context(), &m.Exchange)) == pipeline.Gone {
		t.Error("nobody answers what became of a write")
	}
}

// A fallback without retries of its own makes its second dial, whatever the first upstream's retries did.
func TestTheFallbackDialsTwice(t *testing.T) {
	url := service(t, func(http.ResponseWriter, *http.Request) {})
	g := open(t, document(t, url, `upstreams:
  a: { targets: ["http://127.0.0.1:1"], retry: { attempts: 2, backoff: { base: 1ms, max: 1ms } } }
  b: { targets: ["http://127.0.0.1:1", "@UP@"] }
routes: [{ id: r, match: { path: /r }, auth: none, to: a, fallback: [{ on: [connect], upstream: b }] }]
`))
	for range 4 {
		m, err := ask(t, g, "POST", "/r")
		if err != nil || string(m.Sent.Header("X-Gateway-Fallback")) != "b" || m.Attempt.Retried != "connect" {
			t.Fatalf("%v, %+v", err, m.Attempt)
		}
	}
}

// Only the gateway says that a request is a copy: an upstream may treat copies otherwise.
func TestNobodySendsTheMirrorsMark(t *testing.T) {
	var seen atomic.Value
	url := service(t, func(_ http.ResponseWriter, r *http.Request) { seen.Store(r.Header.Get("X-Gateway-Mirror") + "|") })
	g := open(t, document(t, url, "upstreams: { a: { targets: [\"@UP@\"] } }\nroutes: [{ id: r, match: { path: /r }, auth: none, to: a }]\n"))
	m := pipeline.NewMemory("GET", "/r").WithHeader("X-Gateway-Mirror", "1").WithHeader("X_Gateway_Mirror", "1")
	m.Start = time.Now()
	if err := g.Serve(t.Context(), &m.Exchange); err != nil || seen.Load() != "|" {
		t.Errorf("%v, %v", err, seen.Load())
	}
}

// Explain says which arm of a split a request meets, and that a version has ended.
func TestExplainSaysWhere(t *testing.T) {
	doc := document(t, "http://127.0.0.1:1", `flags: { file: f.yaml }
upstreams: { a: { targets: ["@UP@"], breaker: { slow: 1s, consecutive: 3 } }, b: { targets: ["@UP@"] } }
routes:
  - { id: when, match: { path: /when }, auth: none, to: { split: [{ upstream: a }, { upstream: b, when: { headers: { X: "1" } } }] } }
  - { id: flag, match: { path: /flag }, auth: none, to: { sticky: "header:T", split: [{ upstream: a, weight: 0 }, { upstream: b, when: { flag: f } }] } }
  - { id: old, match: { path: /old }, auth: none, to: a, version: { name: v1, deprecated: 2026-01-01, sunset: 2026-02-01, after_sunset: gone } }
`)
	for _, c := range []struct {
		path, header, want string
		kind               pipeline.Refusal
	}{
		{"/when", "X", "=> split: b, its conditions hold\n", 0},
		{"/when", "Y", "=> split: drawn by weight\n", 0},
		{"/when", "Y", "or 80% that take longer than 1s, or 3 failures in a row", 0},
		{"/flag", "T", "=> split: b, where this client stays; flags were not looked at\n", 0},
		{"/old", "Y", "version   v1, deprecated since 2026-01-01, ends at 2026-02-01, then 410 gone\n", pipeline.Gone},
		{"/old", "Y", "=> version: it has ended: 410 gone\n", pipeline.Gone},
	} {
		var out strings.Builder
		err := Explain(&out, doc, &pipeline.NewMemory("GET", c.path).WithHeader(c.header, "1").Exchange, slog.New(slog.DiscardHandler))
		if pipeline.KindOf(err) != c.kind || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: %v\n%s\nwithout %q", c.path, err, out.String(), c.want)
		}
	}
}
