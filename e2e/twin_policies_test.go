package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/oncegate/oncegate/internal/config"
)

// twinPolicies is a document with every policy that twins does not have: upstream, other upstream, hash of an API key, password.
const twinPolicies = `api_keys: { partners: { keys: [{ id: acme, sha256: %[3]q, scopes: [orders], claims: { plan: gold } }] } }
basic_users: { ops: { users: [{ name: anna, hash: %[4]q, scopes: [orders] }] } }
rate_limits:
  costly: { rate: 1/h, burst: 5, by: client }
  daily: { quota: 2/d, by: "header:X-Tenant", on_missing: reject }
  guesses: { rate: 1/h, burst: 2, by: ip }
  tiny: { rate: 1/h, burst: 1, by: all }
upstreams:
  up: { targets: [%[1]q] }
  other: { targets: [%[2]q] }
  tried: { targets: [%[1]q], retry: { attempts: 3, on: [503], backoff: { base: 1ms, max: 2ms }, floor: 10 } }
  open: { targets: [%[1]q], breaker: { minimum: 2, consecutive: 2, open: 10m } }
  gone: { targets: ["http://127.0.0.1:1"] }
defaults: { auth: none }
routes:
  - { id: key, match: { path: /key }, auth: { api_keys: [partners] }, forward: { claims: { X-Plan: plan } }, to: up }
  - { id: either, match: { path: /either }, auth: { api_keys: [partners], issuers: [main] }, forward: { claims: { X-User: sub } }, to: up }
  - { id: user, match: { path: /user }, auth: { basic: [ops] }, to: up }
  - { id: rule, match: { path: /rule }, auth: { issuers: [main], require: { expression: "claims.sub == 'alice' && request.method == 'GET'" } }, to: up }
  - { id: optional, match: { path: /optional }, auth: { optional: true, issuers: [main] }, forward: { claims: { X-User: sub } }, to: up }
  - { id: costly, match: { path: /costly }, auth: { issuers: [main] }, rate_limits: [{ name: costly, cost: 3 }], rate_limit_fields: x-ratelimit, to: up }
  - { id: daily, match: { path: /daily }, rate_limits: [daily], priority: critical, to: up }
  - { id: counted, match: { path: /counted }, auth: { issuers: [main] }, failed_logins: guesses, to: up }
  - { id: shadow, match: { path: /shadow }, rate_limits: [tiny], mode: shadow, to: up }
  - { id: fenced, match: { path: /fenced }, addresses: { deny: [127.0.0.0/8] }, to: up }
  - { id: fields, match: { path: /fields }, security_headers: true, to: up }
  - { id: old, match: { path: /old }, version: { name: v1, deprecated: 2026-01-31, sunset: 2126-12-31, link: https://docs.example.com/v1 }, to: up }
  - { id: ended, match: { path: /ended }, version: { name: v0, sunset: 2026-01-01, after_sunset: gone }, to: up }
  - { id: rewritten, match: { path: "/v1/things/{id}" }, rewrite: { strip_prefix: /v1, add_prefix: /api, host: inner.example, request_headers: { set: { X-Set: yes }, remove: [X-Gone] }, response_headers: { set: { X-Answer: changed }, remove: [X-Secret] } }, to: up }
  - { id: quick, match: { path: /hangs }, timeout: 300ms, to: up }
  - { id: split, match: { path: /split }, to: { split: [{ upstream: up, weight: 1 }, { upstream: other, weight: 0, when: { headers: { X-Canary: "1" } } }] } }
  - { id: mirrored, match: { path: /mirrored }, to: { split: [{ upstream: up }], mirror: { upstream: other, share: 100%% } } }
  - { id: fixed, match: { path: /fixed }, to: { respond: { status: 203, body: "fixed", headers: { X-Fixed: "1" } } } }
  - { id: moved, match: { path: /moved }, to: { redirect: { status: 308, location: https://elsewhere.example/x } } }
  - { id: saved, match: { path: /saved }, fallback: [{ on: [open, connect], upstream: other }], to: gone }
  - { id: said, match: { path: /said }, fallback: [{ on: [open, connect], respond: { status: 200, body: '{"items":[]}', headers: { Content-Type: application/json } } }], to: gone }
  - { id: tried, match: { path: /flaky }, to: tried }
  - { id: broken, match: { path: /fails }, to: open }
  - { id: versioned, match: { path: /beta, headers: { X-Beta: "1" }, query: { on: "1" }, methods: [GET] }, to: up }
  - { id: plain, match: { path: /beta }, to: other }
`

// policyUpstream is an upstream that knows its name, and counts for /flaky.
func policyUpstream(name string) http.HandlerFunc {
	var flaky atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Secret", "inside")
		w.Header().Set("X-Upstream", name)
		switch r.URL.Path {
		case "/hangs":
			<-r.Context().Done()
		case "/fails":
			w.WriteHeader(500)
		case "/flaky":
			if flaky.Add(1)%3 != 0 {
				w.WriteHeader(503)
				return
			}
			fallthrough
		default:
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("X-Seen", strings.Join([]string{r.Host, r.URL.Path, r.Header.Get("X-Plan"), r.Header.Get("X-User"), r.Header.Get("X-Set"), r.Header.Get("X-Gone"), r.Header.Get("X-Api-Key"), r.Header.Get("Authorization")}, "|"))
			_, _ = io.WriteString(w, "of "+name)
		}
	}
}

