package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// proving has issuers whose tokens are bound to keys: main, with nonces, and one that takes no others.
const proving = `rate_limits: { logins: { rate: 1/h, burst: 3, by: ip } }
upstreams: { up: { targets: [@UP@] } }
routes:
  - { id: orders, match: { path: "/orders/{id}" }, auth: { issuers: [main] }, to: up }
  - { id: fresh, match: { path: /fresh }, auth: { issuers: [fresh] }, to: up }
  - { id: strict, match: { path: /strict }, auth: { issuers: [strict] }, to: up }
  - { id: free, match: { path: /free }, auth: { issuers: [free] }, to: up }
  - { id: open, match: { path: /open }, auth: none, to: up }
  - { id: passed, match: { path: /passed }, auth: { issuers: [main] }, forward: { authorization: true }, to: up }
  - { id: login, match: { path: /login }, auth: { issuers: [main] }, failed_logins: logins, to: up }
  - { id: nonces, match: { path: /nonces }, auth: { issuers: [fresh] }, failed_logins: logins, to: up }
  - { id: scoped, match: { path: /scoped }, auth: { issuers: [main], require: { scopes: [w] } }, to: up }
  - { id: write, match: { path: /write }, auth: { issuers: [main] }, dedup: { key: required }, to: up }
`

const proofBase = "https://api.example.com"

func provingDocument(g *gateway, state string) {
	g.t.Helper()
	g.replace("algorithms: [HS256] }", `algorithms: [HS256], dpop: { base: "`+proofBase+`" } }`)
	g.replace("issuers: {", `issuers: { fresh: { issuer: "https://id.test/", audiences: [api], secret: "`+secret+`", algorithms: [HS256], dpop: { base: "`+proofBase+`", nonce: true, window: 5m } },
  strict: { issuer: "https://id.test/", audiences: [api], secret: "`+secret+`", algorithms: [HS256], dpop: { base: "`+proofBase+`", required: true, algorithms: [ES256] } },
  free: { issuer: "https://id.test/", audiences: [api], secret: "`+secret+`", algorithms: [HS256] },`)
	if state != "" {
		g.replace("store: embedded", "store: embedded, "+state)
	}
}

func provingGateway(t *testing.T) (*gateway, *mirror) {
	t.Helper()
	up := newMirror(t)
	g := prepare(t, strings.ReplaceAll(proving, "@UP@", up.url))
	provingDocument(g, "")
	g.start()
	t.Cleanup(g.kill)
	return g, up
}

const proofPlain = `DPoP realm="oncegate", algs="ES256 EdDSA PS256 RS256"`

var (
	badHolder = refusal{401, "unauthenticated", proofPlain + `, error="invalid_token"`}
	badProof  = refusal{401, "unauthenticated", proofPlain + `, error="invalid_dpop_proof"`}
	wantNonce = refusal{401, "unauthenticated", proofPlain + `, error="use_dpop_nonce"`}
)

func jktOf(t *testing.T, key crypto.Signer) string {
	t.Helper()
	sum, err := (&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256) // another library's
	if err != nil {
		t.Fatal(err)
	}
	return b64(sum)
}

// holder is a client with a key, and a token that is bound to it.
type holder struct {
	t     *testing.T
	key   crypto.Signer
	token string
}

func newHolder(t *testing.T, pairs ...any) *holder {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &holder{t, key, hs(t, append([]any{"cnf", object{"jkt": jktOf(t, key)}}, pairs...)...)}
}

func (h *holder) head(pairs ...any) object {
	return with(object{"typ": "dpop+jwt", "alg": "ES256", "jwk": jwkOf(h.key)}, pairs...)
}

func (h *holder) body(path string, pairs ...any) object {
	sum := sha256.Sum256([]byte(h.token))
	return with(object{"jti": rand.Text(), "htm": "GET", "htu": proofBase + path, "iat": time.Now().Unix(), "ath": b64(sum[:])}, pairs...)
}

func (h *holder) proof(path string, pairs ...any) string {
	return mint(h.t, "ES256", h.key, h.head(), h.body(path, pairs...))
}

