package admin

import (
	"strings"
	"testing"
)

// An operator stops calls to an upstream at once, and lets them go again; a reload does not change that.
func TestForcedBreaker(t *testing.T) {
	r := newRig(t, inMemory+`upstreams: { up: { targets: [@UP@], breaker: {} }, bare: { targets: [@UP@] } }
routes: [ { id: a, match: { path: /a }, auth: none, to: up } ]
`)
	state := func() string {
		var views []upstreamView
		r.asks(200, &views, "GET", "/api/v1/upstreams", "")
		for _, v := range views {
			if v.Name == "up" {
				return v.Breaker.State + map[bool]string{true: " forced"}[v.Breaker.Forced]
			}
		}
		return ""
	}
	for _, body := range []string{"", "{}", `{"state":"half_open"}`, `{"state":"open","for":"1h"}`} {
		r.refuses(400, "bad-request", "POST", "/api/v1/upstreams/up/breaker", body)
	}
	r.refuses(404, "not-found", "POST", "/api/v1/upstreams/none/breaker", `{"state":"open"}`)
	r.refuses(404, "not-found", "POST", "/api/v1/upstreams/bare/breaker", `{"state":"open"}`)
	for order, want := range map[string]string{"open": "open forced", "closed": "closed forced", "auto": "closed"} {
		r.asks(200, nil, "POST", "/api/v1/upstreams/up/breaker", `{"state":"`+order+`"}`)
		if err := r.gateway.Apply(r.gateway.Snapshot().Document); err != nil {
			t.Fatal(err)
		}
		if got := state(); got != want {
			t.Errorf("%s: %s", order, got)
		}
	}
	if log := r.log.String(); strings.Count(log, `"change":"breaker"`) != 3 || !strings.Contains(log, `"upstream":"up"`) {
		t.Error(log)
	}
}
