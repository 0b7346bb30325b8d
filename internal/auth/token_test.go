package auth

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net"
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/pipeline"

	"github.com/golang-jwt/jwt/v5"
)

// Cases 6 to 11: what never gets as far as a key.
func TestForm(t *testing.T) {
	r := single(t, secretIssuer())
	tok := hs()
	head, rest, _ := strings.Cut(tok, ".")
	body, sig, _ := strings.Cut(rest, ".")
	for name, bad := range map[string]string{
		"space": head + "." + body + " ." + sig, "tab": tok + "\t", "percent": head + "%2e" + rest,
		"NUL": tok + "\x00", "not ASCII": tok + "é", "line break in signature": tok[:len(tok)-4] + "\r\n" + tok[len(tok)-4:],
		"padding": tok + "=", "standard alphabet": head + "." + body + ".+/" + sig,
		"JWE": "a.b.c.d.e", "JSON": `{"payload":"` + body + `"}`,
		"one segment": head, "two segments": head + "." + body, "four segments": tok + ".x",
		"empty header": "." + body + "." + sig, "empty payload": head + ".." + sig, "empty signature": head + "." + body + ".",
		"trailing dot": tok + ".", "dots": strings.Repeat(".", maxToken), "length 1 mod 4": tok + "AA",
		"header over a KiB": strings.Repeat("A", maxHeader+1) + "." + body + "." + sig,
	} {
		r.refused(t, name, bad, Malformed)
	}
	r.refused(t, "8 KiB and a byte", strings.Repeat("A", maxToken+1), TooLong)
	r.refused(t, "a MiB of dots", strings.Repeat(".", 1<<20), TooLong)
	r.passes(t, "the good one", tok)
}

// Cases 12, 13, 17 to 20, 22, 27, 28.
func TestHeader(t *testing.T) {
	r := single(t, secretIssuer())
	with := func(head any) string { return mint("HS256", []byte(testSecret), head, good()) }
	for _, alg := range []string{"none", "None", "NONE", "nOnE", "rs256", "hs256", "", "HS256 ", "ES256K"} {
		r.refused(t, "alg "+alg, with(object{"alg": alg}), WrongAlgorithm)
	}
	unsigned := b64([]byte(`{"alg":"none"}`)) + "." + b64(text(good())) + "."
	r.refused(t, "none without signature", unsigned, Malformed)
	for _, head := range []string{
		`{}`, `{"alg":null}`, `{"alg":256}`, `{"alg":["HS256"]}`, `{"alg":"none","alg":"HS256"}`, `{"ALG":"HS256"}`,
		`{"alg":"HS256","\u0061lg":"HS256"}`, `{"alg":"HS256"}x`, `{"alg":"HS256"}{}`, `null`, `[]`, `"HS256"`, ``, "\xef\xbb\xbf{\"alg\":\"HS256\"}",
		`{"alg":"HS256","x":"` + "\xff" + `"}`, `{"alg":"HS256","crit":["x"]}`, `{"alg":"HS256","crit":[]}`, `{"alg":"HS256","crit":null}`,
		`{"alg":"HS256","crit":"exp"}`, `{"alg":"HS256","crit":["alg"]}`, `{"alg":"HS256","crit":["x","x"],"x":1}`,
		`{"alg":"HS256","b64":false}`, `{"alg":"HS256","b64":false,"crit":["b64"]}`, `{"alg":"HS256","b64":true}`,
		`{"alg":"HS256","zip":"DEF"}`, `{"alg":"HS256","enc":"A128GCM"}`, `{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"}}`,
		`{"alg":"HS256","kid":7}`, `{"alg":"HS256","kid":{"a":1}}`, `{"alg":"HS256","kid":"` + strings.Repeat("k", 300) + `"}`,
		`{"alg":"HS256","typ":5}`,
	} {
		r.refused(t, head, with(head), Malformed)
	}
	for _, typ := range []string{"logout+jwt", "dpop+jwt", "secevent+jwt", "application/dpop+jwt", "JWE", ""} {
		if typ != "" {
			r.refused(t, "typ "+typ, with(object{"alg": "HS256", "typ": typ}), WrongType)
		}
	}
	for _, typ := range []string{"JWT", "jwt", "at+jwt", "application/at+jwt"} {
		r.passes(t, typ, with(object{"alg": "HS256", "typ": typ}))
	}
	r.passes(t, "no typ", with(object{"alg": "HS256"}))
	r.refused(t, "other HS", mint("HS512", []byte(testSecret), object{"alg": "HS512"}, good()), WrongAlgorithm)
}

