package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// asks sends one request to the admin port and reads a JSON answer into to, when to is not nil.
func (g *gateway) asks(status int, to any, method, path string, fields ...string) spoken {
	g.t.Helper()
	text := strings.Replace(line(method, path, fields...), "Host: gw.test", "Host: "+g.admin, 1)
	for _, f := range fields {
		if strings.HasPrefix(f, "Host:") {
			text = strings.Replace(text, "Host: "+g.admin+"\r\n", "", 1)
		}
	}
	got := speak(g.t, g.admin, text)
	if got.status != status {
		g.t.Errorf("%s %s %v: %d, wanted %d: %s", method, path, fields, got.status, status, got.body)
	}
	if to != nil {
		if err := json.Unmarshal([]byte(got.body), to); err != nil || !strings.HasPrefix(got.one("Content-Type"), "application/json") {
			g.t.Errorf("%s %s: %v: %s", method, path, err, got.body)
		}
	}
	return got
}

func TestAdminDocuments(t *testing.T) {
	up := serve(t, ok)
	g := begin(t, fmt.Sprintf(explainedRoutes, up.url))
	var routes []map[string]any
	g.asks(200, &routes, "GET", "/api/v1/routes")
	var ids []any
	for _, r := range routes {
		ids = append(ids, r["id"])
	}
	if !slices.Equal(ids, []any{"open", "orders"}) {
		t.Fatalf("%v", routes)
	}
	if fmt.Sprintf("%v %v %v %v", routes[0]["auth"], routes[0]["rate_limits"], routes[0]["upstream"], routes[0]["timeout"]) != "none [] up 1m" || fmt.Sprint(routes[1]["rate_limits"]) != "[slow]" {
		t.Errorf("%v", routes)
	}
	var upstreams []struct {
		Name    string
		Targets []struct {
			N   int
			URL string
		}
		Breaker *struct{ State string }
	}
	g.asks(200, &upstreams, "GET", "/api/v1/upstreams")
	if len(upstreams) != 2 || upstreams[0].Name != "other" || upstreams[1].Name != "up" || upstreams[1].Targets[0].URL != up.url || upstreams[1].Breaker != nil || upstreams[0].Breaker.State != "closed" || upstreams[0].Targets[1].N != 1 {
		t.Errorf("%+v", upstreams)
	}
	var limits []map[string]any
	g.asks(200, &limits, "GET", "/api/v1/limits")
	if len(limits) != 1 || fmt.Sprintf("%v %v %v %v %v", limits[0]["name"], limits[0]["rate"], limits[0]["burst"], limits[0]["by"], limits[0]["routes"]) != "slow 1/h 3 client [orders]" {
		t.Errorf("%v", limits)
	}
	var config map[string]any
	if got := g.asks(200, &config, "GET", "/api/v1/config"); strings.Contains(got.body, secret) || config["version"] != 1.0 {
		t.Error(got.body)
	}
	var none []any
	if g.asks(200, &none, "GET", "/api/v1/config/errors"); none == nil || len(none) != 0 {
		t.Errorf("%v", none)
	}
	var result map[string]any
	if g.asks(200, &result, "POST", "/api/v1/reload"); result["result"] != "success" {
		t.Errorf("%v", result)
	}
	g.write("routs: []\n")
	var failed struct {
		Result string
		Errors []struct {
			File, Path, Message string
			Line, Column        int
			Meant               string `json:"did_you_mean"`
		}
	}
	g.asks(422, &failed, "POST", "/api/v1/reload")
	if failed.Result != "failure" || len(failed.Errors) == 0 || !slices.ContainsFunc(failed.Errors, func(e struct {
		File, Path, Message string
		Line, Column        int
		Meant               string `json:"did_you_mean"`
	}) bool {
		return e.Path == "routs" && e.Line == 6 && e.Column == 1 && e.File == g.file && e.Meant == "routes"
	}) {
		t.Errorf("%+v", failed)
	}
	if n := len(g.errors()); n != len(failed.Errors) {
		t.Errorf("%d errors, wanted %d", n, len(failed.Errors))
	}
	g.want(200, "", "GET", "/open", "")
	if !strings.Contains(g.log.String(), `"change":"reload","by":"127.0.0.1:`) {
		t.Error("a change is not logged with who and what")
	}
}

