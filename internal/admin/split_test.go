package admin

import (
	"fmt"
	"strings"
	"testing"
)

// Weights change at once, and until the next reload: blue and green by one call, and back by one.
func TestPutSplit(t *testing.T) {
	r := newRig(t, inMemory+`upstreams: { blue: { targets: [@UP@], breaker: {} }, green: { targets: [@UP@] } }
routes:
  - { id: a, match: { path: /a }, auth: none, to: { split: [{ upstream: blue, weight: 100 }, { upstream: green, weight: 0 }], sticky: client } }
  - { id: b, match: { path: /b }, auth: none, to: blue }
`)
	split := func() map[string]int { return r.gateway.Snapshot().Split("a").Weights() }
	r.refuses(404, "not-found", "PUT", "/api/v1/routes/b/split", `{"blue":1}`)
	r.refuses(404, "not-found", "PUT", "/api/v1/routes/none/split", `{"blue":1}`)
	for _, body := range []string{"", "{}", `{"blue":1}`, `{"blue":0,"green":0}`, `{"blue":1,"green":-1}`, `{"blue":1,"green":1,"red":1}`, `{"blue":1,"blue":2,"green":1}`} {
		r.refuses(400, "bad-request", "PUT", "/api/v1/routes/a/split", body)
	}
	r.asks(200, nil, "PUT", "/api/v1/routes/a/split", `{"blue":0,"green":100}`)
	if w := split(); w["blue"] != 0 || w["green"] != 100 {
		t.Errorf("%v", w)
	}
	var routes []struct {
		ID    string         `json:"id"`
		Split map[string]int `json:"split"`
	}
	r.asks(200, &routes, "GET", "/api/v1/routes", "")
	if routes[0].Split["green"] != 100 || routes[1].Split != nil {
		t.Errorf("%+v", routes)
	}
	var changes []changeView
	r.asks(200, nil, "POST", "/api/v1/upstreams/blue/breaker", `{"state":"open"}`)
	r.asks(200, &changes, "GET", "/api/v1/config/changes", "")
	if got := fmt.Sprint(changes); got != "[{routes.a.to.split[0].weight 100 0 reload} {routes.a.to.split[1].weight 0 100 reload} {upstreams.blue.breaker auto open auto}]" {
		t.Error(got)
	}
	if log := r.log.String(); !strings.Contains(log, `"change":"split"`) || !strings.Contains(log, `"blue":100`) {
		t.Error(log)
	}
	if err := r.gateway.Apply(r.gateway.Snapshot().Document); err != nil {
		t.Fatal(err)
	}
	if w := split(); w["blue"] != 100 {
		t.Errorf("after a reload %v", w)
	}
	r.asks(200, nil, "POST", "/api/v1/upstreams/blue/breaker", `{"state":"auto"}`)
	if r.asks(200, &changes, "GET", "/api/v1/config/changes", ""); len(changes) > 0 {
		t.Errorf("after a reload and auto %v", changes)
	}
}
