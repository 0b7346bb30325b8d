package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// pages has a route for every kind of auth, all of them open to the pages of two sites.
const pages = `api_keys: { partners: { keys: [{ id: partner, sha256: "%s" }] } }
basic_users: { ops: { users: [ { name: anna, hash: "$2a$10$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga" } ] } }
rate_limits: { one: { rate: 1/h, burst: 1, by: ip } }
shedding: { in_flight: %d }
upstreams: { up: { targets: [%q] }, down: { targets: ["http://127.0.0.1:1"] } }
defaults: { cors: { origins: [https://app.example.com, "https://*.example.org"] } }
routes:
  - { id: open, match: { path: /open }, auth: none, to: up }
  - { id: tokens, match: { path: /tokens }, auth: { issuers: [main] }, to: up }
  - { id: maybe, match: { path: /maybe }, auth: { issuers: [main], optional: true }, to: up }
  - { id: keys, match: { path: /keys }, auth: { api_keys: [partners] }, to: up }
  - { id: both, match: { path: /both }, auth: { issuers: [main], api_keys: [partners] }, to: up }
  - { id: scoped, match: { path: /scoped }, auth: { issuers: [main], require: { scopes: [admin] } }, to: up }
  - { id: basic, match: { path: /basic }, auth: { basic: [ops] }, to: up }
  - { id: proven, match: { path: /proven }, auth: { issuers: [bound] }, to: up }
  - { id: limited, match: { path: /limited }, auth: none, rate_limits: [one], to: up }
  - { id: down, match: { path: /down }, auth: none, to: down }
  - { id: small, match: { path: /small }, auth: none, body: 1B, to: up }
  - { id: read, match: { path: /split, methods: [GET] }, auth: { issuers: [main] }, to: up }
  - { id: write, match: { path: /split, methods: [PUT] }, auth: { issuers: [main] }, cors: { origins: [https://writer.test], credentials: true, headers: [X-Draft], max_age: 0s }, to: up }
  - { id: own, match: { path: /own }, auth: none, cors: false, to: up }
  - { id: closed, match: { path: /closed }, auth: { issuers: [main] }, cors: false, to: up }
  - { id: public, match: { path: /public }, auth: none, cors: { origins: ["*"] }, to: up }
  - { id: two, match: { path: /version, headers: { X-Version: "2" } }, auth: { issuers: [main] }, to: up }
  - { id: oldest, match: { path: /version }, auth: { issuers: [main] }, cors: { origins: [https://old.test, https://app.example.com] }, to: up }
  - { id: orders, match: { path: /orders, methods: [POST] }, auth: { issuers: [main] }, dedup: { key: required, keep_headers: [Vary] }, to: up }
`

var closedPaths = []string{"/tokens", "/keys", "/both", "/scoped", "/basic", "/proven"}

const (
	site = "Origin: https://app.example.com"
	asks = "Access-Control-Request-Method: "
)

func pagesGateway(t *testing.T, h http.HandlerFunc) (*gateway, *service) { return fullAt(t, 1000, h) }

// fullAt is a gateway that has too much to do with so many requests.
func fullAt(t *testing.T, requests int, h http.HandlerFunc) (*gateway, *service) {
	up := serve(t, h)
	hash := sha256.Sum256([]byte("partner-key-0123456789"))
	g := prepare(t, fmt.Sprintf(pages, hex.EncodeToString(hash[:]), requests, up.url))
	g.replace("issuers: {", fmt.Sprintf(`issuers: { bound: { issuer: "https://id.test/", audiences: [api], secret: %q, algorithms: [HS256], dpop: { base: %q, required: true, nonce: true } },`, secret, proofBase))
	g.start()
	t.Cleanup(g.kill)
	return g, up
}

// crossed gives the CORS fields and Vary of an answer, sorted, without those that are only names.
func crossed(s spoken) string {
	var got []string
	for name, values := range s.header {
		if name == "Access-Control-Expose-Headers" {
			continue
		}
		if short, ok := strings.CutPrefix(name, "Access-Control-"); ok || name == "Vary" {
			got = append(got, short+"="+strings.Join(values, "|"))
		}
	}
	slices.Sort(got)
	return strings.Join(got, " ")
}

const readable = "Allow-Origin=https://app.example.com Vary=Origin"

