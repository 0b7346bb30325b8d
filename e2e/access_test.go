package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// fenced has a route for every kind of auth behind a list of addresses, and stands behind a proxy on loopback.
const fenced = `api_keys: { partners: { keys: [{ id: partner, sha256: "%s" }] } }
rate_limits: { logins: { rate: 1/h, burst: 1, by: ip } }
upstreams: { up: { targets: [%q] } }
defaults: { addresses: { allow: [198.51.100.0/24, "2001:db8::/32"], deny: [198.51.100.66, "2001:db8:bad::/48"] }, failed_logins: logins, cors: { origins: [https://app.example.com] }, security_headers: true }
routes:
  - { id: open, match: { path: /open }, auth: none, to: up }
  - { id: tokens, match: { path: /tokens }, auth: { issuers: [main] }, to: up }
  - { id: maybe, match: { path: /maybe }, auth: { issuers: [main], optional: true }, to: up }
  - { id: keys, match: { path: /keys }, auth: { api_keys: [partners] }, to: up }
  - { id: both, match: { path: /both }, auth: { issuers: [main], api_keys: [partners] }, to: up }
  - { id: anywhere, match: { path: /anywhere }, auth: none, addresses: false, cors: false, security_headers: false, to: up }
  - { id: denies, match: { path: /denies }, auth: none, addresses: { deny: [203.0.113.0/24] }, to: up }
`

const behindProxy = `listen: { trusted_proxies: [127.0.0.0/8], addresses: { deny: [192.0.2.0/24] }, `

func fencedGateway(t *testing.T, h http.HandlerFunc) (*gateway, *service) {
	up := serve(t, h)
	hash := sha256.Sum256([]byte("partner-key-0123456789"))
	g := prepare(t, fmt.Sprintf(fenced, hex.EncodeToString(hash[:]), up.url))
	g.replace("listen: { ", behindProxy)
	g.start()
	t.Cleanup(g.kill)
	return g, up
}

func from(address string) string { return "X-Forwarded-For: " + address }

// kept wants 403 without a word about why.
func (g *gateway) kept(name, text string) {
	g.t.Helper()
	a := speak(g.t, g.address, text)
	if a.status != 403 || a.kind() != "forbidden" || a.one("WWW-Authenticate") != "" || a.one("Cache-Control") != "no-store" || a.one("Access-Control-Allow-Methods") != "" {
		g.t.Errorf("%s: %d %s", name, a.status, a.head)
	}
	for _, word := range []string{"198.51", "2001:db8", "192.0.2", "203.0", "allow", "deny", "address", "list"} {
		if strings.Contains(a.body, word) {
			g.t.Errorf("%s: the answer tells of %s: %s", name, word, a.body)
		}
	}
}

func TestAddressesOfRoutes(t *testing.T) {
	g, up := fencedGateway(t, ok)
	good := "Authorization: Bearer " + hs(t)
	for _, path := range []string{"/open", "/tokens", "/maybe", "/keys", "/both"} {
		for _, client := range []string{
			"198.51.100.66", "198.51.101.0", "198.51.99.255", "127.0.0.1", "203.0.113.1", "::1", "2001:db8:bad::1", "2001:db9::1", "::ffff:198.51.100.66", "[2001:db8:bad::1]:443", "198.51.100.66:1234",
			"198.51.100.7, 198.51.100.66", "198.51.100.7, unreadable", "198.51.100.7, 203.0.113.9, 127.0.0.1",
		} {
			for _, credential := range []string{"", good, "Authorization: Bearer bad", "X-Api-Key: partner-key-0123456789"} {
				g.kept(path+" "+client+" "+credential, line("GET", path, from(client), credential))
			}
			g.kept(path+" preflight "+client, line("OPTIONS", path, from(client), site, asks+"GET"))
		}
	}
	if up.count.Load() != 0 {
		t.Errorf("the upstream was asked %d times", up.count.Load())
	}
	if n := g.metric(`gateway_addresses_refused_total{route="keys",scope="route"}`); n != "70" {
		t.Errorf("counted %q", n)
	}
	for _, client := range []string{"198.51.100.7", "::ffff:198.51.100.7", "2001:db8::1", "198.51.100.7:999", "203.0.113.1, 198.51.100.7", "198.51.100.66, 198.51.100.7, 127.0.0.9"} {
		for path, credential := range map[string]string{"/open": "", "/tokens": good, "/maybe": "", "/keys": "X-Api-Key: partner-key-0123456789", "/both": good} {
			if a := speak(t, g.address, line("GET", path, from(client), credential, site)); a.status != 200 || a.one("Access-Control-Allow-Origin") == "" {
				t.Errorf("%s %s: %d %s", path, client, a.status, a.head)
			}
		}
	}
	// No refusal by address was a failed login: the first bad token is still told so.
	if a := speak(t, g.address, line("GET", "/tokens", from("198.51.100.7"), "Authorization: Bearer bad")); a.status != 401 {
		t.Errorf("after %d: %s", a.status, a.head)
	}
	for client, status := range map[string]int{"203.0.113.9": 403, "203.0.112.9": 200, "2001:db8:bad::1": 200} {
		if a := speak(t, g.address, line("GET", "/denies", from(client))); a.status != status {
			t.Errorf("deny alone, %s: %d", client, a.status)
		}
	}
	g.soundLog("198.51.100.0/24")
}

