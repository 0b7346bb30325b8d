package gateway

import (
	"bytes"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/oncegate/oncegate/internal/pipeline"
)

const shadowed = `rate_limits: { one: { rate: 1/h, burst: 1, by: "header:X-Tenant", on_missing: reject } }
upstreams:
  up: { targets: ["@UP@"], breaker: { minimum: 2, open: 10m } }
  small: { targets: ["@UP@"], bulkhead: { in_flight: 1, queue: 5, wait: 1m } }
issuers: { main: { issuer: "https://id.test/", audiences: [a], secret: "words-words-words-0123456789-words", algorithms: [HS256] } }
defaults: { mode: shadow }
routes:
  - { id: limited, match: { path: /limited }, auth: none, rate_limits: [one], to: up }
  - { id: enforced, match: { path: /enforced }, auth: none, rate_limits: [one], mode: enforce, to: up }
  - { id: fails, match: { path: /fails }, auth: none, to: up }
  - { id: strict, match: { path: /strict }, auth: none, mode: enforce, to: up }
  - { id: write, match: { path: /write }, auth: none, dedup: { key: required, client: "header:X-Tenant" }, to: up }
  - { id: slow, match: { path: /slow }, auth: none, to: small }
  - { id: closed, match: { path: /closed }, auth: { issuers: [main] }, to: up }
`

// A route in shadow lets pass what its limits, its breaker and its bulkhead would refuse, and counts it; what guards data does
// not go into the shadow.
func TestShadow(t *testing.T) {
	hold, held := make(chan struct{}), make(chan struct{}, 1)
	once := sync.OnceFunc(func() { close(hold) })
	defer once()
	url := service(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/fails":
			w.WriteHeader(500)
		case "/slow":
			select {
			case held <- struct{}{}:
			default:
			}
			<-hold
		}
	})
	g := open(t, document(t, url, shadowed))
	for range 3 {
		if m := want(t, g, "GET", "/limited", 0); m.Sent.Header("RateLimit") != nil {
			t.Error("a shadow is announced")
		}
	}
	want(t, g, "GET", "/enforced", pipeline.Unauthenticated) // nothing to count by
	want(t, g, "GET", "/closed", pipeline.Unauthenticated)
	for range 6 {
		if m := want(t, g, "GET", "/fails", 0); m.Sent.Status() != 500 || m.Problem.RetryAfter != 0 {
			t.Errorf("%d, %+v", m.Sent.Status(), m.Problem)
		}
	}
	want(t, g, "GET", "/strict", pipeline.UpstreamOpen)
	want(t, g, "POST", "/write", pipeline.KeyMissing)
	go func() { _, _ = ask(t, g, "GET", "/slow") }()
	<-held
	done := make(chan error, 1)
	go func() { _, err := ask(t, g, "GET", "/slow"); done <- err }()
	<-held // no place was there for it, and it did not wait for one
	once()
	if err := <-done; err != nil {
		t.Error(err)
	}
	var text bytes.Buffer
	if err := g.State().Metrics.Write(&text); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`gateway_shadow_refused_total{policy="breaker",route="fails"} 3`, `gateway_shadow_refused_total{policy="bulkhead",route="slow"} 1`,
		`gateway_ratelimit_decisions_total{decision="shadow_refused",policy="one"} 2`,
	} {
		if !strings.Contains(text.String(), line) {
			t.Errorf("no %s", line)
		}
	}
}
