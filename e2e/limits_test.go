package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Rates are slow, so that no token comes back while a test runs.
const buckets = `rate_limits:
  three: { rate: 1/1h, burst: 3, by: ip }
  wide: { rate: 1/1h, burst: 5, by: ip }
  tight: { rate: 1/2h, burst: 1, by: ip }
  client: { rate: 1/1h, burst: 1, by: client }
  per-route: { rate: 1/1h, burst: 1, by: route }
  everybody: { rate: 1/1h, burst: 1, by: all }
  tenant: { rate: 1/1h, burst: 1, by: "header:X-Tenant" }
  plan: { rate: 1/1h, burst: 1, by: "claim:plan" }
  reject: { rate: 1/1h, burst: 1, by: "header:X-Tenant", on_missing: reject }
  reject-claim: { rate: 1/1h, burst: 1, by: "claim:plan", on_missing: reject }
  together: { rate: 1/1h, burst: 1, by: client, on_missing: shared }
  shadow: { rate: 1/1h, burst: 1, by: ip, mode: shadow }
  dear: { rate: 1/1h, burst: 10, by: ip, cost: 4 }
  quick: { rate: 1000/s, burst: 2000, by: ip }
upstreams: { up: { targets: [%q] } }
routes:
  - { id: three, match: { path: /three }, auth: none, rate_limits: [three], to: up }
  - { id: three-too, match: { path: /three-too }, auth: none, rate_limits: [three], to: up }
  - { id: both, match: { path: /both }, auth: none, rate_limits: [wide, tight], to: up }
  - { id: wide, match: { path: /wide }, auth: none, rate_limits: [wide], to: up }
  - { id: client, match: { path: /client }, auth: { issuers: [main], optional: true }, rate_limits: [client], to: up }
  - { id: r1, match: { path: /r1 }, auth: none, rate_limits: [per-route], to: up }
  - { id: r2, match: { path: /r2 }, auth: none, rate_limits: [per-route], to: up }
  - { id: all, match: { path: /all }, auth: { issuers: [main] }, rate_limits: [everybody], to: up }
  - { id: tenant, match: { path: /tenant }, auth: none, rate_limits: [tenant], to: up }
  - { id: plan, match: { path: /plan }, auth: { issuers: [main] }, rate_limits: [plan], to: up }
  - { id: reject, match: { path: /reject }, auth: none, rate_limits: [reject], to: up }
  - { id: reject-claim, match: { path: /reject-claim }, auth: { issuers: [main] }, rate_limits: [reject-claim], to: up }
  - { id: together, match: { path: /together }, auth: none, rate_limits: [together], to: up }
  - { id: shadow, match: { path: /shadow }, auth: none, rate_limits: [shadow], to: up }
  - { id: shadow-both, match: { path: /shadow-both }, auth: none, rate_limits: [shadow, wide], to: up }
  - { id: dear, match: { path: /dear }, auth: none, rate_limits: [dear], to: up }
  - { id: quick, match: { path: /quick }, auth: none, rate_limits: [quick], to: up }
  - { id: none, match: { path: /none }, auth: none, to: up }
  - { id: guarded, match: { path: /guarded }, auth: { issuers: [main] }, rate_limits: [three], to: up }
`

func limitsGateway(t *testing.T) (*gateway, *service) {
	t.Helper()
	up := serve(t, ok)
	g := prepare(t, fmt.Sprintf(buckets, up.url))
	g.replace("listen: {", "listen: { trusted_proxies: [127.0.0.1/32, 10.0.0.0/8, \"fd00::/8\"],")
	g.start()
	t.Cleanup(g.kill)
	return g, up
}

// takes asks for a path, and wants the status and the exact text of RateLimit.
func (g *gateway) takes(status int, limit, path string, fields ...string) spoken {
	g.t.Helper()
	got := speak(g.t, g.address, line("GET", path, fields...))
	if got.status != status || limit != "" && got.one("RateLimit") != limit {
		g.t.Errorf("%s %v: %d %s, wanted %d %s: %s", path, fields, got.status, got.one("RateLimit"), status, limit, got.body)
	}
	if status == 429 {
		seconds, err := strconv.Atoi(got.one("Retry-After"))
		if err != nil || seconds < 1 || got.kind() != "rate-limited" {
			g.t.Errorf("%s: %s\n%s", path, got.head, got.body)
		}
	}
	return got
}

