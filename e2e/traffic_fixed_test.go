package e2e

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// location gives status and Location of a path that is sent byte by byte as it stands.
func (g *gateway) location(target string) (int, string) {
	g.t.Helper()
	c, err := net.Dial("tcp", g.address)
	if err != nil {
		g.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: evil.example\r\n\r\n", target)
	got, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		g.t.Fatal(target, err)
	}
	return got.StatusCode, got.Header.Get("Location")
}

// Whatever a client writes into its target, a redirect leads where the document says.
func TestTrafficRedirects(t *testing.T) {
	g := begin(t, `upstreams: { up: { targets: ["http://127.0.0.1:1"] } }
routes:
  - { id: moved, match: { path: /old/** }, auth: none, to: { redirect: { status: 308, location: "https://new.example.com{path}{?query}" } } }
  - { id: below, match: { path: /below/** }, auth: none, to: { redirect: { status: 307, location: "/new{path}?from=old&{query}" } } }
  - { id: user, match: { path: "/u/{name}" }, auth: none, to: { redirect: { status: 302, location: "/{name}" } } }
  - { id: root, match: { path: "/{name}" }, auth: none, to: { redirect: { status: 301, location: "https://h.example/x/{name}" } } }
`)
	for target, want := range map[string]string{
		"/old/a/b?x=1&y=%2F": "308 https://new.example.com/old/a/b?x=1&y=%2F",
		"/old":               "308 https://new.example.com/old",
		"/old/?":             "308 https://new.example.com/old/",
		"/below/a?//evil":    "307 /new/below/a?from=old&//evil",
		"/u/bob":             "302 /bob",
		"/%41":               "301 https://h.example/x/A",
	} {
		if status, location := g.location(target); fmt.Sprintf("%d %s", status, location) != want {
			t.Errorf("%s: %d %s, want %s", target, status, location, want)
		}
	}
	for _, target := range []string{
		"/u//evil.example", "/u/%2fevil.example", "/u/%5cevil.example", `/u/\evil.example`, "/u/%09/evil.example", "/u/.", "/u/..", "/old//evil.example", "/old/%2e%2e//evil.example",
		"/old/..;/evil", "/u/evil.example%0d%0aSet-Cookie:a=b", "/u/@evil.example", "/u/evil.example:80", "/old/@evil.example", "/old/a?@evil.example/", "/u/%68ttps:evil.example", "http://evil.example/u/x",
	} {
		status, location := g.location(target)
		u, err := url.Parse(location)
		switch {
		case status == 400 && location == "" || status == 404 && location == "":
		case err != nil, strings.HasPrefix(location, "//"), strings.HasPrefix(location, `/\`), u.Host != "" && u.Host != "new.example.com" && u.Host != "h.example", u.User != nil:
			t.Errorf("%s leads to %q (%d)", target, location, status)
		}
	}
}

// A route is matched and authorised by the path that came, in whatever spelling; what goes upstream is rewritten after that.
func TestTrafficRewrites(t *testing.T) {
	_, _, upstreams := blueGreen(t)
	g := begin(t, upstreams+`routes:
  - id: open
    match: { path: /v1/** }
    auth: none
    to: blue
    rewrite: { strip_prefix: /v1, host: orders.internal, request_headers: { set: { X-Team: a }, remove: [x-debug] }, response_headers: { set: { Server: ours }, remove: [X-Host] } }
  - { id: admin, match: { path: /v1/admin/** }, auth: { issuers: [main] }, to: blue, rewrite: { strip_prefix: /v1, add_prefix: /internal } }
  - { id: user, match: { path: "/users/{id}/avatar" }, auth: none, to: green, rewrite: { path: "/img/{id}", host: upstream } }
`)
	for target, want := range map[string]string{
		"/v1/orders?a=%2F": "/orders?a=%2F", "/v1": "/", "/v1/": "/", "/v1/%6frders/%2541": "400", "/v1/%6frders": "/orders",
		"/v1/a/": "/a/", "/users/7/avatar?x": "/img/7?x", "/users/%37/avatar": "/img/7", "/v11/orders": "404",
	} {
		status, _, path := g.spelt(target)
		if got := fmt.Sprint(path); status == 200 && got != want || status != 200 && fmt.Sprint(status) != want {
			t.Errorf("%s: %d, upstream saw %q, want %s", target, status, got, want)
		}
	}
	for _, target := range []string{"/v1/admin", "/v1/admin/x", "/v1/%61dmin/x", "/v1/admi%6e", "/v1/admin/"} {
		if status, _, path := g.spelt(target); status != 401 {
			t.Errorf("%s without a token: %d, upstream saw %q", target, status, path)
		}
	}
	for _, target := range []string{"/v1//admin/x", "/v1/./admin", "/v1/x/../admin", "/v1/x/%2e%2e/admin", "/v1/x%2f..%2fadmin", `/v1/x\..\admin`, "/v1/;/../admin", "/%76%31/..;/admin"} {
		if status, _, path := g.spelt(target); status != 400 && status != 404 {
			t.Errorf("%s: %d, upstream saw %q", target, status, path)
		}
	}
	if got := g.want(200, "", "GET", "/v1/admin/x", "", "Authorization", g.token()); got.header.Get("X-Path") != "/internal/admin/x" {
		t.Error(got.header)
	}
	got := g.want(200, "", "GET", "/v1/x", "", "X-Debug", "1")
	if got.header.Get("Server") != "ours" || got.header.Get("X-Host") != "" {
		t.Error(got.header)
	}
	if got := g.want(200, "", "GET", "/users/7/avatar", ""); !strings.HasPrefix(got.header.Get("X-Host"), "127.0.0.1:") {
		t.Errorf("Host is %q", got.header.Get("X-Host"))
	}
}

// spelt sends a target as it stands and gives status, X-From and X-Path.
func (g *gateway) spelt(target string) (int, string, string) {
	g.t.Helper()
	c, err := net.Dial("tcp", g.address)
	if err != nil {
		g.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a.example\r\n\r\n", target)
	got, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		g.t.Fatal(target, err)
	}
	return got.StatusCode, got.Header.Get("X-From"), got.Header.Get("X-Path")
}

// Fixed answers, and versions of an API: their fields stand on answers and refusals, and after the end it is 410.
func TestTrafficFixedAnswersAndVersions(t *testing.T) {
	_, _, upstreams := blueGreen(t)
	g := begin(t, upstreams+`rate_limits: { one: { rate: 1/h, burst: 1, by: route } }
routes:
  - { id: fixed, match: { path: /fixed }, auth: none, to: { respond: { status: 200, body: '{"items":[]}', headers: { Content-Type: application/json, Cache-Control: no-store } } } }
  - { id: empty, match: { path: /empty }, auth: none, to: { respond: { status: 204 } } }
  - { id: v1, match: { path: /v1/** }, auth: { issuers: [main] }, to: blue, version: { name: v1, deprecated: 2026-01-31, sunset: 2126-06-30T08:00:00Z, link: "https://docs.example.com/v1" } }
  - { id: v0, match: { path: /v0/** }, auth: { issuers: [main] }, to: blue, version: { name: v0, sunset: 2026-01-31, after_sunset: gone } }
  - { id: media, match: { path: /thing, headers: { Accept: application/vnd.acme.v2+json } }, auth: none, to: green, version: { name: v2 } }
  - { id: limited, match: { path: /limited }, auth: none, rate_limits: [one], to: { respond: { body: ok } }, version: { name: v1, deprecated: 2026-01-31 } }
`)
	for range 2 {
		a := g.want(200, "", "GET", "/fixed", "")
		if a.body != `{"items":[]}` || a.header.Get("Content-Type") != "application/json" || a.header.Get("X-Request-Id") == "" || a.header.Get("Date") == "" {
			t.Errorf("%q %v", a.body, a.header)
		}
	}
	if a := g.want(200, "", "HEAD", "/fixed", ""); a.body != "" || a.header.Get("Content-Length") != "12" {
		t.Errorf("HEAD: %v", a.header)
	}
	g.want(204, "", "POST", "/empty", "a body that nobody reads")
	says := func(a answer, deprecation, sunset, link string) {
		t.Helper()
		if h := a.header; h.Get("Deprecation") != deprecation || h.Get("Sunset") != sunset || h.Get("Link") != link {
			t.Errorf("%d: %v", a.status, h)
		}
	}
	const link = `<https://docs.example.com/v1>; rel="deprecation"; type="text/html"`
	says(g.want(200, "", "GET", "/v1/x", "", "Authorization", g.token()), "@1769817600", "Sun, 30 Jun 2126 08:00:00 GMT", link)
	says(g.want(401, "unauthenticated", "GET", "/v1/x", ""), "@1769817600", "Sun, 30 Jun 2126 08:00:00 GMT", link)
	says(g.want(410, "gone", "GET", "/v0/x", "", "Authorization", g.token()), "", "Sat, 31 Jan 2026 00:00:00 GMT", "")
	if g.want(200, "", "GET", "/thing", "", "Accept", "application/vnd.acme.v2+json").header.Get("X-From") != "green" {
		t.Error("the version in Accept leads elsewhere")
	}
	g.want(404, "not-found", "GET", "/thing", "", "Accept", "application/json")
	g.want(200, "", "GET", "/limited", "")
	says(g.want(429, "rate-limited", "GET", "/limited", ""), "@1769817600", "", "")
	if g.metric(`gateway_api_version_requests_total{route="v1",version="v1"}`) != "2" {
		t.Error("versions are not counted")
	}
}
