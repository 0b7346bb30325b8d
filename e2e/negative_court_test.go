package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

// court is what the rows are made with: the keys of the issuers, and strangers' keys.
type court struct {
	t         *testing.T
	now       int64
	small     *rsa.PrivateKey // RSA-1024
	twice     crypto.Signer   // a second key of one kid
	stranger  *ecdsa.PrivateKey
	files     map[string]string
	partner   string // an API key
	deprived  string // one without scopes
	listed    []negative
	strangers map[string]any // a key of nobody for each issuer
}

// signer is how an issuer signs.
type signer struct {
	path, iss, alg string
	key            any
}

// the four issuers that every claim is tried with
var kinds = []string{"hs", "rs", "es", "ed"}

func (c *court) issuer(name string) signer {
	switch name {
	case "hs":
		return signer{"/hs", "https://id.test/", "HS256", []byte(secret)}
	case "rs":
		return signer{"/rs", "https://rs.test/", "RS256", signerOf("RS256")}
	case "es":
		return signer{"/es", "https://es.test/", "ES256", signerOf("ES256")}
	case "ed":
		return signer{"/ed", "https://ed.test/", "EdDSA", signerOf("EdDSA")}
	case "ps":
		return signer{"/ps", "https://ps.test/", "PS256", signerOf("RS256")}
	}
	return signer{"/" + name, "https://" + name + ".test/", "ES256", signerOf("ES256")}
}

func newCourt(t *testing.T) *court {
	t.Helper()
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	stranger, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	twice, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	strangeRSA, _ := rsa.GenerateKey(rand.Reader, 2048)
	c := &court{
		t: t, now: time.Now().Unix(), small: small, stranger: stranger, twice: twice,
		partner: "partner-key-0123456789abcdef", deprived: "deprived-key-0123456789abcdef",
		strangers: map[string]any{"hs": []byte(secondSecret), "rs": strangeRSA, "es": stranger, "ed": newEd25519(t).private},
	}
	r := signerOf("RS256")
	set := jwksOf(t, jwkOf(r, "kid", "r", "alg", "RS256"), jwkOf(signerOf("ES256"), "kid", "e"), jwkOf(signerOf("ES256"), "kid", "enc", "use", "enc"),
		jwkOf(signerOf("EdDSA"), "kid", "ops", "key_ops", []string{"sign"}), object{"kty": "oct", "kid": "oct", "k": b64([]byte(secret)), "alg": "HS256"},
		jwkOf(twice, "kid", "twice"), jwkOf(stranger, "kid", "twice"), jwkOf(small, "kid", "weak"), with(jwkOf(r, "kid", "one"), "e", b64([]byte{1})),
		object{"kty": "RSA", "kid": "roca", "n": b64(rocaLike().Bytes()), "e": "AQAB"})
	c.files = map[string]string{
		"rs": store(t, "rs.pem", publicPEM(t, r)), "es": store(t, "es.pem", publicPEM(t, signerOf("ES256"))), "ed": store(t, "ed.pem", publicPEM(t, signerOf("EdDSA"))),
		"set": store(t, "set.json", set), "lone": store(t, "lone.json", jwksOf(t, jwkOf(signerOf("ES256"), "kid", "lone"))),
	}
	return c
}

// rocaLike is a modulus that lies in the subgroup of 65537 for every small prime, as those of the ROCA flaw do.
func rocaLike() *big.Int {
	m := big.NewInt(1)
	for p := int64(3); p < 200; p += 2 {
		if n := big.NewInt(p); n.ProbablyPrime(20) {
			m.Mul(m, n)
		}
	}
	n := new(big.Int).Exp(big.NewInt(65537), big.NewInt(4711), m)
	k := new(big.Int).Lsh(big.NewInt(1), uint(2047-m.BitLen()))
	n.Add(n, k.Lsh(k, 1).Mul(k, m))
	if n.Bit(0) == 0 {
		n.Add(n, m)
	}
	return n
}

