package dpop

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/auth/keyset"

	"github.com/go-jose/go-jose/v4"
)

func readKey(jwk []byte, alg string) (*keyset.Key, error) {
	if alg == "other" {
		alg = "ES256"
	}
	return keyset.FromJWK(jwk, keyset.Find(alg))
}

// A proof that another library wrote passes, for every algorithm, and that library computes the same thumbprints.
func TestAnotherLibrarysProofs(t *testing.T) {
	for alg, key := range testKeys() {
		if alg == "other" {
			continue
		}
		d := newDesk(t, Config{Algorithms: []string{alg}}, alg)
		options := (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt")
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: key}, options)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := signer.Sign(text(body()))
		if err != nil {
			t.Fatal(err)
		}
		proof, err := signed.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		d.wants(t, alg, proof, Proven)
		theirs, err := (&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)
		if err != nil || string(theirs) != string(d.holder.thumbprint[:]) {
			t.Errorf("%s: thumbprints differ: %v", alg, err)
		}
		if h, ok := NewHolder(b64(theirs)); !ok || h.thumbprint != d.holder.thumbprint {
			t.Errorf("%s: jkt", alg)
		}
	}
}

// The example of RFC 7638, 3.1.
func TestThumbprintOfTheRFC(t *testing.T) {
	key, err := readKey([]byte(`{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`), "RS256")
	if err != nil {
		t.Fatal(err)
	}
	if sum := key.Thumbprint(); b64(sum[:]) != "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" {
		t.Error(b64(sum[:]))
	}
}

