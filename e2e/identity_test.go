package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// guarded has a route for every way of asking who somebody is.
const guarded = `upstreams: { up: { targets: [%q] } }
routes:
  - { id: open, match: { path: /open }, auth: none, to: up }
  - { id: read, match: { path: /read }, auth: { issuers: [main] }, to: up }
  - { id: maybe, match: { path: /maybe }, auth: { issuers: [main], optional: true }, to: up }
  - { id: scoped, match: { path: /scoped }, auth: { issuers: [main], require: { scopes: ["orders:read"] } }, to: up }
  - { id: two, match: { path: /two-scopes }, auth: { issuers: [main], require: { scopes: ["orders:read", "orders:write"] } }, to: up }
  - { id: tenants, match: { path: /tenants }, auth: { issuers: [main], require: { claims: { tenant: [a, b], admin: "true", level: "5" } } }, to: up }
  - { id: several, match: { path: /several }, auth: { issuers: [main, second] }, to: up }
  - { id: other, match: { path: /other-audience }, auth: { issuers: [reports] }, to: up }
  - { id: typed, match: { path: /typed }, auth: { issuers: [typed] }, to: up }
  - { id: get, match: { path: /get, methods: [GET] }, auth: { issuers: [main] }, to: up }
  - { id: any, match: { path: /any }, auth: { issuers: [main] }, to: up }
`

const secondSecret = "second-secret-0123456789-0123456789-9876543210-abcdefghijklmnopqrstuvwxyz"

func guardedGateway(t *testing.T) (*gateway, *mirror) {
	t.Helper()
	up := newMirror(t)
	g := prepare(t, fmt.Sprintf(guarded, up.url))
	g.replace("issuers: {", `issuers: { second: { issuer: "https://second.test/", audiences: [api], secret: "`+secondSecret+`", algorithms: [HS256, HS512] },
  reports: { issuer: "https://id.test/", audiences: [reports], secret: "`+secret+`", algorithms: [HS256] },
  typed: { issuer: "https://id.test/", audiences: [api], secret: "`+secret+`", algorithms: [HS256], typ: at+jwt, leeway: 0s, max_lifetime: 1h },`)
	g.start()
	t.Cleanup(g.kill)
	return g, up
}

const (
	plainChallenge = `Bearer realm="oncegate"`
	tokenChallenge = `Bearer realm="oncegate", error="invalid_token"`
)

// refusal is what a request without the right credential gets.
type refusal struct {
	status    int
	kind      string
	challenge string
}

var (
	noCredential = refusal{401, "unauthenticated", plainChallenge}
	badToken     = refusal{401, "unauthenticated", tokenChallenge}
	badRequest   = refusal{400, "bad-request", `Bearer realm="oncegate", error="invalid_request"`}
)

func (g *gateway) refuses(name string, want refusal, path string, fields ...string) spoken {
	g.t.Helper()
	got := speak(g.t, g.address, line("GET", path, fields...))
	if got.status != want.status || got.kind() != want.kind || got.one("WWW-Authenticate") != want.challenge {
		g.t.Errorf("%s: %d %s %q, wanted %v: %s", name, got.status, got.kind(), got.one("WWW-Authenticate"), want, got.body)
	}
	if got.one("Content-Type") != "application/problem+json" || got.one("X-Request-Id") == "" {
		g.t.Errorf("%s: %s", name, got.head)
	}
	if want.status == 401 && got.one("Cache-Control") != "no-store" {
		g.t.Errorf("%s: a 401 that can be stored: %s", name, got.head)
	}
	return got
}

func (g *gateway) admits(name, path, token string) spoken {
	g.t.Helper()
	got := speak(g.t, g.address, line("GET", path, "Authorization: Bearer "+token))
	if got.status != 200 {
		g.t.Errorf("%s: %d %s", name, got.status, got.body)
	}
	return got
}

