package e2e

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// witness is an upstream that keeps the heads of its requests.
type witness struct {
	*service
	mu   sync.Mutex
	seen []http.Header
}

func newWitness(t *testing.T, status int) *witness {
	t.Helper()
	w := &witness{}
	w.service = serve(t, func(out http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.seen = append(w.seen, r.Header.Clone())
		w.mu.Unlock()
		out.WriteHeader(status)
	})
	return w
}

// heads gives what came since the last call.
func (w *witness) heads() []http.Header {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := w.seen
	w.seen = nil
	return seen
}

func audienceOf(t *testing.T, h http.Header, name string) string {
	t.Helper()
	part := strings.Split(strings.TrimPrefix(h.Get(name), "Bearer "), ".")
	if len(part) != 3 {
		return ""
	}
	text, err := base64.RawURLEncoding.DecodeString(part[1])
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), `"aud":"`)
	audience, _, _ := strings.Cut(rest, `"`)
	return audience
}

const credentialsAway = `internal_token: { issuer: "https://gw.test", keys: [%q] }
api_keys: { partners: { keys: [ { id: acme, sha256: "%s" } ] } }
basic_users: { ops: { users: [ { name: anna, hash: %q } ] } }
upstreams: { first: { targets: [%q] }, second: { targets: [%q] }, mirrored: { targets: [%q] }, hedged: { targets: [%q], retry: { hedge: { after: 1ms } } } }
routes:
  - { id: falls, match: { path: /falls }, auth: { issuers: [main] }, forward: { token: {} }, fallback: [{ on: ["5xx"], upstream: second }], to: { upstream: first, mirror: { upstream: mirrored } } }
  - { id: falls-named, match: { path: /falls-named }, auth: { issuers: [main] }, forward: { authorization: true, token: { header: X-Internal-Token } }, fallback: [{ on: ["5xx"], upstream: second }], to: { upstream: first, mirror: { upstream: mirrored } } }
  - { id: split, match: { path: /split }, auth: { issuers: [main] }, forward: { token: {} }, to: { split: [{ upstream: second, weight: 1 }, { upstream: hedged, weight: 1 }], mirror: { upstream: mirrored } } }
  - { id: key, match: { path: /key }, auth: { api_keys: [partners] }, forward: { api_key: true }, to: { upstream: second, mirror: { upstream: mirrored } } }
  - { id: basic, match: { path: /basic }, auth: { basic: [ops] }, forward: { authorization: true }, to: { upstream: second, mirror: { upstream: mirrored } } }
  - { id: basic-token, match: { path: /basic-token }, auth: { basic: [ops] }, forward: { token: {} }, to: { upstream: second, mirror: { upstream: mirrored } } }
`

// A token of the gateway is for the upstream that it names, on every way that a request can take; what a client shows goes
// where the route says, and to no mirror.
func TestCredentialsStayWithTheirUpstream(t *testing.T) {
	first, second, copied, hedged := newWitness(t, 503), newWitness(t, 200), newWitness(t, 200), newWitness(t, 200)
	g := begin(t, fmt.Sprintf(credentialsAway, newSigningKey(t), partnerHash, hashed(t, "secret"), first.url, second.url, copied.url, hedged.url))
	bearer, key, anna := "Authorization: Bearer "+hs(t), "X-Api-Key: "+partnerKey, login("anna:secret")
	for path, credential := range map[string]string{"/falls": bearer, "/falls-named": bearer, "/split": bearer, "/key": key, "/basic": anna, "/basic-token": anna} {
		for range 8 {
			if got := speak(t, g.address, line("GET", path, credential, "Cookie: session=1", "X-Internal-Token: root", "DPoP: x.y.z")); got.status != 200 {
				t.Fatalf("%s: %d %s", path, got.status, got.body)
			}
		}
		var copies []http.Header
		g.eventually("eight copies of "+path, func() bool { copies = append(copies, copied.heads()...); return len(copies) == 8 })
		for _, h := range copies {
			for _, name := range []string{"Authorization", "X-Internal-Token", "X-Api-Key", "Cookie", "Dpop"} {
				if h.Get(name) != "" {
					t.Errorf("%s: the mirror was shown %s", path, name)
				}
			}
		}
		field := map[string]string{"/falls": "Authorization", "/falls-named": "X-Internal-Token", "/split": "Authorization", "/basic-token": "Authorization"}[path]
		for name, w := range map[string]*witness{"first": first, "second": second, "hedged": hedged} {
			for _, h := range w.heads() {
				if values := h.Values(field); field != "" && (len(values) != 1 || audienceOf(t, h, field) != name) {
					t.Errorf("%s: %s was shown %q", path, name, values)
				}
				if shown := h.Get("Authorization"); path == "/basic" && "Authorization: "+shown != anna || path == "/falls-named" && "Authorization: "+shown != bearer || path == "/key" && h.Get("X-Api-Key") != partnerKey {
					t.Errorf("%s: %s was shown %q", path, name, shown)
				}
			}
		}
	}
	g.soundLog(partnerKey, strings.TrimPrefix(anna, "Authorization: Basic "))
}