const explainedRoutes = `rate_limits: { slow: { rate: 1/1h, burst: 3 } }
upstreams: { up: { targets: [%q] }, other: { targets: ["http://127.0.0.1:1", "http://127.0.0.1:2"], breaker: {} } }
routes:
  - { id: open, match: { path: /open }, auth: none, to: up }
  - { id: orders, match: { path: "/orders/{id}", methods: [GET] }, auth: { issuers: [main] }, rate_limits: [slow], to: up }
`

func TestAdminRefusals(t *testing.T) {
	up := serve(t, ok)
	g := prepare(t, fmt.Sprintf(explainedRoutes, up.url))
	g.replace("admin: {", "admin: { token: a-long-admin-token-0123456789,")
	g.start()
	t.Cleanup(g.kill)
	const token = "Authorization: Bearer a-long-admin-token-0123456789"
	for _, path := range []string{"/livez", "/readyz", "/metrics"} {
		g.asks(200, nil, "GET", path)
		g.asks(200, nil, "GET", path, "Host: probe.internal", "Origin: https://x.test")
		g.asks(405, nil, "POST", path)
	}
	got := g.asks(401, nil, "GET", "/api/v1/routes")
	if got.kind() != "unauthenticated" || got.one("WWW-Authenticate") != `Bearer realm="oncegate-admin"` || got.one("Cache-Control") != "no-store" || got.one("Content-Type") != "application/problem+json" {
		t.Errorf("%s\n%s", got.head, got.body)
	}
	for _, bad := range []string{"Bearer", "Bearer ", "Bearer a-long-admin-token-012345678", "Bearer a-long-admin-token-01234567890", "Basic a-long-admin-token-0123456789", "a-long-admin-token-0123456789", "Bearer  a-long-admin-token-0123456789x"} {
		g.asks(401, nil, "GET", "/api/v1/routes", "Authorization: "+bad)
		g.asks(401, nil, "POST", "/api/v1/reload", "Authorization: "+bad)
	}
	g.asks(200, nil, "GET", "/api/v1/routes", token)
	g.asks(200, nil, "GET", "/api/v1/routes", strings.Replace(token, "Bearer", "bearer", 1))
	for _, path := range []string{"/api/v1/nothing", "/api/v1/routes/nobody", "/api/v1/Routes", "/api/v1/routes/", "/api/v1/upstreams/nobody/nothing"} {
		if got := g.asks(404, nil, "GET", path, token); got.kind() != "not-found" {
			t.Errorf("%s: %s", path, got.body)
		}
	}
	for _, path := range []string{"/api/v1/nothing", "/api/v1/routes/nobody"} { // who may not look is not told what is there
		g.asks(401, nil, "GET", path)
	}
	for _, path := range []string{"/nothing", "/", "/api", "/API/v1/routes", "/api//v1/routes", "/%61pi/v1/routes"} {
		if got := g.asks(404, nil, "GET", path); got.kind() != "not-found" {
			t.Errorf("%s: %s", path, got.body)
		}
	}
	g.asks(405, nil, "GET", "/api/v1/reload", token)
	g.asks(405, nil, "DELETE", "/api/v1/routes", token)
	for _, foreign := range []string{"Host: evil.test", "Host: evil.test:9901", "Host: 127.0.0.1.evil.test", "Origin: https://evil.test", "Origin: null", "Origin: http://127.0.0.1:1", "Origin: https://" + g.admin + ".evil.test"} {
		if got := g.asks(403, nil, "POST", "/api/v1/reload", token, foreign); got.kind() != "forbidden" {
			t.Errorf("%s: %s", foreign, got.body)
		}
	}
	for _, own := range []string{"Host: localhost:1234", "Host: 127.0.0.1", "Host: [::1]:9901", "Origin: http://" + g.admin} {
		g.asks(200, nil, "GET", "/api/v1/routes", token, own)
	}
	g.soundLog("a-long-admin-token")
}