// Case 56 and its relatives: everything that makes a proof another one.
func TestProofsThatMustNotPass(t *testing.T) {
	key, other := testKeys()["ES256"], testKeys()["other"]
	d := newDesk(t, Config{}, "ES256")
	good := proof()
	part := strings.Split(good, ".")
	small, _ := rsa.GenerateKey(rand.Reader, 1024)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	signed := func(h, b any) string { return mint("ES256", key, h, b) }
	iat := now.Unix()
	for name, c := range map[string]struct {
		proof string
		want  Verdict
	}{
		"nothing": {"", Malformed}, "no dots": {"abc", Malformed}, "two segments": {part[0] + "." + part[1], Malformed}, "four": {good + ".x", Malformed},
		"no signature": {part[0] + "." + part[1] + ".", Malformed}, "padding": {good + "=", Malformed}, "blank": {good + " ", Malformed}, "line break": {part[0] + "\r\n" + good[len(part[0]):], Malformed},
		"two in a list": {good + "," + good, Malformed}, "oversize": {good + strings.Repeat("A", maxProof), Malformed}, "large header": {signed(head("x", strings.Repeat("x", maxHeader)), body()), Malformed},
		"htm": {proof("htm", "GET"), OtherRequest}, "htm's case": {proof("htm", "post"), OtherRequest}, "htm missing": {proof("htm", omit), Malformed}, "htm number": {proof("htm", 5), Malformed},
		"htu other host": {proof("htu", "https://evil.example.com/orders/1"), OtherRequest}, "htu other path": {proof("htu", "https://api.example.com/orders/2"), OtherRequest},
		"htu other scheme": {proof("htu", "http://api.example.com/orders/1"), OtherRequest}, "htu other port": {proof("htu", "https://api.example.com:8443/orders/1"), OtherRequest},
		"htu longer": {proof("htu", target+"/"), OtherRequest}, "htu user": {proof("htu", "https://x@api.example.com/orders/1"), OtherRequest}, "htu path only": {proof("htu", "/orders/1"), OtherRequest},
		"htu dots": {proof("htu", "https://api.example.com/x/../orders/1"), OtherRequest}, "htu host prefix": {proof("htu", "https://api.example.com.evil.test/orders/1"), OtherRequest},
		"htu backslash": {proof("htu", `https://api.example.com\@evil.test/orders/1`), OtherRequest}, "htu case of the path": {proof("htu", "https://api.example.com/Orders/1"), OtherRequest},
		"htu missing": {proof("htu", omit), Malformed}, "htu list": {proof("htu", []string{target}), Malformed}, "htu empty": {proof("htu", ""), OtherRequest},
		"ath": {proof("ath", ath("another")), OtherToken}, "ath missing": {proof("ath", omit), Malformed}, "ath padded": {proof("ath", ath(token)+"="), OtherToken},
		"old": {proof("iat", iat-61), OtherTime}, "future": {proof("iat", iat+61), OtherTime}, "iat missing": {proof("iat", omit), Malformed}, "iat text": {proof("iat", "1800000000"), Malformed},
		"iat null": {proof("iat", nil), Malformed}, "iat 1e300": {signed(head(), `{"jti":"x","htm":"POST","htu":"`+target+`","ath":"`+ath(token)+`","iat":1e300}`), Malformed},
		"expired": {proof("exp", iat), OtherTime}, "not yet": {proof("nbf", iat+61), OtherTime}, "exp text": {proof("exp", "x"), Malformed},
		"jti missing": {proof("jti", omit), Malformed}, "jti empty": {proof("jti", ""), Malformed}, "jti number": {proof("jti", 7), Malformed}, "jti long": {proof("jti", strings.Repeat("j", maxJTI+1)), Malformed},
		"jkt: another key": {mint("ES256", other, head("jwk", jwkOf(other)), body()), OtherKey}, "another key says it is this one": {mint("ES256", other, head(), body()), BadSignature},
		"none":                      {b64(text(head("alg", "none"))) + "." + part[1] + "." + part[2], Malformed},
		"HS256":                     {mint("HS256", []byte("0123456789abcdef0123456789abcdef"), head("alg", "HS256", "jwk", object{"kty": "oct", "k": b64([]byte("0123456789abcdef0123456789abcdef"))}), body()), Malformed},
		"HS256 with the public key": {mint("HS256", text(jwkOf(key)), head("alg", "HS256"), body()), Malformed}, "alg missing": {signed(head("alg", omit), body()), Malformed},
		"alg that is not accepted": {mint("ES384", p384, head("alg", "ES384", "jwk", jwkOf(p384)), body()), Malformed}, "alg of another curve": {signed(head("alg", "ES512"), body()), Malformed}, "alg's case": {signed(head("alg", "es256"), body()), Malformed},
		"private jwk": {signed(head("jwk", jwkOf(key, "d", b64(make([]byte, 32)))), body()), Malformed}, "private, null": {signed(head("jwk", jwkOf(key, "d", nil)), body()), Malformed},
		"jwk missing": {signed(head("jwk", omit), body()), Malformed}, "jwk null": {signed(head("jwk", nil), body()), Malformed}, "jwk text": {signed(head("jwk", "x"), body()), Malformed}, "jwk list": {signed(head("jwk", []any{jwkOf(key)}), body()), Malformed},
		"jwk for encryption": {signed(head("jwk", jwkOf(key, "use", "enc")), body()), Malformed}, "jwk with another alg": {signed(head("jwk", jwkOf(key, "alg", "ES384")), body()), Malformed},
		"point not on the curve": {signed(head("jwk", jwkOf(key, "y", b64(make([]byte, 32)))), body()), Malformed}, "RSA-1024": {mint("RS256", small, head("alg", "RS256", "jwk", jwkOf(small)), body()), Malformed},
		"typ": {signed(head("typ", "JWT"), body()), Malformed}, "typ missing": {signed(head("typ", omit), body()), Malformed}, "typ at+jwt": {signed(head("typ", "at+jwt"), body()), Malformed},
		"crit": {signed(head("crit", []string{"x"}), body()), Malformed}, "crit null": {signed(head("crit", nil), body()), Malformed}, "b64": {signed(head("b64", false), body()), Malformed},
		"jku": {signed(head("jku", "https://evil.test/"), body()), Malformed}, "x5c": {signed(head("x5c", []string{}), body()), Malformed}, "zip": {signed(head("zip", "DEF"), body()), Malformed},
		"name twice in the header": {signed(strings.Replace(string(text(head())), `"typ":`, `"alg":"ES256","typ":`, 1), body()), Malformed},
		"name twice in the jwk":    {signed(strings.Replace(string(text(head())), `"kty":`, `"kty":"EC","kty":`, 1), body()), Malformed},
		"name twice in the claims": {signed(head(), strings.Replace(string(text(body())), `"htm":`, `"htm":"GET","htm":`, 1)), Malformed},
		"name twice, escaped":      {signed(head(), strings.Replace(string(text(body())), `"htm":`, `"\u0068tm":"GET","htm":`, 1)), Malformed},
		"odd case is no name":      {proof("htm", omit, "HTM", "POST"), Malformed}, "trailing data": {signed(head(), string(text(body()))+"{}"), Malformed}, "claims null": {signed(head(), "null"), Malformed}, "claims list": {signed(head(), "[]"), Malformed},
		"not UTF-8": {signed(head(), strings.Replace(string(text(body())), `"POST"`, "\"POST\xff\"", 1)), Malformed}, "all-zero": {part[0] + "." + part[1] + "." + b64(make([]byte, 64)), BadSignature}, "short signature": {part[0] + "." + part[1] + "." + b64(make([]byte, 63)), BadSignature},
		"payload of another": {part[0] + "." + strings.Split(proof(), ".")[1] + "." + part[2], BadSignature},
	} {
		d.wants(t, name, c.proof, c.want)
	}
	if d.shared.Replays.(*Memory).Len() != 0 {
		t.Error("a bad proof was remembered")
	}
	d.wants(t, "the good one", good, Proven)
	for name, p := range map[string]string{"header by memory": proof("htm", "GET"), "its key, another header": signed(head("x", 1), body("ath", "x"))} {
		if v, _ := d.asks(p, now); v == Proven {
			t.Error(name)
		}
	}
}