// The list of the port comes before everything, routes included; a route that switches its own off does not escape it.
func TestAddressesOfThePort(t *testing.T) {
	g, up := fencedGateway(t, ok)
	for _, path := range []string{"/open", "/anywhere", "/nowhere", "/-/executions/x"} {
		for _, method := range []string{"GET", "POST", "OPTIONS", "TRACKS"} {
			g.kept(method+" "+path, line(method, path, from("192.0.2.1"), site, asks+"GET", "Content-Length: 0"))
		}
	}
	if up.count.Load() != 0 || g.metric(`gateway_addresses_refused_total{route="none",scope="listen"}`) != "16" {
		t.Errorf("asked %d, counted %s", up.count.Load(), g.metric(`gateway_addresses_refused_total{route="none",scope="listen"}`))
	}
	if a := speak(t, g.address, line("GET", "/anywhere", from("192.0.3.1"))); a.status != 200 {
		t.Errorf("%d", a.status)
	}
	text := strings.Replace(behindProxy, "deny: [192.0.2.0/24]", "allow: [192.0.2.0/24]", 1)
	g.replace(behindProxy, text) // takes effect without a restart
	g.eventually("the new list", func() bool {
		return speak(t, g.address, line("GET", "/anywhere", from("192.0.3.1"))).status == 403
	})
	if a := speak(t, g.address, line("GET", "/anywhere", from("192.0.2.1"))); a.status != 200 {
		t.Errorf("%d", a.status)
	}
	g.kept("now outside", line("GET", "/anywhere"))
	if code, out, failure := command(t, "", "explain", "-config", g.file, "GET", "/open"); code != 0 || !strings.Contains(out, "only from 192.0.2.0/24") || !strings.Contains(out, "only from 198.51.100.0/24 2001:db8::/32, never from 198.51.100.66") {
		t.Errorf("explain: %d %s%s", code, out, failure)
	}
}

// Nobody can say that he comes from elsewhere: without a trusted proxy the connection's other end counts.
func TestAddressesCantBeForged(t *testing.T) {
	up := serve(t, ok)
	g := begin(t, fmt.Sprintf(`upstreams: { up: { targets: [%q] } }
routes:
  - { id: away, match: { path: /away }, auth: none, addresses: { allow: [198.51.100.0/24] }, to: up }
  - { id: here, match: { path: /here }, auth: none, addresses: { deny: [198.51.100.0/24] }, to: up }
`, up.url))
	for _, field := range []string{"", from("198.51.100.7"), "X-Real-IP: 198.51.100.7", "Forwarded: for=198.51.100.7", "X_Forwarded_For: 198.51.100.7", "X-Client-IP: 198.51.100.7", "True-Client-IP: 198.51.100.7"} {
		g.kept(field, line("GET", "/away", field))
		if a := speak(t, g.address, line("GET", "/here", field)); a.status != 200 {
			t.Errorf("%s: %d", field, a.status)
		}
	}
}

func TestSecurityHeaders(t *testing.T) {
	own := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Own") != "" {
			w.Header().Set("X-Frame-Options", "SAMEORIGIN")
			w.Header().Set("Content-Security-Policy", "script-src 'self'")
			w.Header().Set("Strict-Transport-Security", "max-age=5")
		}
		ok(w, r)
	}
	g, _ := fencedGateway(t, own)
	client, tls := from("198.51.100.7"), "X-Forwarded-Proto: https"
	usual := []string{"Content-Security-Policy: frame-ancestors 'none'", "Referrer-Policy: no-referrer", "X-Content-Type-Options: nosniff", "X-Frame-Options: DENY"}
	hsts := "Strict-Transport-Security: max-age=31536000"
	for _, c := range []struct {
		name, text string
		status     int
		want       []string
	}{
		{"plain", line("GET", "/open", client), 200, usual},
		{"TLS", line("GET", "/open", client, tls), 200, append([]string{hsts}, usual...)},
		{"HEAD", line("HEAD", "/open", client, tls), 200, append([]string{hsts}, usual...)},
		{"401", line("GET", "/tokens", client, tls), 401, append([]string{hsts}, usual...)},
		{"403", line("GET", "/tokens", from("203.0.113.1"), tls), 403, append([]string{hsts}, usual...)},
		{"preflight", line("OPTIONS", "/tokens", client, tls, site, asks+"GET"), 204, append([]string{hsts}, usual...)},
		{"off", line("GET", "/anywhere", client, tls), 200, nil},
		{"upstream's own", line("GET", "/open", client, tls, "X-Own: 1"), 200, []string{"Content-Security-Policy: script-src 'self'", "Strict-Transport-Security: max-age=5", usual[1], usual[2], "X-Frame-Options: SAMEORIGIN"}},
		{"upstream's own, plain", line("GET", "/open", client, "X-Own: 1"), 200, []string{"Content-Security-Policy: script-src 'self'", usual[1], usual[2], "X-Frame-Options: SAMEORIGIN"}},
	} {
		a := speak(t, g.address, c.text)
		var got []string
		for _, field := range strings.Split(a.head, "\r\n") {
			name, _, _ := strings.Cut(field, ":")
			if slices.Contains([]string{"Content-Security-Policy", "Strict-Transport-Security", "Referrer-Policy", "X-Content-Type-Options", "X-Frame-Options", "Server"}, name) {
				got = append(got, field)
			}
		}
		slices.Sort(got)
		want := slices.Clone(c.want)
		slices.Sort(want)
		if a.status != c.status || !slices.Equal(got, want) {
			t.Errorf("%s: %d %q, wanted %q", c.name, a.status, got, want)
		}
	}
}
