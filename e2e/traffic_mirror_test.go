package e2e

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// keeper is an upstream that keeps what it was sent.
type keeper struct {
	*service
	mu   sync.Mutex
	seen []string // method, path, fields and body
}

func newKeeper(t *testing.T) *keeper {
	k := &keeper{}
	k.service = serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var fields strings.Builder
		_ = r.Header.Write(&fields)
		k.mu.Lock()
		k.seen = append(k.seen, fmt.Sprintf("%s %s %s\r\n%s%d %.20s", r.Method, r.RequestURI, r.Host, fields.String(), len(body), body))
		k.mu.Unlock()
	})
	return k
}

// latest waits for the n-th request and gives it.
func (k *keeper) latest(g *gateway, n int) string {
	g.t.Helper()
	var text string
	g.eventually("the copy has come", func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		if len(k.seen) < n {
			return false
		}
		text = k.seen[n-1]
		return true
	})
	return text
}

// Edge case 44, fault injection 25: a mirror that hangs, is dead or slow changes nothing for the request, and a mirror never
// learns secrets or keys.
func TestTrafficMirrors(t *testing.T) {
	up, copies := branded(t, "up"), newKeeper(t)
	hung, open := deaf(t)
	g := begin(t, fmt.Sprintf(`upstreams:
  up: { targets: [%q] }
  copies: { targets: [%q] }
  hung: { targets: [%q] }
  dead: { targets: [%q] }
routes:
  - { id: plain, match: { path: /plain }, auth: none, to: up }
  - { id: hung, match: { path: /hung }, auth: none, to: { upstream: up, mirror: { upstream: hung, in_flight: 8 } } }
  - { id: dead, match: { path: /dead }, auth: none, to: { upstream: up, mirror: { upstream: dead } } }
  - id: copied
    match: { path: /v1/copied/** }
    auth: { issuers: [main], optional: true }
    forward: { authorization: true, claims: { X-User: sub } }
    rewrite: { strip_prefix: /v1 }
    dedup: { client: "header:X-Tenant" }
    to: { upstream: up, mirror: { upstream: copies, body: 16KiB } }
`, up.url, copies.url, hung, "http://"+freePort(t)))
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	times := map[string][]time.Duration{}
	for range 600 {
		for _, path := range []string{"/plain", "/hung", "/dead"} {
			began := time.Now()
			got, err := client.Get("http://" + g.address + path)
			if err != nil || got.StatusCode != 200 {
				t.Fatal(path, err)
			}
			_, _ = io.Copy(io.Discard, got.Body)
			got.Body.Close()
			times[path] = append(times[path], time.Since(began))
		}
	}
	p := func(path string, share float64) time.Duration {
		slices.Sort(times[path])
		return times[path][int(share*float64(len(times[path])))]
	}
	for _, path := range []string{"/hung", "/dead"} {
		t.Logf("%s: p50 %v, p99 %v; without a mirror p50 %v, p99 %v", path, p(path, 0.5), p(path, 0.99), p("/plain", 0.5), p("/plain", 0.99))
		if p(path, 0.99) > 3*p("/plain", 0.99)+5*time.Millisecond {
			t.Errorf("%s: the mirror is felt", path)
		}
	}
	if n := open.Load(); n > 8 {
		t.Errorf("%d copies are on their way to a mirror that may have 8", n)
	}
	if g.metric(`gateway_mirrored_total{result="dropped",upstream="hung"}`) != "592" || g.metric(`gateway_mirrored_total{result="failed",upstream="dead"}`) == "" {
		t.Error("copies are not counted as they went")
	}
	alice := g.token()
	g.want(200, "", "POST", "/v1/copied/a?b=c", "body", "Authorization", alice, "Cookie", "session=secret", "DPoP", "proof", "X-Gateway-Mirror", "0",
		"Idempotency-Key", "a-key-of-sixteen-letters", "X-Tenant", "t", "X-Other", "kept")
	got := copies.latest(g, 1)
	for _, secret := range []string{"Bearer", "session", "proof", "Idempotency", "Authorization", "Cookie"} {
		if strings.Contains(got, secret) {
			t.Errorf("the mirror learns %s: %s", secret, got)
		}
	}
	for _, kept := range []string{"POST /copied/a?b=c", "X-Other: kept", "X-User: alice", "X-Gateway-Mirror: 1", "4 body"} {
		if !strings.Contains(got, kept) {
			t.Errorf("the copy has no %s: %s", kept, got)
		}
	}
	g.want(200, "", "POST", "/v1/copied/a?b=c", "body", "Idempotency-Key", "a-key-of-sixteen-letters", "X-Tenant", "t", "Authorization", alice) // a replay
	g.want(200, "", "POST", "/v1/copied/big", strings.Repeat("x", 16<<10+1))
	g.want(200, "", "GET", "/v1/copied/last", "")
	if got := copies.latest(g, 2); !strings.Contains(got, "GET /copied/last") {
		t.Errorf("a replay or a big body was copied: %s", got)
	}
	if g.metric(`gateway_mirrored_total{result="skipped",upstream="copies"}`) != "1" {
		t.Error("the big body is not counted")
	}
}
