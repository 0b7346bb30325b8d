package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Case 4, bodies: nobody looks for a token in one. Alone it is no credential, and beside a bad one it does not help.
func TestCase4TokenInABody(t *testing.T) {
	g, up := guardedGateway(t)
	form := "access_token=" + hs(t)
	post := func(fields ...string) spoken {
		fields = append(fields, "Content-Type: application/x-www-form-urlencoded", fmt.Sprint("Content-Length: ", len(form)))
		return speak(t, g.address, line("POST", "/read", fields...)+form)
	}
	if got := post(); got.status != 401 || got.one("WWW-Authenticate") != plainChallenge {
		t.Errorf("in the body alone: %d %s", got.status, got.head)
	}
	if got := post("Authorization: Bearer x.y.z"); got.status != 401 || got.one("WWW-Authenticate") != tokenChallenge {
		t.Errorf("beside a bad one: %d %s", got.status, got.head)
	}
	if up.count.Load() != 0 {
		t.Error("the upstream was asked")
	}
	g.soundLog(form[len(form)-30:])
}

// Case 21: whatever a header names, nobody goes there, and the key that it brings counts for nothing.
func TestCase21NothingIsDereferenced(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	came := make(chan int)
	go func() {
		n := 0
		defer func() { came <- n }()
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			n++
			c.Close()
		}
	}()
	c := newCourt(t)
	up := newMirror(t)
	g := c.gateway(up.url)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "set.test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, c.stranger.Public(), c.stranger)
	if err != nil {
		t.Fatal(err)
	}
	chain, at := []string{base64.StdEncoding.EncodeToString(der)}, "http://"+ln.Addr().String()
	for name, header := range map[string]object{
		"jku": {"jku": at + "/keys"}, "x5u": {"x5u": at + "/chain"}, "x5c": {"x5c": chain}, "jku as https": {"jku": "https://" + ln.Addr().String()}, "jku and kid": {"jku": at, "kid": "e"},
		"x5c and x5t": {"x5c": chain, "x5t": "AAAA"}, "kid as URL": {"kid": at + "/kid"}, "iss, too": {"jku": at, "kid": at}, "jku with user": {"jku": "http://set.test@" + ln.Addr().String()}, "x5u null": {"x5u": nil},
	} {
		for _, key := range []*ecdsa.PrivateKey{c.stranger, signerOf("ES256").(*ecdsa.PrivateKey)} { // the second is right: but for the header the token would pass
			if (name == "kid as URL") && key != c.stranger {
				continue
			}
			for _, issuer := range []string{"set", "es", "lone"} {
				g.refuses(name, badToken, "/"+issuer, "Authorization: Bearer "+mint(t, "ES256", key, with(header, "alg", "ES256"), c.claims(issuer)))
			}
			g.refuses(name+", iss of a listener", badToken, "/several", "Authorization: Bearer "+mint(t, "ES256", key, with(header, "alg", "ES256"), c.claims("es", "iss", at)))
		}
	}
	ln.Close()
	if n := <-came; n != 0 {
		t.Errorf("%d connections to what headers named", n)
	}
	if up.count.Load() != 0 {
		t.Error("the upstream was asked")
	}
}

// Case 33, from a URL: weak keys are left out, the sound one beside them serves.
func TestCase33KeysOfAURL(t *testing.T) {
	c := newCourt(t)
	r := signerOf("RS256")
	keys := newKeyServer(t, jwksOf(t, jwkOf(c.small, "kid", "weak"), with(jwkOf(r, "kid", "one"), "e", b64([]byte{1})), object{"kty": "RSA", "kid": "roca", "n": b64(rocaLike().Bytes()), "e": "AQAB"},
		with(jwkOf(r, "kid", "even"), "e", b64([]byte{2})), jwkOf(r, "kid", "r")))
	g := keysGateway(t, serve(t, ok).url, map[string]string{"far": fmt.Sprintf("jwks: %q, algorithms: [RS256]", keys.url)})
	g.admits("the sound key", "/far", of(t, "far", "RS256", r, "kid", "r"))
	g.refuses("RSA-1024", badToken, "/far", "Authorization: Bearer "+of(t, "far", "RS256", c.small, "kid", "weak"))
	for _, kid := range []string{"one", "even", "roca"} {
		g.refuses(kid, badToken, "/far", "Authorization: Bearer "+handmade(object{"alg": "RS256", "kid": kid}, sound("iss", "https://far.test/"), padded))
		g.refuses(kid+", the sound key's signature", badToken, "/far", "Authorization: Bearer "+of(t, "far", "RS256", r, "kid", kid))
	}
}

