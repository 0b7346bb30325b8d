package e2e

import (
	"fmt"
	"strings"
	"testing"
)

const ruled = `upstreams: { up: { targets: [%q] } }
routes:
  - id: tenant
    match: { path: "/tenants/{tenant}/orders" }
    auth:
      issuers: [main]
      require:
        expression: |
          claims.tenant == request.params.tenant
            && (request.method in ["GET", "HEAD"] || "orders:write" in claims.roles)
    to: up
  - { id: region, match: { path: /region }, auth: { issuers: [main], require: { expression: 'request.headers["x-region"] in claims.regions && inCIDR(client.ip, "127.0.0.0/8")' } }, to: up }
  - { id: level, match: { path: /level }, auth: { issuers: [main], require: { scopes: [r], expression: 'claims.level >= int(request.query.min)' } }, to: up }
`

func TestExpressions(t *testing.T) {
	up := newMirror(t)
	g := begin(t, fmt.Sprintf(ruled, up.url))
	denied := refusal{403, "forbidden", `Bearer realm="oncegate", error="insufficient_scope"`}
	for _, c := range []struct {
		ok           bool
		method, path string
		claims       []any
		fields       []string
	}{
		{true, "GET", "/tenants/acme/orders", []any{"tenant", "acme"}, nil},
		{true, "POST", "/tenants/acme/orders", []any{"tenant", "acme", "roles", []string{"orders:write"}}, nil},
		{false, "POST", "/tenants/acme/orders", []any{"tenant", "acme", "roles", []string{"orders:read"}}, nil},
		{false, "POST", "/tenants/acme/orders", []any{"tenant", "acme"}, nil},
		{false, "GET", "/tenants/other/orders", []any{"tenant", "acme"}, nil},
		{false, "GET", "/tenants/acme/orders", nil, nil},
		{false, "GET", "/tenants/acme/orders", []any{"tenant", []string{"acme"}}, nil},
		{true, "GET", "/region", []any{"regions", []string{"eu", "us"}}, []string{"X-Region: eu"}},
		{false, "GET", "/region", []any{"regions", []string{"eu", "us"}}, []string{"X-Region: asia"}},
		{false, "GET", "/region", []any{"regions", []string{"eu", "us"}}, []string{"X-Region: eu", "x-region: eu"}},
		{false, "GET", "/region", []any{"regions", []string{"eu", "us"}}, []string{"X-Region: eu", "Connection: X-Region"}},
		{false, "GET", "/region", []any{"regions", []string{"eu", "us"}}, nil},
		{true, "GET", "/level?min=3", []any{"level", 3, "scope", "r"}, nil},
		{false, "GET", "/level?min=4", []any{"level", 3, "scope", "r"}, nil},
		{false, "GET", "/level?min=1&min=4", []any{"level", 3, "scope", "r"}, nil},
		{false, "GET", "/level?min=x", []any{"level", 3, "scope", "r"}, nil},
		{false, "GET", "/level", []any{"level", 3, "scope", "r"}, nil},
	} {
		before := up.count.Load()
		got := speak(t, g.address, line(c.method, c.path, append([]string{"Content-Length: 0", "Authorization: Bearer " + hs(t, c.claims...)}, c.fields...)...))
		name := fmt.Sprint(c)
		if c.ok && (got.status != 200 || up.count.Load() != before+1) {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
		if !c.ok && (got.status != denied.status || got.kind() != denied.kind || up.count.Load() != before) {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
		if !c.ok {
			for _, word := range []string{"claims", "expression", "tenant", "region", "level", "rule"} {
				if strings.Contains(strings.ReplaceAll(got.body, c.path, ""), word) {
					t.Errorf("%s: the answer tells of the rule: %s", name, got.body)
				}
			}
		}
	}
	if n := g.metric(`gateway_auth_total{issuer="main",result="rule_denies"}`); n != "13" {
		t.Errorf("%s requests denied by a rule, says the metric", n)
	}
	code, out, _ := command(t, "", "explain", "-config", g.file, "-H", "Authorization: Bearer "+hs(t, "tenant", "acme"), "POST", "http://x/tenants/acme/orders")
	if code != 0 || !strings.Contains(out, "auth refuses: 403 forbidden") || !strings.Contains(out, "fails (no such key: roles)") {
		t.Errorf("explain: %d %s", code, out)
	}
}

func TestBrokenExpressions(t *testing.T) {
	for rule, want := range map[string]string{
		`claims.level > 5 &&\n  claims.nope(`:     ":13:17: routes[0].auth.require.expression: 2:",
		`claims.level`:                            "gives dyn, not bool",
		`request.params.id == "1"`:                "unknown path parameter",
		`request.headers["x-api-key"] == "1"`:     "header x-api-key carries API keys and can't be read",
		`request.headers["authorization"] == "1"`: "carries credentials",
	} {
		text := `api_keys: { p: { keys: [ { id: a, sha256: "` + partnerHash + `" } ] } }
upstreams: { up: { targets: ["http://127.0.0.1:9"] } }
routes:
  - id: a
    match: { path: "/a/{x}" }
    auth: { issuers: [main],
      require: { expression:
                "` + strings.ReplaceAll(rule, `"`, `\"`) + `" } }
    to: up
`
		g := prepare(t, text)
		code, out, failure := command(t, "", "check", "-config", g.file)
		if code == 0 || !strings.Contains(out+failure, want) || !strings.Contains(out+failure, "routes[0].auth.require.expression: ") {
			t.Errorf("%s: %d %s%s", rule, code, out, failure)
		}
	}
}