const courtRoutes = `upstreams: { up: { targets: [%q] } }
routes:
  - { id: hs, match: { path: /hs }, auth: { issuers: [main] }, to: up }
  - { id: rs, match: { path: /rs }, auth: { issuers: [rs] }, to: up }
  - { id: es, match: { path: /es }, auth: { issuers: [es] }, to: up }
  - { id: ed, match: { path: /ed }, auth: { issuers: [ed] }, to: up }
  - { id: ps, match: { path: /ps }, auth: { issuers: [ps] }, to: up }
  - { id: set, match: { path: /set }, auth: { issuers: [set] }, to: up }
  - { id: lone, match: { path: /lone }, auth: { issuers: [lone] }, to: up }
  - { id: typed, match: { path: /typed }, auth: { issuers: [typed] }, to: up }
  - { id: several, match: { path: /several }, auth: { issuers: [main, rs, es, ed] }, to: up }
  - { id: reports, match: { path: /reports }, auth: { issuers: [reports] }, to: up }
  - { id: maybe, match: { path: /maybe }, auth: { issuers: [main], optional: true }, to: up }
  - { id: scoped, match: { path: /scoped }, auth: { issuers: [main], require: { scopes: ["orders:read"] } }, to: up }
  - { id: roles, match: { path: /roles }, auth: { issuers: [main], require: { roles: { claim: roles, any: [admin] } } }, to: up }
  - { id: claims, match: { path: /claims }, auth: { issuers: [main], require: { claims: { tenant: [a, b] } } }, to: up }
  - { id: login, match: { path: /login }, auth: { issuers: [main], require: { acr: [mfa], max_age: 5m } }, to: up }
  - { id: keys, match: { path: /keys }, auth: { api_keys: [partners] }, to: up }
  - { id: key-scope, match: { path: /key-scope }, auth: { api_keys: [partners], require: { scopes: [write] } }, to: up }
  - { id: either, match: { path: /either }, auth: { issuers: [main], api_keys: [partners] }, to: up }
`