// fields are those of a request with a proof.
func (h *holder) fields(proof string) []string {
	return []string{"Authorization: DPoP " + h.token, "DPoP: " + proof}
}

func (g *gateway) lets(name, path string, fields ...string) spoken {
	g.t.Helper()
	got := speak(g.t, g.address, line("GET", path, fields...))
	if got.status != 200 {
		g.t.Errorf("%s: %d %q %s", name, got.status, got.one("WWW-Authenticate"), got.body)
	}
	return got
}

// Case 54: a bound token is no bearer token, and an unbound one gets no better by a proof.
func TestCase54(t *testing.T) {
	g, up := provingGateway(t)
	h := newHolder(t)
	free := &holder{t, h.key, hs(t)}
	for _, when := range []string{"new", "seen before"} {
		g.refuses(when, badHolder, "/orders/1", "Authorization: Bearer "+h.token)
		g.refuses(when+", with a proof", badHolder, "/orders/1", "Authorization: Bearer "+h.token, "DPoP: "+h.proof("/orders/1"))
		g.refuses(when+", unbound", badHolder, "/orders/1", free.fields(free.proof("/orders/1"))...)
		g.refuses(when+", an issuer without dpop", badToken, "/free", "Authorization: Bearer "+h.token)
		g.refuses(when+", its scheme there", noCredential, "/free", h.fields(h.proof("/free"))...)
		g.refuses(when+", required", refusal{401, "unauthenticated", `DPoP realm="oncegate", algs="ES256", error="invalid_token"`}, "/strict", "Authorization: Bearer "+free.token)
	}
	if up.count.Load() != 0 {
		t.Errorf("the upstream was asked %d times", up.count.Load())
	}
	g.lets("proven", "/orders/1", h.fields(h.proof("/orders/1"))...)
	g.lets("proven where it is required", "/strict", h.fields(h.proof("/strict"))...)
	g.admits("unbound", "/orders/1", free.token)
	got := speak(t, g.address, line("GET", "/orders/1"))
	if c := got.header.Values("WWW-Authenticate"); got.status != 401 || len(c) != 2 || c[0] != plainChallenge || c[1] != proofPlain {
		t.Errorf("without a credential: %d %q", got.status, c)
	}
	g.refuses("a missing scope", refusal{403, "forbidden", proofPlain + `, error="insufficient_scope", scope="w"`}, "/scoped", h.fields(h.proof("/scoped"))...)
	g.soundLog(h.token, h.token[len(h.token)-30:])
}