func TestLimitFields(t *testing.T) {
	g, up := limitsGateway(t)
	for _, limit := range []string{`"three";r=2;t=3600`, `"three";r=1;t=7200`, `"three";r=0;t=10800`} {
		if got := g.takes(200, limit, "/three"); got.one("RateLimit-Policy") != `"three";q=3;w=10800` || got.one("Retry-After") != "" {
			t.Error(got.head)
		}
	}
	got := g.takes(429, `"three";r=0;t=10800`, "/three")
	if got.one("RateLimit-Policy") != `"three";q=3;w=10800` || got.one("Retry-After") != "3600" || got.one("Content-Type") != "application/problem+json" {
		t.Error(got.head)
	}
	doc := answer{body: got.body}.problem()
	if doc["policy"] != "three" || doc["status"] != 429.0 || doc["title"] == "" || doc["detail"] == "" || doc["instance"] != got.one("X-Request-Id") {
		t.Error(got.body)
	}
	g.takes(429, "", "/three-too") // one bucket for all routes that use the name
	if up.count.Load() != 3 {
		t.Errorf("%d requests went upstream", up.count.Load())
	}
	if got := g.takes(200, "", "/none"); got.one("RateLimit") != "" || got.one("RateLimit-Policy") != "" {
		t.Errorf("a route without limits: %s", got.head)
	}
	if got := g.takes(200, `"quick";r=1999;t=1`, "/quick"); got.one("RateLimit-Policy") != `"quick";q=2000;w=2` {
		t.Error(got.head)
	}
	if got := g.takes(401, "", "/guarded"); got.one("RateLimit") != "" {
		t.Errorf("before the limit: %s", got.head)
	}
	for name, n := range map[string]string{`{decision="allowed",policy="three"}`: "3", `{decision="refused",policy="three"}`: "2"} {
		if got := g.metric("gateway_ratelimit_decisions_total" + name); got != n {
			t.Errorf("%s is %q, wanted %s", name, got, n)
		}
	}
	if n := g.metric(`gateway_refusals_total{kind="rate-limited",route="three"}`); n != "1" {
		t.Errorf("refusals: %q", n)
	}
}

func TestSeveralLimitsTakeAllOrNothing(t *testing.T) {
	g, _ := limitsGateway(t)
	if got := g.takes(200, `"wide";r=4;t=3600, "tight";r=0;t=7200`, "/both"); got.one("RateLimit-Policy") != `"wide";q=5;w=18000, "tight";q=1;w=7200` {
		t.Error(got.head)
	}
	for range 3 {
		got := g.takes(429, `"wide";r=4;t=3600, "tight";r=0;t=7200`, "/both")
		if doc := (answer{body: got.body}).problem(); doc["policy"] != "tight" || got.one("Retry-After") != "7200" {
			t.Errorf("%s\n%s", got.head, got.body)
		}
	}
	g.takes(200, `"wide";r=3;t=7200`, "/wide")
}

func TestWhoseBucket(t *testing.T) {
	g, _ := limitsGateway(t)
	twice := func(path string, fields ...string) {
		t.Helper()
		g.takes(200, "", path, fields...)
		g.takes(429, "", path, fields...)
	}
	bearer := func(pairs ...any) string { return "Authorization: Bearer " + hs(t, pairs...) }
	twice("/client", bearer("sub", "alice"))
	twice("/client", bearer("sub", "bob"))
	g.takes(429, "", "/client", bearer("sub", "alice", "jti", "another token"))
	g.takes(429, "", "/client", bearer("sub", "alice"), "X-Forwarded-For: 9.9.9.9")
	twice("/client") // anonymous: by address
	twice("/client", "X-Forwarded-For: 9.9.9.9")
	twice("/r1", "X-Forwarded-For: 9.9.9.1")
	twice("/r2", "X-Forwarded-For: 9.9.9.1")
	g.takes(429, "", "/r1", "X-Forwarded-For: 9.9.9.2")
	twice("/all", bearer("sub", "alice"))
	g.takes(429, "", "/all", bearer("sub", "bob"), "X-Forwarded-For: 9.9.9.2")
	twice("/tenant", "X-Tenant: a")
	twice("/tenant", "X-Tenant: b")
	twice("/tenant", "X-Tenant: 127.0.0.1") // is no address
	twice("/tenant")                        // missing: by address
	twice("/tenant", "X-Forwarded-For: 9.9.9.9")
	twice("/plan", bearer("plan", "gold"))
	twice("/plan", bearer("plan", "iron"))
	g.takes(429, "", "/plan", bearer("plan", "gold", "sub", "bob"))
	twice("/plan", bearer("sub", "carol"))
	g.takes(429, "", "/plan", bearer("sub", "dave"))
	twice("/together")
	g.takes(429, "", "/together", "X-Forwarded-For: 9.9.9.9")
	twice("/reject", "X-Tenant: a")
	g.refuses("without the header", noCredential, "/reject")
	g.refuses("with an empty one", noCredential, "/reject", "X-Tenant: ")
	twice("/reject-claim", bearer("plan", "a"))
	g.refuses("without the claim", noCredential, "/reject-claim", bearer())
}

