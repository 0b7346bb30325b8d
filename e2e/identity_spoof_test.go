package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// spoofable has a route for each kind of credential and of forwarding.
const spoofable = `internal_token: { issuer: "https://gw.test", keys: [%q] }
api_keys: { partners: { keys: [ { id: acme, sha256: "%s" } ] } }
basic_users: { ops: { users: [ { name: anna, hash: %q } ] } }
upstreams: { up: { targets: [%q] } }
routes:
  - { id: open, match: { path: /open }, auth: none, to: up }
  - { id: open-forward, match: { path: /open-forward }, auth: none, forward: { authorization: true, api_key: true, claims: { X-User-Id: sub }, token: { header: X-Internal-Token } }, to: up }
  - { id: maybe, match: { path: /maybe }, auth: { issuers: [main], optional: true }, forward: { claims: { X-User-Id: sub } }, to: up }
  - { id: bearer, match: { path: /bearer }, auth: { issuers: [main] }, forward: { claims: { X-User-Id: sub, X-Tenant: tenant } }, to: up }
  - { id: token, match: { path: /token }, auth: { issuers: [main] }, forward: { token: { header: X-Internal-Token }, claims: { X-User-Id: sub } }, to: up }
  - { id: key, match: { path: /key }, auth: { api_keys: [partners] }, forward: { claims: { X-User-Id: sub } }, to: up }
  - { id: both, match: { path: /both }, auth: { issuers: [main], api_keys: [partners] }, forward: { token: { header: X-Internal-Token } }, to: up }
  - { id: asked, match: { path: /asked }, auth: { issuers: [asked] }, forward: { claims: { X-User-Id: sub } }, to: up }
  - { id: basic, match: { path: /basic }, auth: { basic: [ops] }, forward: { claims: { X-User-Id: sub } }, to: up }
  - { id: proven, match: { path: /proven }, auth: { issuers: [bound] }, forward: { claims: { X-User-Id: sub } }, to: up }
  - { id: near, match: { path: /near }, auth: none, addresses: { allow: [127.0.0.0/8] }, to: up }
  - { id: all, match: { path: /all }, auth: { issuers: [bound, asked], api_keys: [partners], basic: [ops], optional: true }, forward: { claims: { X-User-Id: sub } }, to: up }
  - { id: ruled, match: { path: /ruled }, auth: { issuers: [main], require: { expression: 'claims.sub == "alice" && !("x-user-id" in request.headers)' } }, forward: { claims: { X-User-Id: sub } }, to: up }
`

// spellingsOf are the ways in which a client tries to say a field that only the gateway may set.
func spellingsOf(name string) []string {
	under, one := strings.ReplaceAll(name, "-", "_"), strings.Replace(name, "-", "_", 1)
	low, up := strings.ToLower(name), strings.ToUpper(name)
	return []string{
		name + ": root", low + ": root", up + ": root", strings.ToLower(name[:3]) + strings.ToUpper(name[3:]) + ": root",
		under + ": root", one + ": root", strings.ToLower(under) + ": root", strings.ToUpper(one) + ": root",
		name + ":root", name + ":\troot", name + ":  root \t ", name + ": root, root", name + ": \r\n" + low + ": root",
		name + ": root\r\n" + name + ": root", low + ": root\r\n" + under + ": root\r\n" + up + ": root",
		"Connection: " + name + "\r\n" + name + ": root", name + ": root\r\nConnection: close, " + low, "Connection: " + under + "\r\n" + under + ": root", "Connection: " + name, "Connection: " + up + ", " + under,
		"Connection: close\r\nConnection: " + name, "Keep-Alive: " + name + "\r\n" + name + ": root", "TE: trailers\r\nTrailer: " + name + "\r\n" + name + ": root",
		// Malformed: refused, or at least never passed on.
		name + " : root", name + "\t: root", " " + name + ": root", "\t" + name + ": root", "A: b\r\n " + name + ": root", name + "\x00: root", "\x00" + name + ": root", name + "\x0b: root", name + "\u00a0: root",
		"\"" + name + "\": root", name + "\r: root", "A: b\r" + name + ": root", "A: b\n" + name + ": root", name + "\n: root", ":" + name + ": root", name + "%20: root", name + ";: root", name + "/: root", "(" + name + "): root",
		strings.ReplaceAll(name, "-", "\u2010") + ": root", strings.ReplaceAll(name, "-", "%2d") + ": root", strings.ReplaceAll(name, "e", "\u0435") + ": root",
	}
}