// Cases 55 and 56, each over the wire: one answer to all of them.
func TestCases55And56(t *testing.T) {
	g, up := provingGateway(t)
	h, other := newHolder(t), newHolder(t)
	const path = "/orders/1"
	signed := func(head, body any) string { return mint(t, "ES256", h.key, head, body) }
	now := time.Now().Unix()
	good := h.proof(path)
	part := strings.Split(good, ".")
	text := func(v any) string { b, _ := json.Marshal(v); return string(b) }
	g.refuses("no proof", badProof, path, "Authorization: DPoP "+h.token)
	g.refuses("two proofs", badProof, path, append(h.fields(good), "dpop: "+h.proof(path))...)
	g.refuses("the same twice", badProof, path, append(h.fields(good), "DPoP: "+good)...)
	words := []string{good}
	hmac := "0123456789abcdef0123456789abcdef"
	for name, proof := range map[string]string{
		"empty": "", "no JWS": "x", "htm": h.proof(path, "htm", "POST"), "htm's case": h.proof(path, "htm", "get"), "htu's host": h.proof(path, "htu", "https://other.example.com"+path), "the Host that was called": h.proof(path, "htu", "https://gw.test"+path),
		"htu's path": h.proof("/orders/2"), "htu's scheme": h.proof(path, "htu", "http://api.example.com"+path), "htu's port": h.proof(path, "htu", "https://api.example.com:8443"+path),
		"ath": h.proof(path, "ath", b64(make([]byte, 32))), "no ath": h.proof(path, "ath", omit), "jkt": mint(t, "ES256", other.key, other.head(), h.body(path)), "its jwk, another's signature": mint(t, "ES256", other.key, h.head(), h.body(path)),
		"old iat": h.proof(path, "iat", now-90), "future iat": h.proof(path, "iat", now+90), "iat as text": h.proof(path, "iat", fmt.Sprint(now)), "no jti": h.proof(path, "jti", omit),
		"none": b64([]byte(text(h.head("alg", "none")))) + "." + part[1] + "." + part[2], "none, unsigned": b64([]byte(text(h.head("alg", "none")))) + "." + part[1] + ".",
		"HS256": mint(t, "HS256", []byte(hmac), h.head("alg", "HS256", "jwk", object{"kty": "oct", "k": b64([]byte(hmac))}), h.body(path)), "HS256 with the public key": mint(t, "HS256", []byte(text(jwkOf(h.key))), h.head("alg", "HS256"), h.body(path)),
		"private jwk": signed(h.head("jwk", jwkOf(h.key, "d", b64(make([]byte, 32)))), h.body(path)), "no jwk": signed(h.head("jwk", omit), h.body(path)),
		"typ": signed(h.head("typ", "JWT"), h.body(path)), "no typ": signed(h.head("typ", omit), h.body(path)), "crit": signed(h.head("crit", []string{"exp"}), h.body(path)), "jku": signed(h.head("jku", "https://evil.test"), h.body(path)),
		"a name twice in the header": signed(strings.Replace(text(h.head()), `{`, `{"alg":"ES256",`, 1), h.body(path)), "a name twice in the jwk": signed(strings.Replace(text(h.head()), `"kty"`, `"kty":"EC","kty"`, 1), h.body(path)),
		"a name twice in the claims": signed(h.head(), strings.Replace(text(h.body(path)), `{`, `{"htm":"POST",`, 1)), "trailing data": signed(h.head(), text(h.body(path))+"{}"),
		"oversize": h.proof(path, "x", strings.Repeat("x", 7<<10)), "a large header": signed(h.head("x", strings.Repeat("x", 4<<10)), h.body(path)), "padding": good + "=", "a list": good + "," + good, "signature": part[0] + "." + part[1] + "." + b64(make([]byte, 64)),
	} {
		g.refuses(name, badProof, path, h.fields(proof)...)
		if len(proof) > 200 {
			words = append(words, proof[len(proof)-60:])
		}
	}
	if up.count.Load() != 0 {
		t.Errorf("the upstream was asked %d times", up.count.Load())
	}
	g.lets("good", path, h.fields(good)...)
	g.refuses("replayed", badProof, path, h.fields(good)...)
	once := h.proof(path, "jti", "j")
	g.lets("a jti", path, h.fields(once)...)
	g.refuses("the same jti in another proof", badProof, path, h.fields(h.proof(path, "jti", "j"))...)
	g.lets("of another client", path, other.fields(other.proof(path, "jti", "j"))...)
	g.lets("query and fragment", path+"?a=b", h.fields(h.proof(path+"?c=d#e"))...)
	g.lets("spellings", "/orders/%6F", h.fields(h.proof("", "htu", "HTTPS://API.example.com:443/orders/%6f"))...)
	g.soundLog(append(words, h.token)...)
}

// A proof by another library, with a key of each kind that is accepted.
func TestProofsOfAnotherLibrary(t *testing.T) {
	g, _ := provingGateway(t)
	for _, alg := range []string{"ES256", "EdDSA", "PS256", "RS256"} {
		key := signerOf(alg)
		h := &holder{t, key, hs(t, "cnf", object{"jkt": jktOf(t, key)}, "jti", alg)}
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: key}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			body, _ := json.Marshal(h.body("/orders/7"))
			signed, err := signer.Sign(body)
			if err != nil {
				t.Fatal(err)
			}
			proof, err := signed.CompactSerialize()
			if err != nil {
				t.Fatal(err)
			}
			g.lets(alg, "/orders/7", h.fields(proof)...)
		}
	}
}