func TestCredentialForms(t *testing.T) {
	g, up := guardedGateway(t)
	good := hs(t)
	for _, scheme := range []string{"Bearer ", "bearer ", "BEARER ", "Bearer   "} {
		if got := speak(t, g.address, line("GET", "/read", "Authorization: "+scheme+good)); got.status != 200 {
			t.Errorf("%q: %d", scheme, got.status)
		}
	}
	before := up.count.Load()
	g.refuses("none", noCredential, "/read")
	g.refuses("in the query", noCredential, "/read?access_token="+good)
	g.refuses("Basic", noCredential, "/read", "Authorization: Basic YWxpY2U6c2VzYW1l")
	g.refuses("DPoP", noCredential, "/read", "Authorization: DPoP "+good)
	g.refuses("no scheme", noCredential, "/read", "Authorization: "+good)
	g.refuses("Bearerx", noCredential, "/read", "Authorization: Bearerx "+good)
	g.refuses("empty", noCredential, "/read", "Authorization: ")
	g.refuses("nothing", badRequest, "/read", "Authorization: Bearer")
	g.refuses("blanks", badRequest, "/read", "Authorization: Bearer   ")
	g.refuses("a list", badRequest, "/read", "Authorization: Bearer "+good+", Bearer "+good)
	for name, value := range map[string]string{"space": "a b", "percent": "a%20b", "not ASCII": "a\xe9b", "quotes": `"` + good + `"`, "tab": "a\tb", "blank in it": good[:20] + " " + good[20:]} {
		g.refuses(name, badToken, "/read", "Authorization: Bearer "+value)
	}
	g.refuses("too long", badToken, "/read", "Authorization: Bearer "+strings.Repeat("a", 9<<10))
	for _, pair := range [][2]string{{good, good}, {good, "x"}, {"x", good}} {
		got := speak(t, g.address, line("GET", "/read", "Authorization: Bearer "+pair[0], "authorization: Bearer "+pair[1]))
		if got.status != 400 || got.kind() != "bad-request" {
			t.Errorf("two fields: %d %s", got.status, got.kind())
		}
	}
	if got := speak(t, g.address, line("GET", "/read", "Authorization: Bearer "+strings.Repeat(".", 20<<10))); got.status != 431 || got.kind() != "header-too-large" {
		t.Errorf("20 KiB: %d %s", got.status, got.kind())
	}
	if up.count.Load() != before {
		t.Error("the upstream was asked")
	}
	g.soundLog(good, good[len(good)-20:], "YWxpY2U6c2VzYW1l")
}