// Case 28 where a type is demanded.
func TestDemandedType(t *testing.T) {
	cfg := secretIssuer()
	cfg.Typ = "at+jwt"
	r := single(t, cfg)
	r.refused(t, "JWT", hs(), WrongType)
	r.refused(t, "none", mint("HS256", []byte(testSecret), object{"alg": "HS256"}, good()), WrongType)
	r.passes(t, "at+jwt", mint("HS256", []byte(testSecret), object{"alg": "HS256", "typ": "application/AT+JWT"}, good("nonce", "n")))
}

// Case 21: no header makes the gateway connect anywhere.
func TestNoHeaderIsDereferenced(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	came := make(chan struct{})
	go func() {
		defer close(came)
		if c, err := l.Accept(); err == nil {
			c.Close()
			t.Error("somebody connected")
		}
	}()
	r := single(t, fileIssuer([]string{"RS256"}, publicPEM(t, testKeys().rsa)))
	for _, name := range []string{"jku", "x5u"} {
		r.refused(t, name, mint("RS256", testKeys().rsa2, object{"alg": "RS256", name: "http://" + l.Addr().String() + "/"}, good()), Malformed)
	}
	r.refused(t, "x5c", mint("RS256", testKeys().rsa2, object{"alg": "RS256", "x5c": []string{"MIIB"}}, good()), Malformed)
	r.refused(t, "jwk", mint("RS256", testKeys().rsa2, object{"alg": "RS256", "jwk": jwkOf(testKeys().rsa2, "")}, good()), Malformed)
	l.Close()
	<-came
}

// Cases 14 and 26: the public key is no secret.
func TestPublicKeyAsSecret(t *testing.T) {
	k := testKeys().rsa
	der, _ := x509.MarshalPKIXPublicKey(k.Public())
	armour := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	set := file(t, "keys.json", jwks(jwkOf(k, "a"), object{"kty": "oct", "kid": "s", "k": b64([]byte(testSecret)), "alg": "HS256"}))
	for _, r := range []*route{single(t, fileIssuer([]string{"RS256"}, publicPEM(t, k))), single(t, fileIssuer([]string{"RS256"}, set))} {
		for name, secret := range map[string][]byte{
			"PEM": armour, "PEM without end": armour[:len(armour)-1], "PEM with space": append([]byte(" "), armour...), "DER": der,
			"n": k.N.Bytes(), "JWK": text(jwkOf(k, "a")), "oct of the set": []byte(testSecret),
		} {
			r.refused(t, name, mint("HS256", secret, object{"alg": "HS256", "kid": "s"}, good()), WrongAlgorithm)
		}
	}
}

// Cases 29 to 31 and 11 of golang-jwt: no other spelling of a signature passes.
func TestSignatures(t *testing.T) {
	k := testKeys().p256
	r := single(t, fileIssuer([]string{"ES256"}, publicPEM(t, k)))
	tok := mint("ES256", k, object{"alg": "ES256"}, good())
	signed := tok[:strings.LastIndex(tok, ".")]
	sig, _ := strict.DecodeString(tok[len(signed)+1:])
	der, _ := k.Sign(rand.Reader, make([]byte, 32), nil)
	for name, bad := range map[string][]byte{
		"zeros": make([]byte, 64), "short": sig[:63], "long": append(sig[:64:64], 0), "DER": der, "one byte": {1},
		"bit": append([]byte{sig[0] ^ 1}, sig[1:]...),
	} {
		r.refused(t, name, signed+"."+b64(bad), BadSignature)
	}
	for cut := 1; cut < 8; cut++ { // malformed or wrong, as the letters fall
		if _, err := r.ask("Bearer " + tok[:len(tok)-cut]); pipeline.KindOf(err) != pipeline.Unauthenticated {
			t.Errorf("cut by %d: %v", cut, err)
		}
	}
	last := tok[len(tok)-1]
	r.refused(t, "spare bits", tok[:len(tok)-1]+string(alphabetText[strings.IndexByte(alphabetText, last)|1]), Malformed)
	other := mint("ES256", k, object{"alg": "ES256"}, good("sub", "mallory"))
	r.refused(t, "other payload", other[:strings.LastIndex(other, ".")]+tok[len(signed):], BadSignature)
	r.passes(t, "good", tok)
}

const alphabetText = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func TestEveryAlgorithm(t *testing.T) {
	k := testKeys()
	keys := map[string]any{"HS": []byte(testSecret), "RS": k.rsa, "PS": k.rsa, "ES256": k.p256, "ES384": k.p384, "Ed": k.ed}
	for _, alg := range []string{"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"} {
		key := keys[alg[:2]]
		if key == nil {
			key = keys[alg]
		}
		cfg := secretIssuer()
		if alg[:2] != "HS" {
			cfg = fileIssuer(nil, privatePEM(t, key))
		}
		cfg.Algorithms = []string{alg}
		r := single(t, cfg)
		m := r.passes(t, alg, mint(alg, key, object{"alg": alg}, good()))
		if m.Client.Subject != "alice" || m.Client.Issuer != "main" || m.Client.Identity == "" {
			t.Errorf("%s: client %+v", alg, m.Client)
		}
		r.passes(t, alg+" with a kid for a key without", mint(alg, key, object{"alg": alg, "kid": "../../dev/null"}, good()))
		if alg == "EdDSA" {
			r.passes(t, "Ed25519", mint(alg, key, object{"alg": "Ed25519"}, good()))
		}
	}
}