// One bit of any letter changed: never the same proof.
func TestEveryLetter(t *testing.T) {
	d := newDesk(t, Config{}, "ES256")
	good := proof()
	for at := range good {
		changed := []byte(good)
		if changed[at] == 'A' {
			changed[at] = 'B'
		} else {
			changed[at] = 'A'
		}
		if v, _ := d.asks(string(changed), now); v == Proven {
			t.Fatalf("letter %d", at)
		}
	}
	d.wants(t, "unchanged", good, Proven)
}

func TestProofsThatPass(t *testing.T) {
	key := testKeys()["ES256"]
	d := newDesk(t, Config{}, "ES256")
	iat := now.Unix()
	for name, p := range map[string]string{
		"plain": proof(), "query and fragment": proof("htu", target+"?a=b#c"), "fragment": proof("htu", target+"#x/y"), "case of scheme and host": proof("htu", "HTTPS://API.Example.com/orders/1"), "own port": proof("htu", "https://api.example.com:443/orders/1"),
		"escapes": proof("htu", "https://api.example.com/%6frders/1"), "iat at the border": proof("iat", iat-60), "iat ahead": proof("iat", iat+60), "fractions": proof("iat", float64(iat)+0.5), "exp": proof("exp", iat+1, "nbf", iat),
		"unknown members": proof("x", object{"y": 1}), "nonce nobody asked for": proof("nonce", "n"), "typ's case": mint("ES256", key, head("typ", "application/DPoP+JWT"), body()), "jwk with kid": mint("ES256", key, head("jwk", jwkOf(key, "kid", "k", "use", "sig", "alg", "ES256")), body()),
	} {
		d.wants(t, name, p, Proven)
		d.wants(t, name+", again", p, Replayed)
	}
	e := newDesk(t, Config{Base: "https://API.example.com:443/"}, "ES256")
	e.wants(t, "base in another spelling", proof(), Proven)
	f := newDesk(t, Config{Base: "http://localhost:8080"}, "ES256")
	f.wants(t, "loopback", proof("htu", "http://localhost:8080/orders/1"), Proven)
	f.wants(t, "http's own port is not this", proof("htu", "http://localhost/orders/1"), OtherRequest)
}

// A jti is used once for a key, for as long as any proof with it is taken; another key may use the same.
func TestReplays(t *testing.T) {
	d := newDesk(t, Config{}, "ES256")
	first := proof("jti", "j", "iat", now.Unix()+60)
	if v, _ := d.asks(first, now); v != Proven {
		t.Fatal(v)
	}
	for _, later := range []time.Duration{0, time.Second, 119 * time.Second, 120 * time.Second} {
		if v, _ := d.asks(first, now.Add(later)); v != Replayed {
			t.Errorf("after %v: %v", later, v)
		}
	}
	if v, _ := d.asks(first, now.Add(121*time.Second)); v != OtherTime {
		t.Errorf("at its end: %v", v)
	}
	if v, _ := d.asks(proof("jti", "j"), now); v != Replayed {
		t.Errorf("another proof with the jti: %v", v)
	}
	if v, _ := d.asks(proof("jti", "j", "iat", now.Unix()+130), now.Add(130*time.Second)); v != Proven {
		t.Errorf("the jti after the end: %v", v)
	}
	other := newDesk(t, Config{}, "other")
	other.shared = d.shared
	other.wants(t, "another key", mint("ES256", testKeys()["other"], head("jwk", jwkOf(testKeys()["other"])), body("jti", "j")), Proven)
}

type broken struct{}

func (broken) First(context.Context, Proof) (bool, error) { return true, errors.New("down") }

func TestUnknownReplaysAreUnavailable(t *testing.T) {
	d := newDesk(t, Config{}, "ES256")
	d.shared.Replays = broken{}
	d.wants(t, "store down", proof(), Unavailable)
	d.wants(t, "a bad one is bad all the same", proof("htm", "GET"), OtherRequest)
	d.shared.Replays = NewMemory(64 * 8)
	n := 0
	for v := Proven; v == Proven; n++ {
		v, _ = d.asks(proof(), now)
	}
	if n < 8 || n > 65 {
		t.Errorf("%d proofs in a room of 512, an eighth of which is one owner's", n)
	}
	d.wants(t, "full", proof(), Unavailable)
	v := Unavailable
	for i := 0; v != Proven && i < 64; i++ { // each sweeps the part of the memory that it falls into
		v, _ = d.asks(proof("iat", now.Unix()+200), now.Add(200*time.Second))
	}
	if v != Proven {
		t.Errorf("after their end: %v", v)
	}
}