func TestAddressesBehindProxies(t *testing.T) {
	g, _ := limitsGateway(t)
	same := func(first string, others ...string) {
		t.Helper()
		for range 3 {
			g.takes(200, "", "/three", first)
		}
		for _, other := range others {
			g.takes(429, "", "/three", strings.Split(other, "|")...)
		}
	}
	same("X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 6.6.6.6, 1.1.1.1", "X-Forwarded-For: 6.6.6.6, 1.1.1.1, 10.0.0.7", "X-Forwarded-For: 1.1.1.1:5555", "X-Forwarded-For: ::ffff:1.1.1.1",
		"X-Forwarded-For: ::ffff:101:101", "X-Forwarded-For: 6.6.6.6|X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 1.1.1.1, 10.0.0.7|X-Forwarded-For: 10.2.3.4", "X-Forwarded-For: nonsense, 1.1.1.1", "x-forwarded-for: 1.1.1.1")
	same("X-Forwarded-For: 2001:db8:1:2::1", "X-Forwarded-For: 2001:db8:1:2:ffff::9", "X-Forwarded-For: [2001:db8:1:2::7]:443", "X-Forwarded-For: 2001:DB8:1:2:0:0:0:8", "X-Forwarded-For: 2001:db8:1:2::1, fd00::5")
	same("X-Forwarded-For: 2001:db8:1:3::1")
	same("", "X-Forwarded-For: 6.6.6.6, nonsense", "X-Real-IP: 6.6.6.7", "Forwarded: for=6.6.6.8", "X_Forwarded_For: 6.6.6.9", "X-Forwarded-For: , ,")
	for l := range strings.Lines(g.log.String()) {
		if strings.Contains(l, `"msg":"request"`) && strings.Contains(l, "nonsense") {
			t.Errorf("what a client wrote is logged as an address: %s", l)
		}
	}
}

func TestStrangersCannotSayWhoTheyAre(t *testing.T) {
	up := serve(t, ok)
	g := begin(t, fmt.Sprintf(buckets, up.url))
	for i := range 3 {
		g.takes(200, "", "/three", fmt.Sprintf("X-Forwarded-For: 9.9.9.%d", i))
	}
	g.takes(429, "", "/three", "X-Forwarded-For: 8.8.8.8")
	g.takes(429, "", "/three", "X-Real-IP: 8.8.8.8")
}

func TestShadowAndCost(t *testing.T) {
	g, _ := limitsGateway(t)
	for range 3 {
		if got := g.takes(200, "", "/shadow"); got.one("RateLimit") != "" || got.one("RateLimit-Policy") != "" {
			t.Errorf("a shadow is announced: %s", got.head)
		}
	}
	for decision, n := range map[string]string{"allowed": "1", "shadow_refused": "2", "refused": ""} {
		if got := g.metric(`gateway_ratelimit_decisions_total{decision="` + decision + `",policy="shadow"}`); got != n {
			t.Errorf("%s: %q, wanted %q", decision, got, n)
		}
	}
	g.takes(200, `"wide";r=4;t=3600`, "/shadow-both")
	g.takes(200, `"dear";r=6;t=14400`, "/dear")
	g.takes(200, `"dear";r=2;t=28800`, "/dear")
	if got := g.takes(429, `"dear";r=2;t=28800`, "/dear"); got.one("Retry-After") != "7200" {
		t.Error(got.head)
	}
}

// Of many at the same time, exactly the burst passes.
func TestParallelRequestsPassExactlyTheBurst(t *testing.T) {
	g, up := limitsGateway(t)
	var group sync.WaitGroup
	for range 40 {
		group.Go(func() { speak(t, g.address, line("GET", "/wide")) })
	}
	group.Wait()
	if n := up.count.Load(); n != 5 {
		t.Errorf("%d of 40 passed, wanted 5", n)
	}
}

// A reload changes rates and bursts and keeps what is in the buckets; a level above the new burst is cut.
func TestBucketsOutliveReloads(t *testing.T) {
	g, _ := limitsGateway(t)
	g.takes(200, `"three";r=2;t=3600`, "/three")
	g.takes(200, `"wide";r=4;t=3600`, "/wide")
	change := func(old, next string) {
		t.Helper()
		before := g.metric(reloadsOK)
		g.replace(old, next)
		g.signal(syscall.SIGHUP)
		g.eventually("the reload", func() bool { return g.metric(reloadsOK) != before })
	}
	change("three: { rate: 1/1h, burst: 3", "three: { rate: 1/1h, burst: 30")
	g.takes(200, `"three";r=1;t=104400`, "/three")
	change("three: { rate: 1/1h, burst: 30", "three: { rate: 1/2h, burst: 1")
	g.takes(200, `"three";r=0;t=7200`, "/three")
	g.takes(429, `"three";r=0;t=7200`, "/three-too")
	change("id: three,", "id: renamed,")
	g.takes(429, "", "/three")
	change("rate_limits: [three], to: up }\n  - { id: three-too", "to: up }\n  - { id: three-too")
	g.takes(200, "", "/three")
	g.takes(429, "", "/three-too")
	change("by: ip }\n  wide", "by: all }\n  wide")
	g.takes(200, "", "/three-too") // another kind of identity is another bucket
	g.takes(200, `"wide";r=3;t=7200`, "/wide")
}