// Cases 15, 16, 32: a key takes one algorithm, and PSS one length of salt.
func TestOneAlgorithmAKey(t *testing.T) {
	k := testKeys()
	set := file(t, "keys.json", jwks(jwkOf(k.rsa, "r", "alg", "RS256"), jwkOf(k.rsa2, "p", "alg", "PS256"), jwkOf(k.p256, "e")))
	r := single(t, fileIssuer([]string{"RS256", "RS512", "PS256", "ES256", "ES384"}, set))
	r.passes(t, "RS256", mint("RS256", k.rsa, object{"alg": "RS256", "kid": "r"}, good()))
	r.passes(t, "PS256", mint("PS256", k.rsa2, object{"alg": "PS256", "kid": "p"}, good()))
	r.refused(t, "PS256 with an RS256 key", mint("PS256", k.rsa, object{"alg": "PS256", "kid": "r"}, good()), UnknownKey)
	r.refused(t, "RS512 with an RS256 key", mint("RS512", k.rsa, object{"alg": "RS512", "kid": "r"}, good()), UnknownKey)
	r.refused(t, "ES384 with a P-256 key", mint("ES256", k.p256, object{"alg": "ES384", "kid": "e"}, good()), UnknownKey)
	r.refused(t, "EdDSA, not configured", mint("EdDSA", k.ed, object{"alg": "EdDSA", "kid": "e"}, good()), WrongAlgorithm)
	long := *jwt.SigningMethodPS256
	options := *long.Options
	options.SaltLength = 20
	long.Options = &options
	signed := b64([]byte(`{"alg":"PS256","kid":"p"}`)) + "." + b64(text(good()))
	sig, err := long.Sign(signed, k.rsa2)
	if err != nil {
		t.Fatal(err)
	}
	r.refused(t, "other salt", signed+"."+b64(sig), BadSignature)
}

// Cases 22 to 24.
func TestKeyIDs(t *testing.T) {
	k := testKeys()
	set := file(t, "keys.json", jwks(jwkOf(k.p256, "a"), jwkOf(k.p256b, "b")))
	r := single(t, fileIssuer([]string{"ES256"}, set))
	r.refused(t, "no kid, two keys", mint("ES256", k.p256, object{"alg": "ES256"}, good()), UnknownKey)
	r.refused(t, "the other's kid", mint("ES256", k.p256, object{"alg": "ES256", "kid": "b"}, good()), BadSignature)
	for _, kid := range []string{"../../dev/null", "' OR 1=1 --", "|sleep 9", "a\r\nb", "a\x00", "", "A"} {
		r.refused(t, kid, mint("ES256", k.p256, object{"alg": "ES256", "kid": kid}, good()), UnknownKey)
	}
	r.passes(t, "right", mint("ES256", k.p256, object{"alg": "ES256", "kid": "a"}, good()))
	one := single(t, fileIssuer([]string{"ES256"}, file(t, "keys.json", jwks(jwkOf(k.p256, "a")))))
	one.passes(t, "no kid, one key", mint("ES256", k.p256, object{"alg": "ES256"}, good()))
	one.refused(t, "kid of nobody", mint("ES256", k.p256, object{"alg": "ES256", "kid": "z"}, good()), UnknownKey)

	a := authority(t, map[string]IssuerConfig{
		"a": fileIssuer([]string{"ES256"}, file(t, "a.json", jwks(jwkOf(k.p256, "same")))),
		"b": func() IssuerConfig {
			c := fileIssuer([]string{"ES256"}, file(t, "b.json", jwks(jwkOf(k.p256b, "same"))))
			c.Issuer = "https://other.test/"
			return c
		}(),
	})
	both := newRoute(t, a, Config{Issuers: []string{"a", "b"}}, ForwardConfig{})
	both.passes(t, "a", mint("ES256", k.p256, object{"alg": "ES256", "kid": "same"}, good()))
	both.passes(t, "b", mint("ES256", k.p256b, object{"alg": "ES256", "kid": "same"}, good("iss", "https://other.test/")))
	both.refused(t, "a signs for b", mint("ES256", k.p256, object{"alg": "ES256", "kid": "same"}, good("iss", "https://other.test/")), BadSignature)
	if m, err := both.ask("Bearer " + hs()); pipeline.KindOf(err) != pipeline.Unauthenticated || !m.Client.Anonymous() {
		t.Error(err)
	}
}
