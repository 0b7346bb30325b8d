package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// What became of a keyed write that went to its upstream over HTTP/2 is judged as over HTTP/1.1: whatever breaks after the
// stream began leaves the outcome unknown, and nothing is sent again.
func TestKeyedWritesOverHTTP2(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[string]int{}
	release := make(chan struct{})
	up := serveH2C(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen[r.URL.Path]++
		mu.Unlock()
		_, _ = io.Copy(io.Discard, r.Body)
		switch r.URL.Path {
		case "/w/silent":
			select {
			case <-release:
			case <-r.Context().Done():
			}
		case "/w/reset":
			panic(http.ErrAbortHandler)
		case "/w/cut":
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(201)
			_, _ = io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "/w/gateway":
			w.WriteHeader(502)
		case "/w/busy":
			w.WriteHeader(429)
		default:
			w.Header().Set("Location", "/w/made/1")
			w.WriteHeader(201)
			_, _ = io.WriteString(w, r.Proto)
		}
	})
	defer close(release)
	g := begin(t, fmt.Sprintf(`upstreams: { up: { targets: ["h2c://%s"], timeout: { first_byte: 300ms } } }
routes:
  - { id: w, match: { path: /w/** }, auth: none, to: up, dedup: { key: required, client: "header:X-Client", scope: w } }
`, up.at))
	post := func(path string) answer {
		a, err := g.call("POST", path, "{}", "Idempotency-Key", strings.ReplaceAll(path, "/", "-"), "X-Client", "a", "Content-Type", "application/json")
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return a
	}
	for _, c := range []struct {
		path          string
		status, again int
		kind, later   string
		executed      string
		sent          int
	}{
		{"/w/fine", 201, 201, "", "", "", 1},
		{"/w/silent", 504, 409, "outcome-unknown", "outcome-unknown", "unknown", 1},
		{"/w/reset", 502, 409, "outcome-unknown", "outcome-unknown", "unknown", 1},
		{"/w/gateway", 502, 409, "outcome-unknown", "outcome-unknown", "unknown", 1},
		{"/w/cut", 502, 409, "result-unavailable", "result-unavailable", "yes", 1},
		{"/w/busy", 429, 429, "", "", "", 2},
	} {
		first, second := post(c.path), post(c.path)
		if first.status != c.status || first.kind() != c.kind || second.status != c.again || second.kind() != c.later {
			t.Errorf("%s: %d %q, then %d %q", c.path, first.status, first.body, second.status, second.body)
			continue
		}
		for _, a := range []answer{first, second} {
			if said, _ := a.problem()["executed"].(string); said != c.executed {
				t.Errorf("%s: executed %q: %s", c.path, said, a.body)
			}
		}
		mu.Lock()
		if seen[c.path] != c.sent {
			t.Errorf("%s: it reached the upstream %d times, wanted %d", c.path, seen[c.path], c.sent)
		}
		mu.Unlock()
		if c.path == "/w/fine" && (first.body != "HTTP/2.0" || second.body != first.body || second.header.Get("Location") != "/w/made/1" || second.header.Get("Idempotent-Replayed") != "true") {
			t.Errorf("%s: %q, then %q with %v", c.path, first.body, second.body, second.header)
		}
	}
}
