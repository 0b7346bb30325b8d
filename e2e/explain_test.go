package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What explain says of a request is what the gateway then does with it: the same refusal, by status and kind, or none.
func TestExplainAgreesWithTheGateway(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) }))
	t.Cleanup(up.Close)
	g := begin(t, fmt.Sprintf(`upstreams: { up: { targets: [%q] } }
defaults: { auth: none }
routes:
  - { id: w, match: { path: /w }, body: 1KiB, dedup: { key: required, client: "header:X-Client" }, to: up }
  - { id: maybe, match: { path: /maybe, methods: [GET, POST] }, dedup: { client: "header:X-Client" }, to: up }
  - { id: closed, match: { path: /closed }, body: 1KiB, auth: { issuers: [main] }, to: up }
`, up.URL))
	const client = "X-Client: a"
	many := strings.Split(strings.Repeat("X-A: 1\n", 120), "\n")[:120]
	for i, c := range []struct {
		code         int    // of explain
		said         string // "": the request passes
		method, path string
		head         []string
	}{
		{0, "", "POST", "/w", []string{client, "Idempotency-Key: k1"}},
		{0, "", "POST", "/w", []string{client, `Idempotency-Key: "k2"`}},
		{0, "", "GET", "/w", []string{client, `Idempotency-Key: "k1`}}, // not a method that is protected
		{0, "400 key-missing", "POST", "/w", []string{client}},
		{0, "400 key-invalid", "POST", "/w", []string{client, `Idempotency-Key: "k1`}},
		{0, "400 key-invalid", "POST", "/w", []string{client, "Idempotency-Key:"}},
		{0, "400 key-invalid", "POST", "/w", []string{client, "Idempotency-Key: a b"}},
		{0, "400 key-invalid", "POST", "/w", []string{client, "Idempotency-Key: k1, k2"}},
		{0, "400 key-invalid", "POST", "/w", []string{client, "Idempotency-Key: " + strings.Repeat("k", 256)}},
		{0, "400 key-invalid", "POST", "/w", []string{client, "Idempotency-Key: k3", "Idempotency-Key: k3"}},
		{0, "400 key-invalid", "POST", "/maybe", []string{client, `Idempotency-Key: "k1`}},
		{0, "", "POST", "/maybe", []string{client}},
		{0, "400 bad-request", "POST", "/w", []string{"Idempotency-Key: k1"}}, // nobody's key
		{0, "400 bad-request", "POST", "/w", []string{client, client, "Idempotency-Key: k1"}},
		{0, "413 too-large", "POST", "/w", []string{client, "Idempotency-Key: k4", "Content-Length: 5000"}},
		{0, "413 too-large", "POST", "/closed", []string{"Content-Length: 5000"}}, // before the credentials
		{0, "401 unauthenticated", "POST", "/closed", []string{"Content-Length: 0"}},
		{3, "405 method-not-allowed", "DELETE", "/maybe", nil},
		{3, "405 method-not-allowed", "TRACE", "/w", nil},
		{3, "405 method-not-allowed", "CONNECT", "/w", nil},
		{3, "405 method-not-allowed", "trace", "/w", nil},
		{3, "405 method-not-allowed", "CONNECT", "gw.test:443", nil},
		{3, "400 bad-request", "", "/w", nil},
		{3, "400 bad-request", "GE(T", "/w", nil},
		{3, "400 bad-request", "GET", "/w#x", nil},
		{3, "400 bad-request", "OPTIONS", "*", nil},
		{3, "400 bad-request", "GET", "/w", []string{"Host: a", "Host: a"}},
		{3, "400 bad-request", "GET", "/w", []string{"Content-Length: 0", "Content-Length: 0"}},
		{3, "400 bad-request", "GET", "/w", []string{"Content-Length: -1"}},
		{3, "400 bad-request", "GET", "/w", []string{"X A: 1"}},
		{3, "417 expectation-failed", "GET", "/w", []string{"Expect: more"}},
		{3, "431 header-too-large", "GET", "/w", many},
		{3, "404 not-found", "GET", "/nowhere", nil},
	} {
		args, text := []string{"explain", "-config", g.file, c.method, c.path}, c.method+" "+c.path+" HTTP/1.1\r\n"
		if !strings.Contains(strings.Join(c.head, "\n"), "Host:") {
			text += "Host: localhost\r\n"
		}
		for _, h := range c.head {
			args, text = append(args, "-H", h), text+h+"\r\n"
		}
		code, out, failure := command(t, "", args...)
		if code != c.code || failure != "" || c.said != "" && !strings.Contains(out, c.said) || c.said == "" && !strings.Contains(out, "then upstream up") {
			t.Errorf("%d. explain %s %s %.60q: exit %d, wanted %d and %q\n%s%s", i, c.method, c.path, c.head, code, c.code, c.said, out, failure)
		}
		if c.said != "" && strings.Contains(out, "then upstream up") {
			t.Errorf("%d. %s %s: explain goes on after the refusal\n%s", i, c.method, c.path, out)
		}
		got := g.speak(text + "\r\n")
		want := c.said
		if want == "" {
			want = "200 "
		}
		if did := fmt.Sprintf("%d %s", got.status, got.kind()); did != want {
			t.Errorf("%d. %s %s %.60q: the gateway answers %s, wanted %s", i, c.method, c.path, c.head, did, want)
		}
	}
}

// A field with a line break would be two: it is refused and read as nothing else.
func TestExplainTakesNoLineBreaks(t *testing.T) {
	file := store(t, "gateway.yaml", explained)
	out := wants(t, 3, "400 bad-request", "", "explain", "-config", file, "GET", "/open", "-H", "X-A: 1\r\nHost: api.test")
	if strings.Contains(out, "route open") {
		t.Error(out)
	}
}
