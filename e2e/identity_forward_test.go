package e2e

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

var vouching = `internal_token: { issuer: "https://gw.test", keys: [%s], ttl: 60s }
api_keys: { partners: { keys: [ { id: acme, sha256: "` + partnerHash + `", claims: { tenant: acme } } ] } }
upstreams: { orders: { targets: [%q] }, self: { targets: ["http://%s"] } }
routes:
  - { id: jwks, match: { path: /.well-known/jwks.json, methods: [GET] }, auth: none, to: self }
  - { id: plain, match: { path: /plain }, auth: { issuers: [main] }, forward: { token: { claims: [tenant, roles] } }, to: orders }
  - { id: keys, match: { path: /keys }, auth: { api_keys: [partners], optional: true }, forward: { token: { audience: billing, claims: [tenant] } }, to: orders }
  - { id: apart, match: { path: /apart }, auth: { issuers: [main] }, forward: { authorization: true, token: { header: X-Internal-Token }, claims: { X-User-Id: sub } }, to: orders }
  - { id: maybe, match: { path: /maybe }, auth: { issuers: [main], optional: true }, forward: { token: {} }, to: orders }
  - { id: open, match: { path: /open }, auth: none, to: orders }
  - { id: open-token, match: { path: /open-token }, auth: none, forward: { authorization: true }, to: orders }
  - { id: writes, match: { path: /writes }, auth: { issuers: [main] }, dedup: { key: required }, forward: { token: {} }, to: orders }
  - { id: large, match: { path: /large }, auth: { issuers: [main] }, forward: { token: { claims: [blob] } }, to: orders }
`

const partnerKey = "partner-key-0123456789"

var partnerHash = func() string { sum := sha256.Sum256([]byte(partnerKey)); return hex.EncodeToString(sum[:]) }()

func newSigningKey(t *testing.T) string {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	return store(t, "signing.pem", pemOf(t, "PRIVATE KEY", der, err))
}

func vouchingBody(up, admin string, keys ...string) string {
	return fmt.Sprintf(vouching, `"`+strings.Join(keys, `", "`)+`"`, up, admin)
}

func vouchingGateway(t *testing.T, up string, keys ...string) *gateway {
	t.Helper()
	g := prepare(t, "")
	g.write(vouchingBody(up, g.admin, keys...))
	g.start()
	t.Cleanup(g.kill)
	return g
}

