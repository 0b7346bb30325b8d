package gateway

import (
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// A route's body limit holds for bodies of known and of unknown length, on a route without any other policy.
func TestRouteLimitsTheBody(t *testing.T) {
	var whole atomic.Int64
	url := service(t, func(w http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 4096)
		for {
			if _, err := r.Body.Read(buf); err != nil {
				if err.Error() == "EOF" {
					whole.Add(1)
				}
				break
			}
		}
		hello(w, r)
	})
	g := open(t, document(t, url, `upstreams: { up: { targets: ["@UP@"] } }
routes: [ { id: a, match: { path: /a }, auth: none, body: 1KiB, to: up } ]
`))
	body := []byte(strings.Repeat("x", 1025))
	for name, c := range map[string]struct {
		m    *pipeline.Memory
		kind pipeline.Refusal
	}{
		"sized, too large":   {pipeline.NewMemory("POST", "/a").WithBody(body), pipeline.TooLarge},
		"chunked, too large": {pipeline.NewMemory("POST", "/a").WithChunkedBody(body), pipeline.TooLarge},
		"sized, fits":        {pipeline.NewMemory("POST", "/a").WithBody(body[1:]), 0},
		"chunked, fits":      {pipeline.NewMemory("POST", "/a").WithChunkedBody(body[1:]), 0},
	} {
		if err := g.Serve(t.Context(), &c.m.Exchange); pipeline.KindOf(err) != c.kind {
			t.Errorf("%s: %v", name, err)
		}
		if c.kind == 0 {
			continue
		}
		if name == "sized, too large" && c.m.Got.Read() != 0 {
			t.Errorf("%s: %d bytes were read", name, c.m.Got.Read())
		}
	}
	if n := whole.Load(); n != 2 {
		t.Errorf("the upstream saw %d whole bodies, wanted 2", n)
	}
}

// What a reload no longer names is let go: breakers of removed upstreams, and the refresh of removed key sets.
func TestApplyLetsGo(t *testing.T) {
	url := service(t, hello)
	keys := service(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no keys", 500) })
	g := open(t, document(t, url, `issuers: { far: { issuer: i, audiences: [a], jwks: "`+keys+`", algorithms: [EdDSA] } }
upstreams: { old: { targets: ["@UP@"], breaker: {} } }
routes: [ { id: a, match: { path: /a }, auth: { issuers: [far] }, to: old } ]
`))
	for end := time.Now().Add(5 * time.Second); !refreshing() && time.Now().Before(end); { // a goroutine has no name before it runs
		runtime.Gosched()
	}
	if !refreshing() || g.state.guarded["old"] == nil {
		t.Fatal("the first document has no refresh or no breaker to let go")
	}
	if err := g.Apply(document(t, url, `upstreams: { new: { targets: ["@UP@"], breaker: {} } }
routes: [ { id: a, match: { path: /a }, auth: none, to: new } ]
`)); err != nil {
		t.Fatal(err)
	}
	if g.state.guarded["old"] != nil || g.state.guarded["new"] == nil {
		t.Errorf("the breakers are %v", g.state.guarded)
	}
	for end := time.Now().Add(5 * time.Second); refreshing(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the removed key set is still refreshed")
		}
	}
}

// refreshing reports that a goroutine keeps a key set fresh.
func refreshing() bool {
	buf := make([]byte, 1<<20)
	return strings.Contains(string(buf[:runtime.Stack(buf, true)]), "keyset.(*Remote).run")
}