func TestTokensThatMustNotPass(t *testing.T) {
	g, up := guardedGateway(t)
	key, head := []byte(secret), object{"alg": "HS256"}
	good := hs(t)
	part := strings.Split(good, ".")
	now := time.Now().Unix()
	tokens := map[string]string{
		"one segment": part[0], "two": part[0] + "." + part[1], "four": good + ".x", "five (JWE)": strings.Repeat("eyJhbGciOiJkaXIifQ.", 4) + "x",
		"trailing dot": good + ".", "no payload": part[0] + ".." + part[2], "no signature": part[0] + "." + part[1] + ".", "no header": "." + part[1] + "." + part[2],
		"dots": strings.Repeat(".", 8<<10), "JSON": b64([]byte(`{"payload":"` + part[1] + `"}`)), "padding": good + "=", "cut": good[:len(good)-4], "other alphabet": good[:len(good)-1] + "+",
		"other secret": mint(t, "HS256", []byte(secondSecret), head, sound()), "HS512": mint(t, "HS512", key, object{"alg": "HS512"}, sound()),
		"alg lies": mint(t, "HS256", key, object{"alg": "HS384"}, sound()),
	}
	for _, alg := range []any{"none", "None", "NONE", "nOnE", "hs256", "RS256", "", nil, 5, []string{"HS256"}, omit} {
		header := with(object{"typ": "JWT"}, "alg", alg)
		signed := mint(t, "HS256", key, header, sound())
		tokens[fmt.Sprintf("alg %v", alg)] = signed
		tokens[fmt.Sprintf("alg %v, unsigned", alg)] = signed[:strings.LastIndexByte(signed, '.')+1]
	}
	for name, member := range map[string]any{"crit": []string{"x"}, "crit b64": []string{"b64"}, "b64": false, "zip": "DEF", "enc": "A128GCM", "jku": "http://" + g.admin + "/jwks",
		"x5u": "http://" + g.admin + "/x", "x5c": []string{"MIIB"}, "jwk": object{"kty": "oct", "k": b64(key)}, "typ": "logout+jwt", "kid": 7} {
		field, _, _ := strings.Cut(name, " ")
		tokens["header "+name] = mint(t, "HS256", key, with(head, field, member), sound())
	}
	tokens["typ dpop"] = mint(t, "HS256", key, with(head, "typ", "dpop+jwt"), sound())
	tokens["kid object"] = mint(t, "HS256", key, with(head, "kid", object{"a": 1}), sound())
	tokens["long kid"] = mint(t, "HS256", key, with(head, "kid", strings.Repeat("k", 700)), sound())
	for _, kid := range []string{"crit\r\nX: y", "../../dev/null", "' OR 1=1 --", "\x00"} {
		tokens["bad signature, kid "+kid] = mint(t, "HS256", []byte(secondSecret), with(head, "kid", kid), sound())
	}
	tokens["twice alg"] = mint(t, "HS256", key, `{"alg":"none","alg":"HS256"}`, sound())
	for name, text := range map[string]string{"null": "null", "list": `["a"]`, "text": `"a"`, "BOM": "\ufeff" + `{"sub":"a"}`, "trailing": soundText(t) + ` {}`, "not UTF-8": strings.Replace(soundText(t), "alice", "al\xffice", 1),
		"surrogate": strings.Replace(soundText(t), "alice", `al\ud800ice`, 1), "sub twice": strings.Replace(soundText(t), "{", `{"sub":"mallory",`, 1), "escaped twice": strings.Replace(soundText(t), "{", `{"\u0073ub":"mallory",`, 1),
		"deep": strings.Replace(soundText(t), "{", `{"d":`+strings.Repeat("[", 400)+strings.Repeat("]", 400)+",", 1)} {
		tokens["payload "+name] = mint(t, "HS256", key, head, text)
	}
	for name, claims := range map[string]object{
		"exp past": sound("exp", now-31), "exp missing": sound("exp", omit), "exp null": sound("exp", nil), "exp 0": sound("exp", 0), "exp negative": sound("exp", -5), "exp text": sound("exp", fmt.Sprint(now+60)),
		"exp true": sound("exp", true), "exp 1e300": sound("exp", 1e300), "exp 9.3e18": sound("exp", 9.3e18), "EXP": sound("EXP", now+600, "exp", now-60), "nbf future": sound("nbf", now+120), "nbf 1e19": sound("nbf", 1e19),
		"nbf text": sound("nbf", "1"), "iat future": sound("iat", now+120), "lives too long": sound("exp", now+25*3600), "aud missing": sound("aud", omit), "aud other": sound("aud", "apix"), "aud prefix": sound("aud", "ap"),
		"aud case": sound("aud", "API"), "aud none": sound("aud", []string{}), "aud empty": sound("aud", []string{""}), "aud number": sound("aud", 5), "aud mixed": sound("aud", []any{"api", 5}), "aud slash": sound("aud", "api/"),
		"iss missing": sound("iss", omit), "iss other": sound("iss", "https://evil.test/"), "iss no slash": sound("iss", "https://id.test"), "iss case": sound("iss", "https://ID.test/"), "iss list": sound("iss", []string{"https://id.test/"}),
		"sub missing": sound("sub", omit), "sub empty": sound("sub", ""), "sub CRLF": sound("sub", "a\r\nX-Admin: 1"), "sub NUL": sound("sub", "a\x00b"), "sub number": sound("sub", 5), "ID token": sound("nonce", "n"),
		"at_hash": sound("at_hash", "n"), "bound": sound("cnf", object{"jkt": "x"}), "bound to what": sound("cnf", object{"new": "x"}),
	} {
		tokens[name] = mint(t, "HS256", key, head, claims)
	}
	var words []string
	for name, token := range tokens {
		g.refuses(name, badToken, "/read", "Authorization: Bearer "+token)
		g.refuses(name+", again", badToken, "/maybe", "Authorization: Bearer "+token)
		if len(token) > 40 && !strings.HasSuffix(token, ".") {
			words = append(words, token[len(token)-30:])
		}
	}
	if up.count.Load() != 0 {
		t.Errorf("the upstream was asked %d times", up.count.Load())
	}
	g.admits("the good one", "/read", good)
	g.soundLog(words...)
}