func TestPreflightsNeedNoCredential(t *testing.T) {
	g, up := pagesGateway(t, ok)
	const fine = "Allow-Headers=Authorization, Content-Type, DPoP, Idempotency-Key, X-Api-Key, X-Request-Id Allow-Methods=GET, HEAD, POST, PUT, PATCH, DELETE Allow-Origin=https://app.example.com Max-Age=600 Vary=Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
	for _, path := range append([]string{"/open", "/maybe", "/limited", "/limited", "/down", "/small"}, closedPaths...) {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			a := speak(t, g.address, line("OPTIONS", path, site, asks+method, "Access-Control-Request-Headers: authorization"))
			if a.status != 204 || crossed(a) != fine || a.body != "" || a.one("RateLimit") != "" || a.one("Www-Authenticate") != "" || a.one("X-Request-Id") == "" {
				t.Errorf("%s %s: %d %s", path, method, a.status, a.head)
			}
		}
	}
	if up.count.Load() != 0 {
		t.Errorf("the upstream was asked %d times", up.count.Load())
	}
	g.want(200, "", "GET", "/limited", "")
}

// Negative case 75: OPTIONS that is no preflight is a request like any other.
func TestOptionsThatIsNoPreflight(t *testing.T) {
	g, up := pagesGateway(t, ok)
	for _, path := range append([]string{"/closed"}, closedPaths...) {
		for _, fields := range [][]string{nil, {site}, {asks + "GET"}, {"Origin: null"}, {site, "Access-Control-Request-Headers: x"}, {site, "Access-Control_Request_Method: GET"}} {
			a := speak(t, g.address, line("OPTIONS", path, fields...))
			if a.status != 401 || a.kind() != "unauthenticated" || a.one("Access-Control-Allow-Methods") != "" {
				t.Errorf("%s %q: %d %s", path, fields, a.status, a.head)
			}
		}
	}
	if a := speak(t, g.address, line("OPTIONS", "/closed", site, asks+"GET")); a.status != 401 || crossed(a) != "" {
		t.Errorf("a preflight for a route without cors: %d %s", a.status, a.head)
	}
	if up.count.Load() != 0 {
		t.Errorf("the upstream was asked %d times", up.count.Load())
	}
	if a := speak(t, g.address, line("OPTIONS", "/tokens", site, "Authorization: Bearer "+hs(t))); a.status != 200 || crossed(a) != readable {
		t.Errorf("with a token: %d %s", a.status, a.head)
	}
	if a := speak(t, g.address, line("OPTIONS", "/open", site)); a.status != 200 || up.count.Load() != 2 {
		t.Errorf("without auth: %d", a.status)
	}
	if a := speak(t, g.address, line("OPTIONS", "/split", site)); a.status != 204 || a.one("Allow") != "GET, HEAD, OPTIONS, PUT" || crossed(a) != "" {
		t.Errorf("no route takes OPTIONS: %d %s", a.status, a.head)
	}
}

// foreign are origins that must not be taken for https://app.example.com or a name below https://example.org.
var foreign = []string{
	"null", "*", "https://evil.org", "http://app.example.com", "https://app.example.com:8443", "https://app.example.com:443", "https://app.example.com:", "https://app.example.com/",
	"https://app.example.com.", "https://app.example.com.evil.org", "https://app.example.comevil.org", "https://app.example.com@evil.org", "https://evil.org/https://app.example.com",
	"https://evilapp.example.com", "https://user@app.example.com", "https://user:pw@app.example.com", "HTTPS://app.example.com", "https://APP.example.com", "https://app.EXAMPLE.com",
	"https://app.example.com https://evil.org", "https://evil.org https://app.example.com", "https://app.example.com, https://evil.org", "app.example.com", "//app.example.com", "file://", "",
	"https://example.org", "https://evilexample.org", "https://.example.org", "https://a..example.org", "https://a.example.org.evil.org", "https://a.example.org:8443", "https://u@a.example.org", "https://evil.org/.example.org",
	"https://evil.org?.example.org", "https://evil.org#.example.org", "https://evil.org:1.example.org", "https://evil.org\\.example.org", "https://a%00.example.org", "https://a\u0308.example.org", "https://а.example.org", "https://app。example.com",
	"http://a.example.org", "https://" + strings.Repeat("a.", 300) + "example.org",
}

