package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestAdminAPI(t *testing.T) {
	up := serve(t, ok)
	g := begin(t, fmt.Sprintf(keyed, up.url))
	for path, word := range map[string]string{
		"/livez": "ok", "/readyz": "ok", "/metrics": "gateway_build_info{",
		"/api/v1/routes": `"id":"w"`, "/api/v1/config": `"[redacted]"`, "/api/v1/config/errors": "[]",
	} {
		if status, text := g.get(g.admin, path); status != 200 || !strings.Contains(text, word) {
			t.Errorf("%s: %d, no %s in %s", path, status, word, text)
		}
	}
	if _, text := g.get(g.admin, "/api/v1/config"); strings.Contains(text, secret) || !json.Valid([]byte(text)) {
		t.Errorf("config is not JSON, or shows a secret: %s", text)
	}
	if status, _ := g.get(g.admin, "/api/v1/nothing"); status != 404 {
		t.Errorf("an unknown name is %d", status)
	}
	if status := adminCall(t, g, "POST", "/api/v1/reload", "", ""); status != 200 {
		t.Errorf("reload is %d", status)
	}
}

func adminCall(t *testing.T, g *gateway, method, path, name, value string) int {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+g.admin+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if name == "Host" {
		r.Host = value
	} else if name != "" {
		r.Header.Set(name, value)
	}
	a, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	a.Body.Close()
	return a.StatusCode
}

func TestAdminAPIKeepsForeignersOut(t *testing.T) {
	up := serve(t, ok)
	g := begin(t, fmt.Sprintf(keyed, up.url))
	for _, c := range []struct{ name, value string }{{"Origin", "https://evil.test"}, {"Origin", "null"}, {"Host", "evil.test"}, {"Host", "evil.test:9901"}} {
		if status := adminCall(t, g, "POST", "/api/v1/reload", c.name, c.value); status != 403 {
			t.Errorf("%s: %s is %d", c.name, c.value, status)
		}
	}
	if status := adminCall(t, g, "GET", "/api/v1/routes", "Origin", "http://"+g.admin); status != 200 {
		t.Errorf("its own origin is %d", status)
	}
}

func TestAdminToken(t *testing.T) {
	up := serve(t, ok)
	g := prepare(t, fmt.Sprintf(keyed, up.url))
	g.replace("admin: {", "admin: { token: a-long-admin-token-0123456789,")
	g.start()
	t.Cleanup(g.kill)
	for value, status := range map[string]int{"": 401, "Bearer wrong": 401, "Basic a-long-admin-token-0123456789": 401, "Bearer a-long-admin-token-0123456789": 200} {
		if got := adminCall(t, g, "GET", "/api/v1/routes", "Authorization", value); got != status {
			t.Errorf("%q is %d, wanted %d", value, got, status)
		}
	}
	if status, _ := g.get(g.admin, "/metrics"); status != 200 {
		t.Errorf("metrics are %d: they stay open", status)
	}
}
