package config

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/units"
)

const tail = `
upstreams: { up: { targets: [http://127.0.0.1:1] } }
routes:
  - { id: a, match: { path: /a }, auth: none, to: up }
`

func TestGoodDocuments(t *testing.T) {
	parseGood(t, base(t))
	parseGood(t, full(t))
}

func TestDefaultsAreFilledIn(t *testing.T) {
	doc := parseGood(t, "version: 1"+tail).Document
	if doc.Listen.Address != ":8080" || doc.Listen.Limits.Headers != 100 || doc.Listen.Drain.Timeout.Std() != 30*time.Second {
		t.Errorf("listen %+v", doc.Listen)
	}
	if doc.Admin.Address != "127.0.0.1:9901" || doc.State.Store != "embedded" || doc.State.Path != "./data" {
		t.Errorf("admin %+v, state %+v", doc.Admin, doc.State)
	}
	up := doc.Upstreams["up"]
	if up.Timeout.Connect.Std() != time.Second || up.Breaker != nil || up.Targets[0].Weight != 1 || up.Targets[0].URL != "http://127.0.0.1:1" {
		t.Errorf("upstream %+v", up)
	}
	r := doc.Routes[0]
	if r.Timeout.Std() != time.Minute || *r.Body != 8<<20 || r.Dedup != nil || r.Forward != nil || !r.Auth.None || r.RateLimits != nil {
		t.Errorf("route %+v", r)
	}
}

// TestEmptyMappingSwitchesOn: {} is a policy with its defaults, absence is none.
func TestEmptyMappingSwitchesOn(t *testing.T) {
	doc := parseGood(t, `version: 1
listen: { limits: { body: 1KiB } }
issuers: { main: { issuer: x, audiences: [a], secret: "${JWT_SECRET}", algorithms: [HS256] } }
upstreams: { up: { targets: [http://127.0.0.1:1], breaker: {} } }
routes:
  - { id: a, match: { path: /a }, auth: { issuers: [main] }, dedup: {}, to: up }
`).Document
	r := doc.Routes[0]
	if r.Dedup == nil || r.Dedup.Key != "optional" || len(r.Dedup.Methods) != 2 || r.Dedup.Keep.Key.Std() != 72*time.Hour || r.Dedup.MaxAnswer != 256<<10 {
		t.Errorf("dedup %+v", r.Dedup)
	}
	if b := doc.Upstreams["up"].Breaker; b == nil || b.Minimum != 20 || b.FailureRate != units.Share(0.5) {
		t.Errorf("breaker %+v", b)
	}
	if *r.Body != 1<<10 {
		t.Errorf("body %v is not listen.limits.body", *r.Body)
	}
}

func TestDefaultsOfRoutes(t *testing.T) {
	doc := parseGood(t, full(t)).Document
	orders, reports, hook := doc.Routes[0], doc.Routes[1], doc.Routes[2]
	if orders.Timeout.Std() != 2*time.Second || *orders.Body != 16<<10 || orders.Forward.Claims["X-Tenant"] != "tenant" || len(orders.RateLimits) != 5 || *orders.RateLimits[2].Cost != 3 {
		t.Errorf("what a route says itself was overwritten: %+v", orders)
	}
	if reports.Timeout.Std() != 10*time.Second || *reports.Body != 1<<20 || reports.Forward.Claims["X-User-Id"] != "sub" ||
		len(reports.RateLimits) != 1 || len(reports.Auth.Issuers) != 1 {
		t.Errorf("a silent route has not the defaults: %+v", reports)
	}
	if hook.RateLimits == nil || len(hook.RateLimits) != 0 || !hook.Auth.None {
		t.Errorf("rate_limits: [] and auth: none are not silence: %+v", hook)
	}
}

func TestContractForms(t *testing.T) {
	text := change(t, base(t), "targets: [http://127.0.0.1:9001]", "targets: [http://127.0.0.1:9001, { url: http://127.0.0.1:9002, weight: 2 }]")
	text = change(t, text, "    breaker: {", "    connections: { max: 512, idle: 90s }\n    breaker: {")
	text = change(t, text, "match: { path: /open }",
		`match: { hosts: [api.example.com, "*.example.org"], path: "/open/{id}", headers: { Accept: application/json }, query: { beta: "1" } }`)
	doc := parseGood(t, text).Document
	if got := doc.Upstreams["orders"].Targets; len(got) != 2 || got[1].URL != "http://127.0.0.1:9002" || got[1].Weight != 2 || got[0].Weight != 1 {
		t.Errorf("targets %+v", got)
	}
	parseGood(t, "# first\n---\n"+base(t)+"...\n")
	parseGood(t, "\ufeff"+base(t))
}

// What switches nothing on may stand anywhere.
func TestInertKeys(t *testing.T) {
	text := `version: 1
state: { encryption_key: "", redis: {} }
api_keys: {}
rate_limits: { a: { rate: 1/s, by: ip, scope: local, plans: {} } }
upstreams: { up: { targets: [http://127.0.0.1:1], balance: round_robin, tls: { cert: "", key: "" } } }
defaults: { mode: enforce }
routes:
  - { id: a, match: { path: /a }, auth: none, to: up, rewrite: {}, fallback: [], mode: enforce }
`
	parseGood(t, text)
}

func TestAllProblemsAtOnce(t *testing.T) {
	text := base(t)
	for old, by := range map[string]string{
		"read_timeout: 10s": "read_timeuot: 10s", "rate: 100/s": "rate: fast", "issuers: [main]": "issuers: [mian]",
		"path: /open": "path: open", "minimum: 20": "minimum: -1",
	} {
		text = change(t, text, old, by)
	}
	found := problemsOf(t, text)
	mustContain(t, linesOf(found), "gateway.yaml:4:40: listen.limits.read_timeuot", "rate_limits.per-client.rate", "routes[0].auth.issuers[0]", "routes[1].match.path", "breaker.minimum")
	for i := 1; i < len(found); i++ {
		if found[i].Line < found[i-1].Line {
			t.Errorf("not sorted by place:\n%s", linesOf(found))
		}
	}
	if len(found) != 5 {
		t.Errorf("want 5 problems, got\n%s", linesOf(found))
	}
}

func TestMemoryStoreIsWarned(t *testing.T) {
	list := parseGood(t, base(t)).Warnings
	if len(list) != 1 || list[0].Line != 8 || list[0].Path != "state.store" {
		t.Errorf("warnings %v", list)
	}
	if list := parseGood(t, full(t)).Warnings; len(list) != 0 {
		t.Errorf("warnings %v of a durable store", list)
	}
}

func TestLoad(t *testing.T) {
	t.Setenv("JWT_SECRET", secret)
	doc, err := Load("testdata/good/base.yaml")
	if err != nil || len(doc.Routes) != 2 {
		t.Fatal(doc, err)
	}
	_, err = Load("/no/such/gateway.yaml")
	mustContain(t, err.Error(), "/no/such/gateway.yaml", "no such file")
	_, err = Load(t.TempDir())
	if err == nil {
		t.Error("a folder was read")
	}
	path := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(path, []byte("version: 2"+tail), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Load(path)
	mustContain(t, err.Error(), path+":1:10: version: must be at most 1")
}
