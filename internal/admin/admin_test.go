package admin

import (
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// The clock of the Date header runs for the whole process; what sweeps a stopped server's workers away ends within ten seconds.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

func TestHealthAndMetricsNeedNoToken(t *testing.T) {
	r := newRig(t, rigRoutes)
	nobody := []string{"Authorization", "", "Host", "probe.internal", "Origin", "https://elsewhere.test"}
	r.asks(200, nil, "GET", "/livez", "", nobody...)
	r.refuses(503, "draining", "GET", "/readyz", "", nobody...)
	r.server.Ready(true)
	r.asks(200, nil, "GET", "/readyz", "", nobody...)
	r.server.Ready(false)
	r.refuses(503, "draining", "GET", "/readyz", "", nobody...)
	r.wrote(0, "main", "alice", "/w/a", "k")
	if got := r.asks(200, nil, "GET", "/metrics", "", nobody...); !strings.Contains(got.body, `gateway_dedup_total{result="executed",route="w"} 1`) || !strings.HasPrefix(got.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("%v %s", got.Header, got.body)
	}
}

func TestGuard(t *testing.T) {
	r := newRig(t, rigRoutes)
	for _, path := range []string{"/api/v1/routes", "/api/v1/executions", "/api/v1/subjects/alice", "/api/v1/nothing"} {
		for _, bad := range []string{"", "Bearer", "Bearer ", "Bearer x" + adminToken, "Basic " + adminToken, adminToken} {
			if got := r.refuses(401, "unauthenticated", "GET", path, "", "Authorization", bad); got.Header.Get("WWW-Authenticate") != `Bearer realm="oncegate-admin"` {
				t.Errorf("%v", got.Header)
			}
		}
		for _, foreign := range [][]string{{"Host", "evil.test"}, {"Host", "ops.test.evil.test"}, {"Origin", "https://evil.test"}, {"Origin", "null"}, {"Origin", "http://127.0.0.1:1"}} {
			r.refuses(403, "forbidden", "GET", path, "", foreign...)
		}
	}
	for _, own := range [][]string{{"Host", "ops.test"}, {"Host", "OPS.test:9901"}, {"Host", "localhost:1"}, {"Host", "[::1]:9901"}, {"Origin", "http://127.0.0.1:9901"}, {"Authorization", "bearer " + adminToken}} {
		r.asks(200, nil, "GET", "/api/v1/routes", "", own...)
	}
}

// A reload changes the token that is asked for.
func TestTokenOfTheRunningDocument(t *testing.T) {
	r := newRig(t, rigRoutes)
	doc := r.document(strings.ReplaceAll(rigRoutes, "@UP@", `"http://127.0.0.1:1"`))
	doc.Admin.Token = "another-token-of-this-test"
	if err := r.gateway.Apply(doc); err != nil {
		t.Fatal(err)
	}
	r.refuses(401, "unauthenticated", "GET", "/api/v1/routes", "")
	r.asks(200, nil, "GET", "/api/v1/routes", "", "Authorization", "Bearer another-token-of-this-test")
}

func TestDocumentViews(t *testing.T) {
	r := newRig(t, strings.Replace(rigRoutes, "upstreams: { up: { targets: [@UP@] } }", `rate_limits: { slow: { rate: 2/1m, burst: 5 } }
upstreams: { up: { targets: [@UP@] }, calm: { targets: ["http://127.0.0.1:1"], breaker: {} } }`, 1))
	var routes []map[string]any
	r.asks(200, &routes, "GET", "/api/v1/routes", "")
	if len(routes) != 2 || routes[0]["id"] != "w" || routes[0]["upstream"] != "up" || routes[1]["auth"] != "none" || routes[0]["dedup"] == nil {
		t.Errorf("%v", routes)
	}
	var ups []upstreamView
	r.asks(200, &ups, "GET", "/api/v1/upstreams", "")
	if len(ups) != 2 || ups[0].Name != "calm" || ups[0].Breaker == nil || ups[0].Breaker.State != "closed" || ups[1].Breaker != nil || len(ups[1].Targets) != 1 {
		t.Errorf("%+v", ups)
	}
	var limits []limitView
	r.asks(200, &limits, "GET", "/api/v1/limits", "")
	if len(limits) != 1 || limits[0].Name != "slow" || limits[0].Burst != 5 || len(limits[0].Routes) != 0 {
		t.Errorf("%+v", limits)
	}
	var doc map[string]any
	if got := r.asks(200, &doc, "GET", "/api/v1/config", ""); strings.Contains(got.body, adminToken) || strings.Contains(got.body, "9876543210") || doc["version"] != 1.0 {
		t.Error(got.body)
	}
	var none []problemView
	if r.asks(200, &none, "GET", "/api/v1/config/errors", ""); none == nil || len(none) != 0 {
		t.Errorf("%v", none)
	}
}

func TestReloadIsAudited(t *testing.T) {
	r := newRig(t, rigRoutes)
	var failed struct {
		Result string
		Errors []problemView
	}
	r.asks(422, &failed, "POST", "/api/v1/reload", "") // the rig's document is no file
	if failed.Result != "failure" || len(failed.Errors) == 0 {
		t.Errorf("%+v", failed)
	}
	if !strings.Contains(r.log.String(), `"msg":"admin change","change":"reload","by":"0.0.0.0:0","ok":false`) {
		t.Error(r.log)
	}
	r.refuses(405, "method-not-allowed", "GET", "/api/v1/reload", "")
	r.refuses(404, "not-found", "GET", "/api/v1/nothing", "")
	r.refuses(404, "not-found", "GET", "/nothing", "")
}
