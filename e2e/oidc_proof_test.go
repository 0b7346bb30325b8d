package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// forOpaque starts a gateway that asks the provider about each token.
func (p *openProvider) forOpaque(up string) *gateway {
	p.t.Helper()
	g := prepare(p.t, fmt.Sprintf(`upstreams: { up: { targets: [%q] } }
routes:
  - { id: opaque, match: { path: /opaque }, auth: { issuers: [asked] }, forward: { claims: { X-User-Id: sub } }, to: up }
  - { id: read, match: { path: /read }, auth: { issuers: [asked], require: { scopes: ["orders:read"] } }, to: up }
  - { id: main, match: { path: /main }, auth: { issuers: [main] }, to: up }
`, up))
	g.replace("issuers: {", fmt.Sprintf(`issuers: { asked: { issuer: %q, audiences: [%s], introspection: { url: %q, client_id: gateway, client_secret: gateway-secret-0123456789, keep: 0s } },`, p.issuer, opaqueResource, p.issuer+"/token/introspection"))
	g.start()
	p.t.Cleanup(g.kill)
	return g
}

// Tokens without content are asked about at the provider that gave them, and end when it says so.
func TestRealProviderIsAsked(t *testing.T) {
	t.Parallel()
	p := newOpenProvider(t)
	g := p.forOpaque(newMirror(t).url)
	user := p.login("erin", url.Values{"scope": {"openid orders:read"}, "resource": {opaqueResource}, "nonce": {"n"}})
	if strings.Contains(user.Access, ".") {
		t.Fatalf("not opaque: %.20s", user.Access)
	}
	if got := g.admits("an opaque token", "/opaque", user.Access); len(got.sent("X-User-Id")) != 1 || got.sent("X-User-Id")[0] != "erin" {
		t.Errorf("%s", got.body)
	}
	g.admits("with the scope", "/read", user.Access)
	g.refuses("without the scope", wantsScope, "/read", "Authorization: Bearer "+p.login("erin", url.Values{"scope": {"openid orders:write"}, "resource": {opaqueResource}}).Access)
	g.refuses("another resource's", badToken, "/opaque", "Authorization: Bearer "+p.login("erin", url.Values{"scope": {"openid"}, "resource": {"https://opaque.elsewhere.test"}}).Access)
	g.refuses("cut", badToken, "/opaque", "Authorization: Bearer "+user.Access[:len(user.Access)-1])
	g.refuses("longer", badToken, "/opaque", "Authorization: Bearer "+user.Access+"A")
	g.refuses("invented", badToken, "/opaque", "Authorization: Bearer "+b64(make([]byte, 32)))
	g.refuses("an ID token", badToken, "/opaque", "Authorization: Bearer "+user.ID)
	g.admits("still", "/opaque", user.Access)
	r, err := http.NewRequest("POST", p.issuer+"/token/revocation", strings.NewReader(url.Values{"token": {user.Access}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("web", "web-secret-0123456789")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := http.DefaultClient.Do(r)
	if err != nil || answer.StatusCode != 200 {
		t.Fatal(answer, err)
	}
	answer.Body.Close()
	g.refuses("revoked at the provider", badToken, "/opaque", "Authorization: Bearer "+user.Access)
	p.ends()
	g.refuses("the provider is gone", refusal{503, "auth-unavailable", ""}, "/opaque", "Authorization: Bearer "+b64(make([]byte, 31)))
	g.admits("another issuer", "/main", hs(t))
	g.soundLog(user.Access, user.ID[len(user.ID)-30:], "gateway-secret-0123456789")
}

// proof makes a DPoP proof (RFC 9449, 4.2); token may be empty.
func proof(t *testing.T, key *ecdsa.PrivateKey, method, target, token string) string {
	t.Helper()
	claims := object{"htm": method, "htu": target, "iat": time.Now().Unix(), "jti": rand.Text()}
	if token != "" {
		sum := sha256.Sum256([]byte(token))
		claims["ath"] = b64(sum[:])
	}
	return mint(t, "ES256", key, object{"typ": "dpop+jwt", "alg": "ES256", "jwk": jwkOf(key)}, claims)
}

// A token that a provider bound to a key passes with proofs of that key, each of them once, and in no other way.
func TestRealProviderBindsTokens(t *testing.T) {
	p := newOpenProvider(t)
	g := prepare(t, fmt.Sprintf("upstreams: { up: { targets: [%q] } }\nroutes: [ { id: bound, match: { path: /bound/** }, auth: { issuers: [op] }, to: up } ]\n", newMirror(t).url))
	g.replace("issuers: {", fmt.Sprintf(`issuers: { op: { issuer: %q, discovery: true, audiences: [%s], algorithms: [RS256], dpop: { base: %q } },`, p.issuer, apiResource, "https://api.test"))
	g.start()
	t.Cleanup(g.kill)
	mine, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	got := p.asks("machine", url.Values{"grant_type": {"client_credentials"}, "resource": {apiResource}}, "DPoP: "+proof(t, mine, "POST", p.issuer+"/token", ""))
	if got.Type != "DPoP" {
		t.Fatalf("%+v", got)
	}
	const target = "https://api.test/bound/a"
	ask := func(status int, name, path string, fields ...string) {
		t.Helper()
		answer := speak(t, g.address, line("GET", path, fields...))
		if answer.status != status || status == 401 && !strings.Contains(strings.Join(answer.header.Values("WWW-Authenticate"), ","), "DPoP") {
			t.Errorf("%s: %d %s", name, answer.status, answer.head)
		}
	}
	bound, used := "Authorization: DPoP "+got.Access, "DPoP: "+proof(t, mine, "GET", target, got.Access)
	ask(200, "with a proof", "/bound/a", bound, used)
	ask(200, "with another proof", "/bound/a?q=1", bound, "DPoP: "+proof(t, mine, "GET", target, got.Access))
	ask(401, "the same proof again", "/bound/a", bound, used)
	ask(401, "no proof", "/bound/a", bound)
	ask(401, "as Bearer", "/bound/a", "Authorization: Bearer "+got.Access)
	ask(401, "as Bearer with a proof", "/bound/a", "Authorization: Bearer "+got.Access, "DPoP: "+proof(t, mine, "GET", target, got.Access))
	ask(401, "another key", "/bound/a", bound, "DPoP: "+proof(t, other, "GET", target, got.Access))
	ask(401, "another method", "/bound/a", bound, "DPoP: "+proof(t, mine, "POST", target, got.Access))
	ask(401, "another path", "/bound/b", bound, "DPoP: "+proof(t, mine, "GET", target, got.Access))
	ask(401, "another token's hash", "/bound/a", bound, "DPoP: "+proof(t, mine, "GET", target, got.Access+"x"))
	ask(401, "no hash", "/bound/a", bound, "DPoP: "+proof(t, mine, "GET", target, ""))
	plain := p.machine(apiResource, "orders:read")
	ask(200, "a token that is not bound", "/bound/a", "Authorization: Bearer "+plain)
	ask(401, "a token that is not bound, as DPoP", "/bound/a", "Authorization: DPoP "+plain, "DPoP: "+proof(t, mine, "GET", target, plain))
	g.soundLog(got.Access[len(got.Access)-30:], used[len(used)-30:])
}