func digest(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

func (c *court) gateway(up string) *gateway {
	c.t.Helper()
	g := prepare(c.t, fmt.Sprintf(courtRoutes, up)+fmt.Sprintf(`api_keys:
  partners: { keys: [ { id: acme, sha256: %s, scopes: [write] }, { id: poor, sha256: %s }, { id: past, sha256: %s, expires: 2020-01-31 }, { id: far, sha256: %s, cidr: [192.0.2.0/24] } ] }
`, digest(c.partner), digest(c.deprived), digest("expired-key-0123456789"), digest("elsewhere-key-0123456789")))
	g.replace("issuers: {", fmt.Sprintf(`issuers: {
  rs: { issuer: "https://rs.test/", audiences: [api], keys: [%q], algorithms: [RS256, PS256, RS512] },
  es: { issuer: "https://es.test/", audiences: [api], keys: [%q], algorithms: [ES256, ES384] },
  ed: { issuer: "https://ed.test/", audiences: [api], keys: [%q], algorithms: [EdDSA] },
  ps: { issuer: "https://ps.test/", audiences: [api], keys: [%q], algorithms: [PS256] },
  set: { issuer: "https://set.test/", audiences: [api], keys: [%q], algorithms: [RS256, PS256, ES256, EdDSA] },
  lone: { issuer: "https://lone.test/", audiences: [api], keys: [%q], algorithms: [ES256] },
  typed: { issuer: "https://typed.test/", audiences: [api], keys: [%q], algorithms: [ES256], typ: at+jwt, leeway: 0s, max_lifetime: 1h },
  reports: { issuer: "https://id.test/", audiences: [reports], secret: "`+secret+`", algorithms: [HS256] },`,
		c.files["rs"], c.files["es"], c.files["ed"], c.files["rs"], c.files["set"], c.files["lone"], c.files["es"]))
	g.start()
	c.t.Cleanup(g.kill)
	return g
}

// token signs claims as an issuer does. header pairs are set on top of its alg.
func (c *court) token(issuer string, header []any, pairs ...any) string {
	c.t.Helper()
	s := c.issuer(issuer)
	return mint(c.t, s.alg, s.key, with(object{"alg": s.alg}, header...), c.claims(issuer, pairs...))
}

func (c *court) claims(issuer string, pairs ...any) object {
	return with(object{"iss": c.issuer(issuer).iss, "aud": "api", "sub": "alice", "iat": c.now, "exp": c.now + 600}, pairs...)
}

// sound are requests that pass: without them the rows prove nothing.
func (c *court) sound() map[string]string {
	all := map[string]string{
		"scoped": bearing("/scoped", c.token("hs", nil, "scope", "orders:read")), "scopes as a list": bearing("/scoped", c.token("hs", nil, "scope", []string{"a", "orders:read"})),
		"roles":  bearing("/roles", c.token("hs", nil, "roles", []string{"admin"})),
		"claims": bearing("/claims", c.token("hs", nil, "tenant", "a")), "login": bearing("/login", c.token("hs", nil, "acr", "mfa", "auth_time", c.now)),
		"typed": bearing("/typed", c.token("typed", []any{"typ", "at+jwt"})), "ps": bearing("/ps", c.token("ps", nil)),
		"key": line("GET", "/keys", "X-Api-Key: "+c.partner), "scope of a key": line("GET", "/key-scope", "X-Api-Key: "+c.partner),
		"case 23: no kid, one key": bearing("/lone", c.token("lone", nil)), "kid of the set": bearing("/set", c.token("set", []any{"kid", "e"})),
		"case 44: odd case": bearing("/hs", c.token("hs", nil, "SUB", "mallory", "EXP", 1, "ſub", "mallory")),
		"no credential":     line("GET", "/maybe"), "case 74: fills the cache": bearing("/hs", c.fixed()),
	}
	for _, name := range kinds {
		all[name] = bearing(c.issuer(name).path, c.token(name, nil))
		all[name+" of several"] = bearing("/several", c.token(name, nil))
	}
	return all
}

// fixed is one token for every call of one court.
func (c *court) fixed() string {
	return c.token("hs", []any{"typ", "JWT"}, "jti", "fixed")
}

func bearing(path, token string) string {
	return line("GET", path, "Authorization: Bearer "+token)
}

func (c *court) add(n int, name string, want refusal, text string, also ...string) {
	c.listed = append(c.listed, negative{n, name, want, text, also})
}

// bad adds a token that is refused.
func (c *court) bad(n int, name, path, token string) {
	c.add(n, name, badToken, bearing(path, token))
}

// everywhere adds claims that no issuer's token may have, signed with each key, and for a route that trusts several.
func (c *court) everywhere(n int, name string, header []any, pairs ...any) {
	for _, kind := range kinds {
		token := c.token(kind, header, pairs...)
		c.bad(n, name+", "+kind, c.issuer(kind).path, token)
		c.bad(n, name+", "+kind+" of several", "/several", token)
	}
}

// texts adds payloads as they are; the word CLAIMS stands for sound members without braces.
func (c *court) texts(n int, name, payload string) {
	for _, kind := range kinds {
		s := c.issuer(kind)
		members := fmt.Sprintf(`"iss":%q,"aud":"api","iat":%d,"exp":%d`, s.iss, c.now, c.now+600)
		c.bad(n, name+", "+kind, s.path, mint(c.t, s.alg, s.key, object{"alg": s.alg}, strings.ReplaceAll(payload, "CLAIMS", members)))
	}
}

// rows are all of them.
func (c *court) rows() []negative {
	c.listed = nil
	c.formRows()
	c.headerRows()
	c.keyRows()
	c.signatureRows()
	c.timeRows()
	c.claimRows()
	c.policyRows()
	c.otherRows()
	return c.listed
}