// verifies does what an upstream does: it fetches the published keys and reads a token with a library that shares no code
// with the gateway's own reading.
func (g *gateway) verifies(text, audience string) (jwt.MapClaims, error) {
	g.t.Helper()
	status, set := g.get(g.admin, "/.well-known/jwks.json")
	if status != 200 {
		g.t.Fatalf("the keys: %d %s", status, set)
	}
	var keys struct{ Keys []map[string]string }
	if err := json.Unmarshal([]byte(set), &keys); err != nil {
		g.t.Fatal(err)
	}
	find := func(tok *jwt.Token) (any, error) {
		for _, k := range keys.Keys {
			if k["kid"] == tok.Header["kid"] && k["alg"] == "EdDSA" && tok.Header["typ"] == "at+jwt" {
				x, err := base64.RawURLEncoding.DecodeString(k["x"])
				return crypto.PublicKey(ed25519.PublicKey(x)), err
			}
		}
		return nil, errors.New("no such key")
	}
	claims := jwt.MapClaims{}
	_, err := jwt.NewParser(jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithIssuer("https://gw.test"), jwt.WithAudience(audience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithStrictDecoding()).ParseWithClaims(text, claims, find)
	return claims, err
}

// vouched gives the claims of the token that a route sent.
func (g *gateway) vouched(header, audience, path string, fields ...string) (jwt.MapClaims, string) {
	g.t.Helper()
	got := speak(g.t, g.address, line("GET", path, fields...))
	values := got.sent(header)
	if got.status != 200 || len(values) != 1 {
		g.t.Fatalf("%s: %d, %s: %q\n%s", path, got.status, header, values, got.body)
	}
	text, bearer := strings.CutPrefix(values[0], "Bearer ")
	if bearer != (header == "Authorization") {
		g.t.Errorf("%s: %q", path, values[0])
	}
	claims, err := g.verifies(text, audience)
	if err != nil {
		g.t.Fatalf("%s: %v: %s", path, err, text)
	}
	return claims, text
}

func TestUpstreamsVerifyWhoAsks(t *testing.T) {
	up := newMirror(t)
	g := vouchingGateway(t, up.url, newSigningKey(t))
	client := hs(t, "tenant", "acme", "roles", []string{"a", "b"}, "scope", "r w", "hidden", "x")
	claims, first := g.vouched("Authorization", "orders", "/plain", "Authorization: Bearer "+client)
	if claims["sub"] != "alice" || claims["tenant"] != "acme" || fmt.Sprint(claims["roles"]) != "[a b]" || claims["scope"] != "r w" || claims["client_issuer"] != "main" ||
		claims["client_identity"] != "16:https://id.test/alice" || claims["hidden"] != nil || claims["exp"].(float64)-claims["iat"].(float64) != 60 {
		t.Error(claims)
	}
	if _, again := g.vouched("Authorization", "orders", "/plain", "Authorization: Bearer "+client); again != first {
		t.Error("every request is signed anew")
	}
	if _, other := g.vouched("Authorization", "orders", "/plain", "Authorization: Bearer "+hs(t, "tenant", "other")); other == first {
		t.Error("two clients share a token")
	}
	claims, _ = g.vouched("Authorization", "billing", "/keys", "X-Api-Key: "+partnerKey)
	if claims["sub"] != "acme" || claims["client_issuer"] != "partners" || claims["client_identity"] != "partners|acme" || claims["tenant"] != "acme" {
		t.Error(claims)
	}
	claims, _ = g.vouched("X-Internal-Token", "orders", "/apart", "Authorization: Bearer "+client)
	if claims["sub"] != "alice" {
		t.Error(claims)
	}
	if got := speak(t, g.address, line("GET", "/apart", "Authorization: Bearer "+client)); got.sent("Authorization")[0] != "Bearer "+client {
		t.Errorf("the client's own is gone:\n%s", got.body)
	}
	for _, path := range []string{"/maybe", "/keys"} {
		if got := speak(t, g.address, line("GET", path)); got.status != 200 || len(got.sent("Authorization")) != 0 {
			t.Errorf("%s as nobody: %d\n%s", path, got.status, got.body)
		}
	}
	// A token of the gateway is no credential at the gateway, and what can't be signed is not sent.
	g.refuses("its own token", badToken, "/plain", "Authorization: Bearer "+first)
	before := up.count.Load()
	if got := speak(t, g.address, line("GET", "/large", "Authorization: Bearer "+hs(t, "blob", strings.Repeat("x", 5800)))); got.status != 500 || got.kind() != "internal" || strings.Contains(got.body, "sign") {
		t.Errorf("too large a token: %d %s", got.status, got.body)
	}
	if up.count.Load() != before {
		t.Error("sent unsigned")
	}
	g.soundLog(first[len(first)-30:], client[len(client)-30:])
}

// The keys can be published through the gateway itself; the rest of the admin port can't be reached that way.
func TestKeysArePublished(t *testing.T) {
	g := vouchingGateway(t, serve(t, ok).url, newSigningKey(t))
	_, direct := g.get(g.admin, "/.well-known/jwks.json")
	got := speak(t, g.address, line("GET", "/.well-known/jwks.json"))
	if got.status != 200 || got.body != direct || got.one("Content-Type") != "application/jwk-set+json" || strings.Contains(direct, `"d"`) {
		t.Errorf("%d %s\n%s", got.status, got.head, got.body)
	}
	for _, path := range []string{"/.well-known/jwks.json/", "/.well-known/../api/v1/config", "/.well-known/jwks.json/../../api/v1/config", "/api/v1/config"} {
		if got := speak(t, g.address, line("GET", path)); got.status != 404 && got.status != 400 {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	bare := begin(t, "upstreams: { up: { targets: [\"http://127.0.0.1:9\"] } }\nroutes: [ { id: a, match: { path: / }, auth: none, to: up } ]\n")
	if status, _ := bare.get(bare.admin, "/.well-known/jwks.json"); status != 404 {
		t.Errorf("without keys: %d", status)
	}
}

// Tokens of an old key verify as long as the key is listed, and no longer.
func TestSigningKeysRotate(t *testing.T) {
	up := newMirror(t)
	one, two := newSigningKey(t), newSigningKey(t)
	g := vouchingGateway(t, up.url, one)
	client := "Authorization: Bearer " + hs(t)
	_, old := g.vouched("Authorization", "orders", "/plain", client)
	step := func(keys ...string) {
		t.Helper()
		before := g.metric(reloadsOK)
		g.write(vouchingBody(up.url, g.admin, keys...))
		g.eventually("the reload", func() bool { return g.metric(reloadsOK) != before })
	}
	step(one, two)
	if _, same := g.vouched("Authorization", "orders", "/plain", client); kidOf(same) != kidOf(old) {
		t.Error("the second key signs")
	}
	step(two, one)
	_, renewed := g.vouched("Authorization", "orders", "/plain", client)
	if kidOf(renewed) == kidOf(old) {
		t.Error("the first key signs no longer, but still does")
	}
	if _, err := g.verifies(old, "orders"); err != nil {
		t.Errorf("a token of the old key: %v", err)
	}
	step(two)
	if _, err := g.verifies(old, "orders"); err == nil {
		t.Error("the old key is gone, but verifies")
	}
	// The same file with another key: read again when told to.
	text, err := os.ReadFile(one)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(two, text, 0o600); err != nil {
		t.Fatal(err)
	}
	before := g.metric(reloadsOK)
	g.signal(syscall.SIGHUP)
	g.eventually("the reload", func() bool { return g.metric(reloadsOK) != before })
	if _, again := g.vouched("Authorization", "orders", "/plain", client); kidOf(again) != kidOf(old) {
		t.Error("the file was not read again")
	}
}

func kidOf(token string) string {
	head, _ := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[0])
	var h struct{ Kid string }
	_ = json.Unmarshal(head, &h)
	return h.Kid
}

// A repetition is the same write whatever token goes with it, and a replay asks for none.
func TestKeyedWritesDoNotDependOnTheToken(t *testing.T) {
	up := serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("Authorization")) })
	one, two := newSigningKey(t), newSigningKey(t)
	g := vouchingGateway(t, up.url, one)
	write := func() answer {
		return g.want(200, "", "POST", "/writes", "x", "Authorization", "Bearer "+hs(t), "Idempotency-Key", `"k"`)
	}
	first := write()
	before := g.metric(reloadsOK)
	g.write(vouchingBody(up.url, g.admin, two))
	g.eventually("the reload", func() bool { return g.metric(reloadsOK) != before })
	again := write()
	if again.header.Get("Idempotent-Replayed") != "true" || again.body != first.body || !strings.HasPrefix(first.body, "Bearer ") || up.count.Load() != 1 {
		t.Errorf("%v %q, %d executed", again.header, again.body, up.count.Load())
	}
}