// Case 34: such a secret never comes to be used.
func TestCase34WeakSecrets(t *testing.T) {
	const document = `version: 1
issuers: { main: { issuer: "https://id.test/", audiences: [api], secret: %q, algorithms: [%s] } }
upstreams: { up: { targets: ["http://127.0.0.1:9"] } }
routes: [ { id: a, match: { path: /a }, auth: { issuers: [main] }, to: up } ]
`
	for name, c := range map[string][2]string{
		"empty": {"", "HS256"}, "31 bytes": {"kR7vQ2mX9pL4wZ8nB5tY1cF6hJ3gD0s", "HS256"}, "32 bytes for HS512": {"kR7vQ2mX9pL4wZ8nB5tY1cF6hJ3gD0sA", "HS512"}, "well known": {"your-super-secret-jwt-token-with-at-least-32-characters-long", "HS256"},
		"well known, other case": {"A-String-Secret-At-Least-256-Bits-Long", "HS256"},
	} {
		file := store(t, "gateway.yaml", fmt.Sprintf(document, c[0], c[1]))
		for _, args := range [][]string{{"check", "-config", file}, {"run", "-config", file}} {
			code, out, failure := command(t, "", args...)
			if code != 1 && code != 2 || c[0] != "" && strings.Contains(out+failure, c[0]) || !strings.Contains(out+failure, "secret") {
				t.Errorf("%s, %s: exit %d\n%s%s", name, args[0], code, out, failure)
			}
		}
	}
	for secret, told := range map[string]bool{"kR7vQ2mX9pL4wZ8nB5tY1cF6hJ3gD0sA": false, strings.Repeat("x", 32): true, strings.Repeat("0123456789abcdef", 2): true, strings.Repeat("secret-", 6): true} {
		code, out, warned := command(t, "", "check", "-config", store(t, "gateway.yaml", fmt.Sprintf(document, secret, "HS256")))
		if code != 0 || out != "" { // it warns that the secret stands in the document, which is no error
			t.Errorf("%s: exit %d, %s", secret, code, out)
		}
		if strings.Contains(warned, "issuers.main.secret: the secret repeats itself") != told || strings.Contains(warned, secret) {
			t.Errorf("%s: %s", secret, warned)
		}
	}
}

func revocable(t *testing.T, state string) *gateway {
	t.Helper()
	g := prepare(t, fmt.Sprintf(guarded, newMirror(t).url))
	g.replace("issuers: { main: {", "issuers: { second: { issuer: \"https://second.test/\", audiences: [api], secret: \""+secondSecret+"\", algorithms: [HS256] },\n"+
		"  reports: { issuer: \"https://reports.test/\", audiences: [api], secret: \""+secondSecret+"\", algorithms: [HS256] }, typed: { issuer: \"https://typed.test/\", audiences: [api], secret: \""+secondSecret+"\", algorithms: [HS256] },\n  main: { revocation: true,")
	if state != "" {
		g.replace("store: embedded", "store: embedded, "+state)
	}
	g.start()
	t.Cleanup(g.kill)
	return g
}

// Case 48: what was revoked is refused like any other bad token, in the cache or not; what was not goes on.
func TestCase48Revoked(t *testing.T) {
	g := revocable(t, "")
	revoke := func(text string) {
		t.Helper()
		if got := speak(t, g.admin, strings.Replace(line("POST", "/api/v1/revocations", "Content-Type: application/json", fmt.Sprint("Content-Length: ", len(text))), "gw.test", g.admin, 1)+text); got.status/100 != 2 {
			t.Fatalf("%s: %d %s", text, got.status, got.body)
		}
	}
	old := time.Now().Unix() - 100
	one, other, session, subject := hs(t, "jti", "one-token-id"), hs(t, "jti", "other"), hs(t, "sid", "one-session"), hs(t, "sub", "bob", "iat", old)
	for _, token := range []string{one, other, session, subject} {
		g.admits("before", "/read", token)
	}
	revoke(`{"issuer":"main","jti":"one-token-id"}`)
	revoke(`{"issuer":"main","sid":"one-session"}`)
	revoke(`{"issuer":"main","sub":"bob"}`)
	for name, token := range map[string]string{"token": one, "another spelling of it": hs(t, "jti", "one-token-id", "x", 1), "session": session, "another of the session": hs(t, "sid", "one-session", "jti", "new"), "subject": subject, "another of the subject": hs(t, "sub", "bob", "iat", old+1)} {
		g.refuses(name, badToken, "/read", "Authorization: Bearer "+token)
		g.refuses(name+", optional", badToken, "/maybe", "Authorization: Bearer "+token)
	}
	g.admits("another token", "/read", other)
	g.admits("without an id", "/read", hs(t))
	g.soundLog(one[len(one)-30:], subject[len(subject)-30:])
}

