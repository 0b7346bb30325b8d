package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const routed = `upstreams: { up: { targets: [%q] } }
routes:
  - { id: get, match: { path: /get, methods: [GET] }, auth: none, to: up }
  - { id: post, match: { path: /post, methods: [POST, PUT] }, auth: none, to: up }
  - { id: mixed-get, match: { path: /mixed, methods: [GET] }, auth: none, to: up }
  - { id: mixed-post, match: { path: /mixed, methods: [POST] }, auth: { issuers: [main] }, to: up }
  - { id: any, match: { path: /any/** }, auth: none, to: up }
  - { id: head, match: { path: /head, methods: [HEAD] }, auth: none, to: up }
  - { id: options, match: { path: /options, methods: [OPTIONS, GET] }, auth: none, to: up }
  - { id: host, match: { hosts: [only.test], path: /host, methods: [GET] }, auth: none, to: up }
  - { id: condition, match: { path: /condition, methods: [GET], headers: { X-Beta: "1" } }, auth: none, to: up }
  - { id: own, match: { path: /own, methods: [PURGE] }, auth: none, to: up }
  - { id: param, match: { path: "/users/{id}", methods: [GET] }, auth: none, to: up }
`

func TestAnswersOfTheTable(t *testing.T) {
	up := newMirror(t)
	g := begin(t, fmt.Sprintf(routed, up.url))
	const usual = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT" // of methods that no route takes, nobody looks up the path's
	for _, c := range []struct {
		method, path  string
		status        int
		kind, allowed string
	}{
		{"GET", "/nowhere", 404, "not-found", ""}, {"OPTIONS", "/nowhere", 404, "not-found", ""}, {"GET", "/get/", 404, "not-found", ""}, {"GET", "/users/", 404, "not-found", ""},
		{"POST", "/get", 405, "method-not-allowed", "GET, HEAD, OPTIONS"}, {"get", "/get", 405, "method-not-allowed", "GET, HEAD, OPTIONS"}, {"GET", "/post", 405, "method-not-allowed", "OPTIONS, POST, PUT"},
		{"HEAD", "/post", 405, "", "OPTIONS, POST, PUT"}, {"DELETE", "/mixed", 405, "method-not-allowed", "GET, HEAD, OPTIONS, POST"}, {"GET", "/head", 405, "method-not-allowed", "HEAD, OPTIONS"},
		{"PURGE", "/get", 405, "method-not-allowed", "GET, HEAD, OPTIONS"}, {"DELETE", "/users/5", 405, "method-not-allowed", "GET, HEAD, OPTIONS"}, {"POST", "/host", 404, "not-found", ""},
		{"GET", "/condition", 404, "not-found", ""}, {"POST", "/condition", 404, "not-found", ""}, {"TRACE", "/any/x", 405, "method-not-allowed", usual}, {"TRACE", "/get", 405, "method-not-allowed", usual},
		{"OPTIONS", "/get", 204, "", "GET, HEAD, OPTIONS"}, {"OPTIONS", "/mixed", 204, "", "GET, HEAD, OPTIONS, POST"}, {"OPTIONS", "/post", 204, "", "OPTIONS, POST, PUT"},
	} {
		got := speak(t, g.address, line(c.method, c.path))
		if got.status != c.status || got.kind() != c.kind || got.one("Allow") != c.allowed || got.one("X-Request-Id") == "" {
			t.Errorf("%s %s: %d %s, Allow %q: %s", c.method, c.path, got.status, got.kind(), got.one("Allow"), got.body)
		}
		if c.status == 204 && (got.body != "" || got.one("Content-Type") != "" || got.one("Content-Length") != "" && got.one("Content-Length") != "0") {
			t.Errorf("%s %s: %s", c.method, c.path, got.head)
		}
	}
	if up.count.Load() != 0 {
		t.Errorf("%d requests went upstream", up.count.Load())
	}
	for _, c := range [][2]string{{"GET", "/get"}, {"HEAD", "/get"}, {"OPTIONS", "/any/x"}, {"OPTIONS", "/options"}, {"PURGE", "/own"}, {"HEAD", "/head"}, {"MKCOL", "/any/x"}} {
		before := up.count.Load()
		if got := speak(t, g.address, line(c[0], c[1])); got.status != 200 || up.count.Load() != before+1 || c[0] != "HEAD" && !strings.HasPrefix(got.body, c[0]+" "+c[1]+" HTTP/1.1\r\n") {
			t.Errorf("%s %s: %d %q", c[0], c[1], got.status, got.body)
		}
	}
	for route, want := range map[string]string{`{kind="not-found",route="none"}`: "7", `{kind="method-not-allowed",route="none"}`: "10"} {
		if n := g.metric("gateway_refusals_total" + route); n != want {
			t.Errorf("%s: %q, wanted %s", route, n, want)
		}
	}
}