// Each upstream gets a token for itself: the arms of a split, and who takes over. A copy gets none.
func TestEveryUpstreamHasItsOwnToken(t *testing.T) {
	key := newSigningKey(t)
	up, copies := newMirror(t), make(chan http.Header, 8)
	second := serve(t, func(_ http.ResponseWriter, r *http.Request) { copies <- r.Header.Clone() })
	g := begin(t, fmt.Sprintf(`internal_token: { issuer: "https://gw.test", keys: [%q] }
upstreams: { orders: { targets: [%q] }, down: { targets: ["http://%s"], retry: {} }, copy: { targets: [%q] } }
defaults: { auth: { issuers: [main] }, forward: { token: {} } }
routes:
  - { id: split, match: { path: /split }, to: { split: [ { upstream: orders, weight: 100 }, { upstream: down, weight: 0 } ] } }
  - { id: fallback, match: { path: /fallback }, to: down, fallback: [ { on: [connect], upstream: orders } ] }
  - { id: mirror, match: { path: /mirror }, to: { upstream: orders, mirror: { upstream: copy, share: 100%%, secrets: true } } }
`, key, up.url, freePort(t), second.url))
	for _, path := range []string{"/split", "/fallback", "/mirror"} {
		g.vouched("Authorization", "orders", path, "Authorization: Bearer "+hs(t))
	}
	if got := <-copies; got.Get("Authorization") != "" {
		t.Errorf("a copy carries %q", got.Get("Authorization"))
	}
}

func TestTokensAreCheckedAndExplained(t *testing.T) {
	key := newSigningKey(t)
	g := prepare(t, vouchingBody("http://127.0.0.1:9", "127.0.0.1:9", key))
	code, out, _ := command(t, "", "explain", "-config", g.file, "GET", "http://x/plain", "-H", "Authorization: Bearer "+hs(t))
	if code != 0 || !strings.Contains(out, "header Authorization upstream is a token of the gateway for that upstream with claims tenant, roles") {
		t.Errorf("%d %s", code, out)
	}
	for old, c := range map[string][2]string{
		"forward: { token: {} }": {"forward: { authorization: true, token: {} }", "forward.token"},
		`"` + key + `"`:          {`"` + filepath.Join(filepath.Dir(key), "none.pem") + `"`, "internal_token.keys"},
		"internal_token: {":      {"listen_more: {", "internal_token"},
	} {
		bad := prepare(t, vouchingBody("http://127.0.0.1:9", "127.0.0.1:9", key))
		bad.replace(old, c[0])
		if code, out, failure := command(t, "", "check", "-config", bad.file); code == 0 || !strings.Contains(out+failure, c[1]) {
			t.Errorf("%s: %d %s%s", old, code, out, failure)
		}
	}
}