// Cases 71, 72 and 73: on every route, for every kind of credential, with and without trusted proxies in front, an upstream
// sees the gateway's own fields or none.
func TestCases71To73SpoofedFields(t *testing.T) {
	for name, listen := range map[string]string{"from strangers": "", "from a trusted proxy": "trusted_proxies: [127.0.0.1/32], "} {
		t.Run(name, func(t *testing.T) {
			up := newMirror(t)
			asked, h := newIntrospector(t), newHolder(t)
			g := prepare(t, fmt.Sprintf(spoofable, newSigningKey(t), partnerHash, hashed(t, "secret"), up.url))
			g.replace("issuers: {", fmt.Sprintf(`issuers: { bound: { issuer: "https://id.test/", audiences: [api], secret: %q, algorithms: [HS256], dpop: { base: %q } },
  asked: { issuer: "https://asked.test/", audiences: [api], introspection: { url: "%s/introspect", client_id: gateway, client_secret: "e2e-p+ss" } },`, secret, proofBase, asked.url))
			g.replace("drain: {", listen+"drain: {")
			g.start()
			t.Cleanup(g.kill)
			bearer, key := "Authorization: Bearer "+hs(t, "tenant", "acme"), "X-Api-Key: "+partnerKey
			opaque, anna := bearerOf(asked.knows("opaque-0123456789", live())), login("anna:secret")
			for path, own := range map[string]struct{ credential, user string }{
				"/asked": {opaque, "alice"}, "/basic": {anna, "anna"}, "/proven": {"", "alice"}, "/near": {}, "/all": {anna, "anna"},
				"/open": {}, "/open-forward": {}, "/maybe": {}, "/bearer": {bearer, "alice"}, "/token": {bearer, "alice"}, "/key": {key, "acme"}, "/both": {key, ""}, "/ruled": {bearer, "alice"},
			} {
				for _, field := range []string{"X-User-Id", "X-Tenant", "X-Internal-Token"} {
					for _, spelling := range spellingsOf(field) {
						if path == "/proven" {
							own.credential = strings.Join(h.fields(h.proof(path)), "\r\n")
						}
						g.spoofs(t, up, path, spelling, own.credential, own.user)
					}
				}
			}
			g.spoofForwarded(t, listen != "")
		})
	}
}

// The same over TLS, for clients that are told by a certificate, and for fields in which proxies name one.
func TestCases71And72WithCertificates(t *testing.T) {
	up, ca := newMirror(t), newAuthority(t, "ca", nil)
	g := prepare(t, fmt.Sprintf(`upstreams: { up: { targets: [%q] } }
client_certificates: { partners: { clients: [ { id: acme, uri: "spiffe://acme.test/*" } ] } }
routes:
  - { id: certs, match: { path: /certs }, auth: { certificates: [partners] }, forward: { claims: { X-User-Id: sub, X-Tenant: tenant } }, to: up }
  - { id: maybe, match: { path: /maybe }, auth: { certificates: [partners], optional: true }, forward: { claims: { X-User-Id: sub } }, to: up }
`, up.url))
	g.offersTLS("optional", ca.pem())
	g.start()
	t.Cleanup(g.kill)
	for _, field := range []string{"X-User-Id", "X-Tenant", "X-Client-Cert", "X-SSL-Client-Cert", "X-Forwarded-Client-Cert", "Client-Cert"} {
		for _, spelling := range spellingsOf(field) {
			g.tls = asHost("gw.test", ca.client(t, "spiffe://acme.test/a", nil))
			g.spoofs(t, up, "/certs", spelling, "", "acme")
			g.tls = asHost("gw.test")
			g.spoofs(t, up, "/maybe", spelling, "", "")
		}
		g.tls = asHost("gw.test")
		if got := g.speak(line("GET", "/certs", field+": root", "X-SSL-Client-Verify: SUCCESS")); got.status != 401 || got.one("WWW-Authenticate") != `Certificate realm="oncegate"` {
			t.Errorf("%s in place of a certificate: %d %s", field, got.status, got.head)
		}
	}
}