func TestForeignOrigins(t *testing.T) {
	g, _ := pagesGateway(t, ok)
	for _, path := range append([]string{"/open", "/maybe"}, closedPaths...) {
		for _, origin := range foreign {
			a := speak(t, g.address, line("GET", path, "Origin: "+origin))
			if want := map[bool]int{true: 401, false: 200}[slices.Contains(closedPaths, path)]; a.status != want || crossed(a) != "Vary=Origin" || a.one("Access-Control-Expose-Headers") != "" {
				t.Errorf("%s %q: %d %s", path, origin, a.status, a.head)
			}
			a = speak(t, g.address, line("OPTIONS", path, "Origin: "+origin, asks+"GET"))
			if a.status != 403 || a.kind() != "forbidden" || !strings.HasPrefix(crossed(a), "Vary=Origin, Access") || a.one("Www-Authenticate") != "" {
				t.Errorf("preflight %s %q: %d %s", path, origin, a.status, a.head)
			}
		}
	}
	for _, fields := range [][]string{{site, site}, {site, "Origin: https://evil.org"}, {"Origin: https://evil.org", site}, {site, "origin: null"}} {
		if a := speak(t, g.address, line("GET", "/open", fields...)); crossed(a) != "Vary=Origin" {
			t.Errorf("%q: %s", fields, a.head)
		}
		if a := speak(t, g.address, line("OPTIONS", "/open", append(fields, asks+"GET")...)); a.status != 403 {
			t.Errorf("preflight %q: %d", fields, a.status)
		}
	}
	for _, raw := range []string{"Origin: https://app.example.com\nX: y", "Origin: https://app.example.com\r\n X: y", "Origin: https://app.example.com\x00", "Origin: https://a\x01.example.org", "Origin : https://app.example.com"} {
		if a := speak(t, g.address, line("GET", "/open", raw)); a.status != 400 || crossed(a) != "" {
			t.Errorf("%q: %d %s", raw, a.status, a.head)
		}
	}
	for _, origin := range []string{"https://app.example.com", "https://a.example.org", "https://a.b-c.example.org"} {
		if a := speak(t, g.address, line("GET", "/open", "Origin: "+origin)); a.one("Access-Control-Allow-Origin") != origin || a.one("Access-Control-Expose-Headers") == "" {
			t.Errorf("%s: %s", origin, a.head)
		}
	}
	if a := speak(t, g.address, line("GET", "/open")); a.status != 200 || crossed(a) != "Vary=Origin" {
		t.Errorf("no Origin: %s", a.head)
	}
}

// What the gateway refuses can be read by pages that may use the route.
func TestPagesReadRefusals(t *testing.T) {
	g, _ := pagesGateway(t, ok)
	g.want(200, "", "GET", "/limited", "")
	for path, status := range map[string]int{"/basic": 401, "/proven": 401, "/tokens": 401, "/keys": 401, "/both": 401, "/scoped": 401, "/limited": 429, "/down": 502} {
		a := speak(t, g.address, line("GET", path, site))
		if a.status != status || crossed(a) != readable || !strings.Contains(a.one("Access-Control-Expose-Headers"), "Retry-After") {
			t.Errorf("%s: %d %s", path, a.status, a.head)
		}
	}
	if a := speak(t, g.address, line("GET", "/scoped", site, "Authorization: Bearer "+hs(t))); a.status != 403 || crossed(a) != readable {
		t.Errorf("missing scope: %d %s", a.status, a.head)
	}
	if a := speak(t, g.address, "POST /small HTTP/1.1\r\nHost: gw.test\r\n"+site+"\r\nContent-Length: 2\r\n\r\nab"); a.status != 413 || crossed(a) != readable {
		t.Errorf("too large: %d %s", a.status, a.head)
	}
}