// Case 48: when nobody can know what was revoked, that is no fault of the token: 503, and only where it matters.
func TestCase48NobodyKnows(t *testing.T) {
	g := revocable(t, fmt.Sprintf("redis: { addresses: [%q] }", freePort(t)))
	got := g.refuses("a good token", refusal{503, "auth-unavailable", ""}, "/read", "Authorization: Bearer "+hs(t))
	if after := got.one("Retry-After"); after == "" || after == "0" {
		t.Errorf("Retry-After: %q", after)
	}
	g.refuses("a bad token is bad all the same", badToken, "/read", "Authorization: Bearer "+mint(t, "HS256", []byte(secondSecret), object{"alg": "HS256"}, sound()))
	g.refuses("no token", noCredential, "/read")
	g.admits("an issuer without revocation", "/several", mint(t, "HS256", []byte(secondSecret), object{"alg": "HS256"}, sound("iss", "https://second.test/")))
}

// Case 63: a flood of key ids that nobody has costs the provider one fetch.
func TestCase63TenThousandKids(t *testing.T) {
	key := signerOf("ES256")
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := newKeyServer(t, jwksOf(t, jwkOf(key, "kid", "k")))
	up := newMirror(t)
	g := keysGateway(t, up.url, map[string]string{"far": fmt.Sprintf("jwks: %q, algorithms: [ES256]", keys.url)})
	good := of(t, "far", "ES256", key, "kid", "k")
	g.admits("good", "/far", good)
	_, rest, _ := strings.Cut(of(t, "far", "ES256", crypto.Signer(stranger)), ".")
	began := time.Now()
	const all, bunch = 10000, 250
	for n := 0; n < all; n += bunch {
		d := g.dialog()
		var text strings.Builder
		for i := range bunch {
			text.WriteString(line("GET", "/far", "Authorization: Bearer "+b64([]byte(fmt.Sprintf(`{"alg":"ES256","kid":"%016x"}`, (n+i)*7919)))+"."+rest))
		}
		go io.WriteString(d, text.String()) //nolint:errcheck // a dead connection shows in the answers
		for range bunch {
			if a := d.hear("GET"); a.status != 401 || a.header.Get("WWW-Authenticate") != tokenChallenge {
				t.Fatalf("%d %s", a.status, a.body)
			}
		}
		d.Close()
	}
	// One at the start, one for unknown ids in each 30 s.
	if fetches, most := keys.count.Load(), 2+int64(time.Since(began)/(30*time.Second)); fetches > most {
		t.Errorf("%d fetches in %s", fetches, time.Since(began))
	}
	g.admits("still", "/far", good)
	if n := up.count.Load(); n != 2 {
		t.Errorf("the upstream was asked %d times", n)
	}
}

// Case 65: a document that speaks for another issuer gives no keys, and somebody is told.
func TestCase65AnotherIssuersDocument(t *testing.T) {
	for name, is := range map[string]func(url string) string{
		"another": func(string) string { return "https://evil.test" }, "slash": func(url string) string { return url + "/" }, "case": strings.ToUpper,
		"prefix": func(url string) string { return url + "/tenant" }, "empty": func(string) string { return "" }, "right": func(url string) string { return url },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			documentOf(t, name == "right", is)
		})
	}
}

// documentOf has an issuer say that it is another one, or the right one.
func documentOf(t *testing.T, right bool, is func(url string) string) {
	key := signerOf("ES256")
	var said atomic.Value
	idp := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "openid-configuration") {
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":"http://%s/keys"}`, said.Load(), r.Host)
			return
		}
		fmt.Fprint(w, jwksOf(t, jwkOf(key, "kid", "k")))
	})
	text := is(idp.url)
	said.Store(text)
	g := prepare(t, fmt.Sprintf("upstreams: { up: { targets: [%q] } }\nroutes:\n  - { id: main, match: { path: /main }, auth: { issuers: [main] }, to: up }\n  - { id: far, match: { path: /far }, auth: { issuers: [far] }, to: up }\n", serve(t, ok).url))
	g.replace("issuers: {", fmt.Sprintf("issuers: { far: { issuer: %q, audiences: [api], discovery: true, algorithms: [ES256] },", idp.url))
	g.start()
	t.Cleanup(g.kill)
	token := mint(t, "ES256", key, object{"alg": "ES256", "kid": "k"}, sound("iss", idp.url))
	if right {
		g.admits("the right one", "/far", token)
		return
	}
	g.refuses("another's", refusal{503, "auth-unavailable", ""}, "/far", "Authorization: Bearer "+token)
	g.eventually("the alarm", func() bool { return strings.Contains(g.log.String(), "not of the configured one") })
	g.admits("another issuer", "/main", hs(t))
	g.refuses("said", refusal{503, "auth-unavailable", ""}, "/far", "Authorization: Bearer "+mint(t, "ES256", key, object{"alg": "ES256", "kid": "k"}, sound("iss", text)))
}