func (g *gateway) spoofs(t *testing.T, up *mirror, path, spelling, credential, user string) {
	t.Helper()
	before := up.count.Load()
	got := g.speak(line("GET", path, spelling, credential))
	if got.status != 200 {
		if up.count.Load() != before || got.status >= 500 || got.status == 401 {
			t.Errorf("%s with %q: %d, asked upstream: %v", path, spelling, got.status, up.count.Load() != before)
		}
		return
	}
	for text := range strings.SplitSeq(got.body, "\r\n") {
		name, value, field := strings.Cut(text, ":")
		if !field {
			continue // the request line
		}
		plain := strings.ToLower(strings.ReplaceAll(strings.TrimSpace(name), "_", "-"))
		guarded := plain == "x-user-id" || plain == "x-tenant" || plain == "x-internal-token" || strings.HasSuffix(plain, "client-cert")
		if guarded && strings.Contains(value, "root") || strings.ContainsAny(name, "_ \t\x00") {
			t.Errorf("%s with %q: upstream saw %q", path, spelling, text)
		}
	}
	want := []string{user}
	if user == "" {
		want = nil
	}
	if !slices.Equal(got.sent("X-User-Id"), want) {
		t.Errorf("%s with %q: X-User-Id %q", path, spelling, got.sent("X-User-Id"))
	}
	if n := len(got.sent("X-Internal-Token")); (path == "/token" || path == "/both") != (n == 1) || n > 1 {
		t.Errorf("%s with %q: %d internal tokens", path, spelling, n)
	}
}

// Case 73: who forwards says who the client is only when it is trusted, and says nothing else.
func (g *gateway) spoofForwarded(t *testing.T, trusted bool) {
	t.Helper()
	got := speak(t, g.address, line("GET", "/open", "X-Forwarded-For: 6.6.6.6", "X-Forwarded-Prefix: /root", "X-Forwarded-Uri: /root", "X-Forwarded-User: root", "X-Forwarded-Client-Cert: root", "X-Real-IP: 6.6.6.6",
		"Forwarded: for=6.6.6.6", "X-Original-URL: /root", "X-Rewrite-URL: /root", "X-HTTP-Method-Override: ROOT", "X-Client-Cert: root", "Proxy: root", "X_Forwarded_For: root", "x-forwarded-for : root"))
	if got.status != 400 {
		t.Errorf("space before a colon: %d", got.status)
	}
	got = speak(t, g.address, line("GET", "/open", "X-Forwarded-For: 6.6.6.6", "X-Forwarded-Prefix: /root", "X-Forwarded-Uri: /root", "X-Forwarded-User: root", "X-Forwarded-Client-Cert: root", "X-Real-IP: 6.6.6.6",
		"Forwarded: for=6.6.6.6", "X-Original-URL: /root", "X-Rewrite-URL: /root", "X-HTTP-Method-Override: ROOT", "X-Client-Cert: root", "Proxy: root", "X_Forwarded_For: root"))
	want := "127.0.0.1"
	if trusted {
		want = "6.6.6.6, 127.0.0.1"
	}
	if strings.Contains(strings.ToLower(got.body), "root") || !slices.Equal(got.sent("X-Forwarded-For"), []string{want}) || len(got.sent("X-Real-IP"))+len(got.sent("Forwarded")) != 0 {
		t.Errorf("%d\n%s", got.status, got.body)
	}
}