func soundText(t *testing.T) string {
	t.Helper()
	now := time.Now().Unix()
	return fmt.Sprintf(`{"iss":"https://id.test/","aud":"api","sub":"alice","iat":%d,"exp":%d}`, now, now+600)
}

func TestTokensThatPass(t *testing.T) {
	g, _ := guardedGateway(t)
	now := time.Now().Unix()
	for name, claims := range map[string]object{
		"plain": sound(), "aud list": sound("aud", []string{"x", "api"}), "exp within leeway": sound("exp", now-5), "nbf within leeway": sound("nbf", now+20), "fractions": sound("exp", float64(now)+60.5),
		"no iat": sound("iat", omit), "odd case is another claim": sound("SUB", "mallory", "EXP", 1), "unicode": sound("sub", "zoë"), "24 h": sound("exp", now+24*3600-1),
	} {
		for range 2 { // the second time from the cache
			g.admits(name, "/read", mint(t, "HS256", []byte(secret), object{"alg": "HS256", "typ": "JWT"}, claims))
		}
	}
	for _, typ := range []string{"JWT", "jwt", "at+jwt", "application/at+jwt"} {
		g.admits(typ, "/read", mint(t, "HS256", []byte(secret), object{"alg": "HS256", "typ": typ}, sound()))
	}
	g.admits("kid that nobody has", "/read", mint(t, "HS256", []byte(secret), object{"alg": "HS256", "kid": "k"}, sound()))
	g.admits("access token with nonce", "/read", mint(t, "HS256", []byte(secret), object{"alg": "HS256", "typ": "at+jwt"}, sound("nonce", "n")))
	g.admits("demanded typ", "/typed", mint(t, "HS256", []byte(secret), object{"alg": "HS256", "typ": "at+jwt"}, sound()))
	g.refuses("JWT where at+jwt is demanded", badToken, "/typed", "Authorization: Bearer "+mint(t, "HS256", []byte(secret), object{"alg": "HS256", "typ": "JWT"}, sound()))
	g.refuses("no leeway", badToken, "/typed", "Authorization: Bearer "+mint(t, "HS256", []byte(secret), object{"alg": "HS256", "typ": "at+jwt"}, sound("exp", now)))
	g.refuses("more than an hour", badToken, "/typed", "Authorization: Bearer "+mint(t, "HS256", []byte(secret), object{"alg": "HS256", "typ": "at+jwt"}, sound("exp", now+3700)))
}

func TestIssuersStayApart(t *testing.T) {
	g, _ := guardedGateway(t)
	first, second := hs(t), mint(t, "HS512", []byte(secondSecret), object{"alg": "HS512", "kid": "same"}, sound("iss", "https://second.test/"))
	for range 2 {
		g.admits("first", "/several", first)
		g.admits("second", "/several", second)
		g.refuses("second where only main is trusted", badToken, "/read", "Authorization: Bearer "+second)
		g.refuses("the same token for another audience", badToken, "/other-audience", "Authorization: Bearer "+first)
	}
	g.refuses("signed by the wrong one", badToken, "/several", "Authorization: Bearer "+mint(t, "HS256", []byte(secondSecret), object{"alg": "HS256", "kid": "same"}, sound()))
	g.refuses("of neither", badToken, "/several", "Authorization: Bearer "+mint(t, "HS256", []byte(secret), object{"alg": "HS256"}, sound("iss", "https://third.test/")))
}