// Every refusal is the same kind of document, and its HEAD has the same fields without the body.
func TestShapeOfProblems(t *testing.T) {
	up := newMirror(t)
	g := begin(t, fmt.Sprintf(routed, up.url))
	for path, status := range map[string]int{"/nowhere": 404, "/post": 405} {
		got := speak(t, g.address, line("GET", path, "X-Request-Id: mine-1"))
		doc := answer{body: got.body}.problem()
		members := []string{}
		for name := range doc {
			members = append(members, name)
		}
		slices.Sort(members)
		if !slices.Equal(members, []string{"detail", "instance", "status", "title", "type"}) || doc["status"] != float64(status) || doc["instance"] != "mine-1" || got.one("X-Request-Id") != "mine-1" {
			t.Errorf("%s: %s", path, got.body)
		}
		head := speak(t, g.address, line("HEAD", path, "X-Request-Id: mine-1"))
		if head.status != status || head.body != "" || head.one("Content-Type") != "application/problem+json" || head.one("Allow") != got.one("Allow") {
			t.Errorf("HEAD %s: %s", path, head.head)
		}
	}
	if got := speak(t, g.address, line("GET", "/nowhere", "X-Request-Id: a b")); got.one("X-Request-Id") == "a b" || got.one("X-Request-Id") == "" {
		t.Errorf("an id with a blank: %s", got.head)
	}
}

// What a client asks for shows in no label, and each request is one line with the contract's fields.
func TestLabelsComeFromTheDocument(t *testing.T) {
	up := newMirror(t)
	g := begin(t, fmt.Sprintf(routed, up.url))
	for _, c := range [][2]string{{"GET", "/any/secret-path?token=s3cr3t"}, {"PURGEALL", "/any/x"}, {"GET", "/secret-nowhere"}, {"GET", "/users/secret-user"}} {
		speak(t, g.address, line(c[0], c[1], "X-Request-Id: id-of-mine", `User-Agent: "quoted"`))
	}
	g.eventually("the lines, which come when all is counted", func() bool { return strings.Count(g.log.String(), `"msg":"request"`) >= 4 })
	status, text := g.get(g.admin, "/metrics")
	if status != 200 || strings.Contains(text, "secret-") || strings.Contains(text, "PURGEALL") || strings.Contains(text, "gw.test") {
		t.Error("a metric shows what a client wrote")
	}
	for _, want := range []string{`gateway_requests_total{method="GET",route="any",status="200"} 1`, `gateway_requests_total{method="GET",route="none",status="404"} 1`, `gateway_request_duration_seconds_count{route="any"} 2`,
		`gateway_in_flight{route="any"} 0`, `gateway_upstream_requests_total{outcome="success",upstream="up"} 3`, `gateway_upstream_duration_seconds_count{upstream="up"} 3`,
		`gateway_config_reloads_total{result="success"} 0`, `gateway_config_reloads_total{result="failure"} 0`, `gateway_config_last_reload_success 1`, `gateway_build_info{fasthttp="v1.`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	g.soundLog("s3cr3t")
	for l := range strings.Lines(g.log.String()) {
		doc := map[string]any{}
		if json.Unmarshal([]byte(l), &doc) != nil || doc["msg"] != "request" {
			continue
		}
		for _, field := range strings.Fields("time level request_id trace_id route method path status kind client peer upstream target attempts duration_ms upstream_ms bytes_in bytes_out") {
			if _, there := doc[field]; !there {
				t.Errorf("no field %s in %s", field, l)
			}
		}
	}
}