// Case 57: a nonce is asked for, told, taken.
func TestCase57(t *testing.T) {
	g, up := provingGateway(t)
	h := newHolder(t)
	got := g.refuses("no nonce", wantNonce, "/fresh", h.fields(h.proof("/fresh"))...)
	nonce := got.one("DPoP-Nonce")
	if nonce == "" {
		t.Fatalf("no nonce is told: %s", got.head)
	}
	for name, bad := range map[string]string{"another": "AAAAAAAAAAAAAAAAAAAAAA", "changed": nonce[:len(nonce)-2] + "AA", "empty": ""} {
		if got := g.refuses(name, wantNonce, "/fresh", h.fields(h.proof("/fresh", "nonce", bad))...); got.one("DPoP-Nonce") == "" {
			t.Errorf("%s: %s", name, got.head)
		}
	}
	if got := g.refuses("a bad proof learns no nonce", badProof, "/fresh", h.fields(h.proof("/other", "nonce", nonce))...); got.one("DPoP-Nonce") != "" {
		t.Errorf("%s", got.head)
	}
	if up.count.Load() != 0 {
		t.Error("the upstream was asked")
	}
	proof := h.proof("/fresh", "nonce", nonce)
	g.lets("with it", "/fresh", h.fields(proof)...)
	g.refuses("replayed", badProof, "/fresh", h.fields(proof)...)
}

// Cases 58 without TLS, and 59: what can't be shown, or is not known, is not good.
func TestCases58And59(t *testing.T) {
	g, up := provingGateway(t)
	h := newHolder(t)
	print := b64(make([]byte, 32))
	for name, cnf := range map[string]any{"certificate": object{"x5t#S256": print}} {
		token := hs(t, "cnf", cnf)
		for range 2 {
			g.refuses(name, badToken, "/orders/1", "Authorization: Bearer "+token)
			g.refuses(name+", no dpop", badToken, "/free", "Authorization: Bearer "+token)
		}
	}
	both := &holder{t, h.key, hs(t, "cnf", object{"jkt": jktOf(t, h.key), "x5t#S256": print})}
	g.refuses("both, one shown", badHolder, "/orders/1", both.fields(both.proof("/orders/1"))...)
	for name, cnf := range map[string]any{"unknown": object{"new": "x"}, "empty": object{}, "text": "x", "null": nil, "jwk": object{"jwk": jwkOf(h.key)}, "broken jkt": object{"jkt": "x"}} {
		one := &holder{t, h.key, hs(t, "cnf", cnf)}
		for range 2 {
			g.refuses(name, badToken, "/orders/1", "Authorization: Bearer "+one.token)
			g.refuses(name+", proven", badHolder, "/orders/1", one.fields(one.proof("/orders/1"))...)
		}
	}
	if up.count.Load() != 0 {
		t.Error("the upstream was asked")
	}
}

// Neither token nor proof goes upstream, unless the route says so; failed logins count what is wrong, not what has to be
// sent again; a keyed write is repeated with a new proof.
func TestProofsAndTheRest(t *testing.T) {
	g, up := provingGateway(t)
	h := newHolder(t)
	if got := g.lets("held back", "/orders/1", h.fields(h.proof("/orders/1"))...); got.sent("DPoP") != nil || got.sent("Authorization") != nil {
		t.Errorf("upstream: %s", got.body)
	}
	if got := g.lets("open", "/open", "DPoP: x"); got.sent("DPoP") != nil {
		t.Errorf("upstream of an open route: %s", got.body)
	}
	proof := h.proof("/passed")
	if got := g.lets("passed on", "/passed", h.fields(proof)...); strings.Join(got.sent("DPoP"), "") != proof || strings.Join(got.sent("Authorization"), "") != "DPoP "+h.token {
		t.Errorf("upstream: %s", got.body)
	}
	for range 5 {
		g.refuses("nonce wanted", wantNonce, "/nonces", h.fields(h.proof("/nonces"))...)
	}
	for range 3 {
		g.refuses("a bad proof", badProof, "/login", h.fields(h.proof("/other"))...)
	}
	g.refuses("one too many", refusal{429, "rate-limited", ""}, "/login", h.fields(h.proof("/other"))...)
	g.lets("a good one passes", "/login", h.fields(h.proof("/login"))...)
	before := up.count.Load()
	write := func(proof string) spoken {
		return speak(t, g.address, line("POST", "/write", append(h.fields(proof), "Idempotency-Key: k", "Content-Length: 0")...))
	}
	first := h.proof("/write", "htm", "POST")
	if got := write(first); got.status != 200 {
		t.Errorf("write: %d %s", got.status, got.body)
	}
	if got := write(first); got.status != 401 || got.kind() != "unauthenticated" {
		t.Errorf("repeated with its proof: %d", got.status)
	}
	if got := write(h.proof("/write", "htm", "POST")); got.status != 200 || got.one("Idempotent-Replayed") != "true" || up.count.Load() != before+1 {
		t.Errorf("repeated with a new proof: %d %s", got.status, got.head)
	}
}