func TestOptionalAndOpen(t *testing.T) {
	g, _ := guardedGateway(t)
	if got := speak(t, g.address, line("GET", "/maybe")); got.status != 200 {
		t.Errorf("anonymous: %d", got.status)
	}
	g.admits("with a token", "/maybe", hs(t))
	g.refuses("a bad token is not anonymous", badToken, "/maybe", "Authorization: Bearer x.y.z")
	g.refuses("another scheme is not anonymous", noCredential, "/maybe", "Authorization: Basic eDp5")
	g.refuses("nor is nothing", badRequest, "/maybe", "Authorization: Bearer")
	g.admits("an open route does not look", "/open", "x.y.z")
}

func TestScopesAndClaims(t *testing.T) {
	g, up := guardedGateway(t)
	missing := func(scopes string) refusal {
		return refusal{403, "forbidden", `Bearer realm="oncegate", error="insufficient_scope", scope="` + scopes + `"`}
	}
	ask := func(path string, pairs ...any) (string, string) {
		return path, "Authorization: Bearer " + hs(t, pairs...)
	}
	for _, scope := range []any{omit, "", "orders:read_all", "ORDERS:READ", "orders", "orders:rea", 5, []any{"orders:read", 5}, "xorders:read orders:write"} {
		path, field := ask("/scoped", "scope", scope)
		got := g.refuses(fmt.Sprint("scope ", scope), missing("orders:read"), path, field)
		if strings.Contains(got.body, "alice") {
			t.Errorf("the answer tells too much: %s", got.body)
		}
	}
	path, field := ask("/two-scopes", "scope", "orders:read other")
	got := g.refuses("one of two", missing("orders:write"), path, field)
	if doc := (answer{body: got.body}).problem(); doc["scopes"] != "orders:write" || doc["status"] != 403.0 {
		t.Errorf("members: %s", got.body)
	}
	path, field = ask("/two-scopes", "scope", "other")
	g.refuses("both", missing("orders:read orders:write"), path, field)
	before := up.count.Load()
	claimless := refusal{403, "forbidden", `Bearer realm="oncegate", error="insufficient_scope"`}
	for name, pairs := range map[string][]any{"none": {}, "other tenant": {"tenant", "c", "admin", true, "level", 5}, "case": {"tenant", "A", "admin", true, "level", 5}, "prefix": {"tenant", "ab", "admin", true, "level", 5},
		"null": {"tenant", nil, "admin", true, "level", 5}, "object": {"tenant", object{"a": "a"}, "admin", true, "level", 5}, "false": {"tenant", "a", "admin", false, "level", 5}, "one of three": {"tenant", "a"}} {
		path, field := ask("/tenants", pairs...)
		g.refuses("claims: "+name, claimless, path, field)
	}
	if up.count.Load() != before {
		t.Error("a forbidden request went upstream")
	}
	for name, pairs := range map[string][]any{"texts": {"tenant", "b", "admin", "true", "level", "5"}, "a list": {"tenant", []string{"x", "a"}, "admin", true, "level", 5}, "scalars": {"tenant", "a", "admin", true, "level", 5}} {
		g.admits(name, "/tenants", hs(t, pairs...))
	}
	g.admits("scope", "/scoped", hs(t, "scope", "openid orders:read"))
	g.admits("scp", "/scoped", hs(t, "scp", []string{"x", "orders:read"}))
	g.admits("a list", "/scoped", hs(t, "scope", []string{"x", "orders:read"}))
}

func TestOptionsOfAProtectedRoute(t *testing.T) {
	g, up := guardedGateway(t)
	if got := speak(t, g.address, line("OPTIONS", "/any")); got.status != 401 || got.one("WWW-Authenticate") != plainChallenge {
		t.Errorf("a route that takes OPTIONS: %d %s", got.status, got.head)
	}
	if got := speak(t, g.address, line("OPTIONS", "/get")); got.status != 204 || got.one("Allow") != "GET, HEAD, OPTIONS" || got.body != "" {
		t.Errorf("a route that does not: %d %s", got.status, got.head)
	}
	if got := speak(t, g.address, line("HEAD", "/get")); got.status != 401 || got.body != "" || got.one("WWW-Authenticate") != plainChallenge {
		t.Errorf("HEAD: %d %s", got.status, got.head)
	}
	if up.count.Load() != 0 {
		t.Error("the upstream was asked")
	}
}