// An upstream's own fields are replaced, whichever way its answer takes: whole, streamed, HEAD, 304, 500.
func TestUpstreamsOwnCORS(t *testing.T) {
	g, _ := pagesGateway(t, func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["access-control-allow-origin"] = []string{"*", "https://evil.org"}
		h.Set("Access-Control-Allow-Credentials", "true")
		h.Set("Access-Control-Expose-Headers", "X-Secret")
		h.Set("Access-Control-Allow-Methods", "TRACE")
		h.Set("Access-Control-Allow-Headers", "*")
		h.Set("Access-Control-Max-Age", "86400")
		h.Set("Access-Control-Allow-Private-Network", "true")
		h.Set("Vary", "Accept-Encoding")
		switch r.Header.Get("X-Way") {
		case "large":
			_, _ = io.WriteString(w, strings.Repeat("x", 100<<10))
		case "stream":
			for range 3 {
				_, _ = io.WriteString(w, "x")
				w.(http.Flusher).Flush()
			}
		case "304":
			w.WriteHeader(304)
		case "500":
			w.WriteHeader(500)
		}
	})
	for _, way := range []string{"whole", "large", "stream", "304", "500"} {
		for _, method := range []string{"GET", "HEAD"} {
			for origin, want := range map[string]string{
				site: "Allow-Origin=https://app.example.com Vary=Accept-Encoding|Origin", "Origin: https://evil.org": "Vary=Accept-Encoding|Origin", "Origin: null": "Vary=Accept-Encoding|Origin", "": "Vary=Accept-Encoding|Origin",
			} {
				a := speak(t, g.address, line(method, "/open", origin, "X-Way: "+way))
				if crossed(a) != want || strings.Contains(a.head, "X-Secret") {
					t.Errorf("%s %s %s: %s", method, way, origin, a.head)
				}
			}
		}
	}
	for _, origin := range []string{site, "Origin: https://evil.org", "Origin: null", ""} {
		if a := speak(t, g.address, line("GET", "/public", origin)); crossed(a) != "Allow-Origin=* Vary=Accept-Encoding" {
			t.Errorf("everybody, %s: %s", origin, a.head)
		}
		if a := speak(t, g.address, line("GET", "/own", origin)); a.one("Access-Control-Allow-Credentials") != "true" || len(a.header.Values("Access-Control-Allow-Origin")) != 2 {
			t.Errorf("a route without cors leaves the upstream's fields alone: %s", a.head)
		}
	}
	if a := speak(t, g.address, line("OPTIONS", "/own", site, asks+"PUT")); a.status != 200 || a.one("Access-Control-Allow-Methods") != "TRACE" {
		t.Errorf("and its preflights: %d %s", a.status, a.head)
	}
}

// A preflight is answered by the route that the request itself will meet.
func TestPreflightMeetsTheRouteOfTheMethod(t *testing.T) {
	g, up := pagesGateway(t, ok)
	const writer = "Origin: https://writer.test"
	for _, c := range []struct {
		path, origin, method, names string
		status                      int
		methods                     string
	}{
		{"/split", site, "GET", "", 204, "GET, HEAD"}, {"/split", site, "HEAD", "", 204, "GET, HEAD"}, {"/split", site, "PUT", "", 403, ""},
		{"/split", writer, "PUT", "", 204, "PUT"}, {"/split", writer, "GET", "", 403, ""},
		{"/split", site, "DELETE", "", 405, ""}, {"/split", site, "TRACE", "", 405, ""}, {"/split", site, "get", "", 405, ""}, {"/split", site, "", "", 405, ""},
		{"/nowhere", site, "GET", "", 404, ""},
		{"/orders", site, "POST", "idempotency-key", 204, "POST"}, {"/orders", site, "GET", "", 405, ""},
		{"/version", "Origin: https://old.test", "GET", "", 204, "GET, HEAD, POST, PUT, PATCH, DELETE"}, // without the field it meets the other route
		{"/version", "Origin: https://old.test", "GET", "x-a, X-Version", 403, ""},                      // the page could send another version
		{"/version", "Origin: https://a.example.org", "GET", "x-version", 403, ""},
		{"/version", site, "GET", "x-version", 204, "GET, HEAD, POST, PUT, PATCH, DELETE"},
	} {
		named := ""
		if c.names != "" {
			named = "Access-Control-Request-Headers: " + c.names
		}
		a := speak(t, g.address, line("OPTIONS", c.path, c.origin, asks+c.method, named))
		if a.status != c.status || a.one("Access-Control-Allow-Methods") != c.methods || c.status == 405 && a.one("Allow") == "" {
			t.Errorf("%+v: %d %s", c, a.status, a.head)
		}
	}
	if a := speak(t, g.address, line("OPTIONS", "/split", writer, asks+"PUT")); a.one("Access-Control-Allow-Credentials") != "true" || a.one("Access-Control-Max-Age") != "0" || a.one("Access-Control-Allow-Headers") != "X-Draft" {
		t.Errorf("%s", a.head)
	}
	if up.count.Load() != 0 {
		t.Error("the upstream was asked")
	}
	for _, args := range [][]string{
		{"preflight, answered", "OPTIONS", "/split", "-H", site, "-H", asks + "GET"}, {"preflight, refused: 403", "OPTIONS", "/split", "-H", site, "-H", asks + "PUT"},
		{"or route oldest", "OPTIONS", "/version", "-H", site, "-H", asks + "GET", "-H", "Access-Control-Request-Headers: x-version"},
		{"cors: pages of this origin", "GET", "/open", "-H", site}, {"cors: not an allowed origin", "GET", "/open", "-H", "Origin: null"}, {"cors      pages of https://app", "GET", "/open"},
	} {
		if code, out, failure := command(t, "", append([]string{"explain", "-config", g.file}, args[1:]...)...); code != 0 || !strings.Contains(out, args[0]) {
			t.Errorf("explain %q: %d %s%s", args[1:], code, out, failure)
		}
	}
}