const (
	twinKey      = "words-of-a-partner-0123456789-words"
	twinPassword = "words of anna 0123456789"
)

var policyScenarios = []struct {
	name string
	asks []question
}{
	{"API keys", get("/key", nil, []string{"X-Api-Key", "wrong"}, []string{"X-Api-Key", twinKey})},
	{"one of two credentials", get("/either", []string{"X-Api-Key", twinKey}, []string{"Authorization", "BEARER"}, []string{"Authorization", "BEARER", "X-Api-Key", twinKey})},
	{"passwords", get("/user", nil, []string{"Authorization", basicOf("anna", "wrong")}, []string{"Authorization", basicOf("anna", twinPassword)})},
	{"rules", append(get("/rule", []string{"Authorization", "BEARER"}), question{method: "POST", path: "/rule", body: "x", fields: []string{"Authorization", "BEARER"}})},
	{"optional identity", get("/optional", nil, []string{"Authorization", "BEARER"}, []string{"Authorization", "Bearer nonsense"})},
	{"costs", get("/costly", []string{"Authorization", "BEARER"}, []string{"Authorization", "BEARER"})},
	{"quotas", get("/daily", nil, []string{"X-Tenant", "a"}, []string{"X-Tenant", "a"}, []string{"X-Tenant", "a"}, []string{"X-Tenant", "b"})},
	{"failed logins", get("/counted", []string{"Authorization", "Bearer a"}, []string{"Authorization", "Bearer b"}, []string{"Authorization", "Bearer c"}, []string{"Authorization", "BEARER"})},
	{"shadow", get("/shadow", nil, nil, nil)},
	{"addresses", get("/fenced", nil)},
	{"security headers", get("/fields", nil)},
	{"versions", append(get("/old", nil), get("/ended", nil)...)},
	{"rewrites", get("/v1/things/7?a=b", nil, []string{"X-Gone", "here", "X-Set", "no"})},
	{"a deadline", get("/hangs", nil)},
	{"splits", get("/split", nil, []string{"X-Canary", "1"})},
	{"mirrors", append(get("/mirrored", nil), question{method: "POST", path: "/mirrored", body: "copied"})},
	{"fixed answers", append(get("/fixed", nil), get("/moved", nil)...)},
	{"fallbacks", append(get("/saved", nil), get("/said", nil)...)},
	{"retries", get("/flaky", nil, nil)},
	{"a breaker", get("/fails", nil, nil, nil, nil)},
	{"matches", append(get("/beta?on=1", nil, []string{"X-Beta", "1"}), question{method: "POST", path: "/beta?on=1", fields: []string{"X-Beta", "1"}})},
}

// untimed takes out what counts down to a quota's end: a second may pass between two questions.
var untimed = regexp.MustCompile(`(;t=|Retry-After: \["|X-Ratelimit-Reset: \[")\d{3,}`)

// get asks for a path with each of the lists of fields.
func get(path string, fields ...[]string) (all []question) {
	for _, f := range fields {
		all = append(all, question{method: "GET", path: path, fields: f})
	}
	return all
}

func basicOf(name, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))
}

// Every policy gives the same answers, fields and access lines over HTTP/1.1 and HTTP/2. With TLS some say more than without
// (a password, HSTS), so each is held against its own kind.
func TestTwinsPolicies(t *testing.T) {
	t.Parallel()
	password := hashed(t, twinPassword)
	all := twinsWith(t, func() string {
		return fmt.Sprintf(twinPolicies, serve(t, policyUpstream("up")).url, serve(t, policyUpstream("other")).url, fmt.Sprintf("%x", sha256.Sum256([]byte(twinKey))), password)
	})
	for _, s := range policyScenarios {
		t.Run(strings.ReplaceAll(s.name, " ", "_"), func(t *testing.T) {
			for i, a := range s.asks {
				id := fmt.Sprintf("%s-%d", strings.ReplaceAll(s.name, " ", "-"), i)
				for _, both := range [][2]*twin{{all[0], all[3]}, {all[1], all[2]}} {
					want, got := untimed.ReplaceAllString(both[0].ask(id, a), "$1"), untimed.ReplaceAllString(both[1].ask(id, a), "$1")
					if testing.Verbose() {
						t.Logf("%s %s, %s: %s", a.method, a.path, both[0].name, want)
					}
					if got != want {
						t.Errorf("%s %s over %s:\n%s\n--- over %s:\n%s", a.method, a.path, both[1].name, got, both[0].name, want)
					}
				}
			}
		})
	}
}

// A policy that a route can have and neither list has would be seen by one protocol only.
func TestTwinsHaveEveryPolicy(t *testing.T) {
	t.Parallel()
	text := twins + twinPolicies
	fields := reflect.TypeFor[config.RouteConfig]()
	for i := range fields.NumField() {
		if key := fields.Field(i).Tag.Get("yaml"); key != "websocket" && !strings.Contains(text, key+":") { // WebSocket is HTTP/1.1's alone
			t.Errorf("no twin has %s", key)
		}
	}
}