// A fleet takes a proof once, and nonces of its other gateways; without Redis nobody knows, and the answer is 503.
func TestProofsOfAFleet(t *testing.T) {
	redis := startRedis(t)
	up := newMirror(t)
	var fleet []*gateway
	for range 2 {
		g := prepare(t, strings.ReplaceAll(proving, "@UP@", up.url))
		provingDocument(g, fmt.Sprintf("encryption_key: \"0123456789abcdef-0123456789-fedcba9876543210\", redis: { addresses: [%q] }", redis.Addr))
		g.start()
		t.Cleanup(g.kill)
		fleet = append(fleet, g)
	}
	a, b := fleet[0], fleet[1]
	h := newHolder(t)
	proof := h.proof("/orders/1")
	a.lets("first", "/orders/1", h.fields(proof)...)
	b.refuses("at the other gateway", badProof, "/orders/1", h.fields(proof)...)
	nonce := a.refuses("nonce", wantNonce, "/fresh", h.fields(h.proof("/fresh"))...).one("DPoP-Nonce")
	b.lets("a nonce of the other gateway", "/fresh", h.fields(h.proof("/fresh", "nonce", nonce))...)
	redis.Kill()
	for _, g := range fleet {
		got := g.refuses("Redis down", refusal{503, "auth-unavailable", ""}, "/orders/1", h.fields(h.proof("/orders/1"))...)
		if got.one("Retry-After") == "" {
			t.Errorf("%s", got.head)
		}
		g.refuses("a bad proof is bad all the same", badProof, "/orders/1", h.fields(h.proof("/orders/2"))...)
		g.admits("an unbound token", "/orders/1", hs(t))
	}
	redis.Restart()
	a.eventually("Redis is back", func() bool {
		return speak(t, a.address, line("GET", "/orders/1", h.fields(h.proof("/orders/1"))...)).status == 200
	})
}

// The commands know proofs: check finds what can't be, explain says what a token needs.
func TestProofsInTheCommands(t *testing.T) {
	g := prepare(t, strings.ReplaceAll(proving, "@UP@", "http://127.0.0.1:9"))
	provingDocument(g, "")
	h := newHolder(t)
	out, err := exec.Command(binary, "explain", "-config", g.file, "-H", "Authorization: DPoP "+h.token, "-H", "DPoP: "+h.proof("/orders/1"), "GET", "/orders/1").CombinedOutput()
	if err != nil || !strings.Contains(string(out), `auth passes as alice`) || !strings.Contains(string(out), "DPoP: a proof for "+proofBase) {
		t.Errorf("%v: %s", err, out)
	}
	g.replace(`base: "`+proofBase+`", nonce`, `base: "`+proofBase+`/v1", nonce`)
	code, text, failure := command(t, "", "check", "-config", g.file)
	if code != 2 || !strings.Contains(text, "issuers.fresh.dpop.base") {
		t.Errorf("%d %s%s", code, text, failure)
	}
}