// A stored answer holds nobody's CORS fields: each page gets its own, or none.
func TestReplaysToOtherOrigins(t *testing.T) {
	g, up := pagesGateway(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Way") == "cut" {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Access-Control-Allow-Origin", "https://evil.org")
		w.Header().Set("Vary", "Accept")
		w.WriteHeader(201)
	})
	bearer := "Authorization: Bearer " + hs(t)
	for i, c := range []struct{ origin, want string }{
		{site, "Allow-Origin=https://app.example.com Vary=Accept|Origin"}, {"", "Vary=Accept|Origin"}, {"Origin: https://evil.org", "Vary=Accept|Origin"},
		{"Origin: https://a.example.org", "Allow-Origin=https://a.example.org Vary=Accept|Origin"}, {site, "Allow-Origin=https://app.example.com Vary=Accept|Origin"},
	} {
		a := speak(t, g.address, line("POST", "/orders", bearer, "Idempotency-Key: one", "Content-Length: 0", c.origin))
		if replayed := a.one("Idempotent-Replayed"); a.status != 201 || crossed(a) != c.want || (replayed == "true") != (i > 0) {
			t.Errorf("%d %s: %d %s", i, c.origin, a.status, a.head)
		}
	}
	if up.count.Load() != 1 {
		t.Errorf("the upstream was asked %d times", up.count.Load())
	}
	a := speak(t, g.address, line("POST", "/orders", bearer, "Idempotency-Key: two", "Content-Length: 0", "X-Way: cut", site))
	ref, _ := answer{body: a.body}.problem()["operation_ref"].(string)
	if ref == "" || crossed(a) != readable {
		t.Fatalf("%d %s %s", a.status, a.head, a.body)
	}
	execution := "/-/executions/" + ref
	if a := speak(t, g.address, line("GET", execution, bearer, site)); a.status != 200 || crossed(a) != readable {
		t.Errorf("the question what became of it: %d %s", a.status, a.head)
	}
	if a := speak(t, g.address, line("OPTIONS", execution, site, asks+"GET", "Access-Control-Request-Headers: authorization")); a.status != 204 || !strings.Contains(a.one("Access-Control-Allow-Headers"), "Authorization") || a.one("Access-Control-Allow-Origin") == "" {
		t.Errorf("its preflight: %d %s", a.status, a.head)
	}
	for _, fields := range [][]string{{site, asks + "DELETE"}, {site}, nil} {
		if a := speak(t, g.address, line("OPTIONS", execution, fields...)); a.status != 405 {
			t.Errorf("%q: %d", fields, a.status)
		}
	}
	if a := speak(t, g.address, line("OPTIONS", execution, "Origin: null", asks+"GET")); a.status != 403 {
		t.Errorf("a foreign preflight: %d", a.status)
	}
}

// Preflights take no limit, but a full process refuses them, too; and a reload changes who may ask at once.
func TestPreflightsUnderLoadAndReload(t *testing.T) {
	hold, entered := make(chan struct{}), make(chan struct{}, 2)
	g, _ := fullAt(t, 2, func(w http.ResponseWriter, _ *http.Request) { entered <- struct{}{}; <-hold })
	for range 2 {
		go func() { _, _ = g.call("GET", "/open", "") }()
		<-entered
	}
	if a := speak(t, g.address, line("OPTIONS", "/tokens", site, asks+"GET")); a.status != 503 || a.kind() != "overloaded" {
		t.Errorf("full: %d %s", a.status, a.head)
	}
	close(hold)
	g.eventually("room", func() bool {
		a, err := g.call("OPTIONS", "/tokens", "", "Origin", "https://app.example.com", "Access-Control-Request-Method", "GET")
		return err == nil && a.status == 204
	})
	time.Sleep(10 * time.Millisecond) // another time in the file's inode
	g.replace("https://app.example.com, ", "https://new.example.com, ")
	g.eventually("the new origin", func() bool {
		return speak(t, g.address, line("OPTIONS", "/tokens", "Origin: https://new.example.com", asks+"GET")).status == 204
	})
	if a := speak(t, g.address, line("OPTIONS", "/tokens", site, asks+"GET")); a.status != 403 {
		t.Errorf("the old one: %d", a.status)
	}
}
