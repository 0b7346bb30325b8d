package keyset

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"math/big"
	"strings"
	"testing"
)

// Cases 25, 26, 33, 64: what is never loaded, while the good key beside it is.
func TestKeysThatAreSkipped(t *testing.T) {
	k := testKeys()
	good := jwkOf(k.p256, "good")
	n := k.rsa.N
	short := new(big.Int).Rsh(n, 1024)
	short.SetBit(short, 0, 1)
	huge := new(big.Int).Lsh(n, 7000)
	for name, bad := range map[string]object{
		"oct":                 {"kty": "oct", "kid": "o", "k": "AAAA", "alg": "HS256"},
		"private RSA":         jwkOf(k.rsa, "x", "d", "AQAB"),
		"private EC":          jwkOf(k.other, "x", "d", "AAAA"),
		"private, null":       jwkOf(k.other, "x", "d", "", "k", nil, "p", ""),
		"for encryption":      jwkOf(k.rsa, "x", "use", "enc"),
		"cannot verify":       jwkOf(k.rsa, "x", "key_ops", []string{"sign", "encrypt"}),
		"no operation":        jwkOf(k.rsa, "x", "key_ops", []string{}),
		"unknown kty":         {"kty": "AKP", "kid": "x", "pub": "AAAA"},
		"no kty":              jwkOf(k.rsa, "x", "kty", nil),
		"unknown curve":       jwkOf(k.other, "x", "crv", "secp256k1"),
		"X25519":              {"kty": "OKP", "crv": "X25519", "x": b64(make([]byte, 32))},
		"1024 bits":           rsaJWK(short, 65537),
		"over 8192 bits":      rsaJWK(huge, 65537),
		"even modulus":        rsaJWK(new(big.Int).Sub(n, big.NewInt(1)), 65537),
		"ROCA":                rsaJWK(rocaModulus(), 65537),
		"e 1":                 rsaJWK(n, 1),
		"e 2":                 rsaJWK(n, 2),
		"e 65536":             rsaJWK(n, 65536),
		"e 2^31+1":            rsaJWK(n, 1<<31+1),
		"e of five bytes":     rsaJWK(n, 1<<33+1),
		"no e":                jwkOf(k.rsa, "x", "e", nil),
		"n with padding":      jwkOf(k.rsa, "x", "n", "AAA="),
		"not on the curve":    jwkOf(k.other, "x", "y", b64(bytes.Repeat([]byte{1}, 32))),
		"point at infinity":   jwkOf(k.other, "x", "x", b64(make([]byte, 32)), "y", b64(make([]byte, 32))),
		"short coordinate":    jwkOf(k.other, "x", "x", b64(make([]byte, 31))),
		"P-384 in P-256":      jwkOf(k.p384, "x", "crv", "P-256"),
		"short Ed25519":       {"kty": "OKP", "crv": "Ed25519", "x": b64(make([]byte, 31))},
		"alg not configured":  jwkOf(k.rsa, "x", "alg", "RS512"),
		"alg of another kind": jwkOf(k.rsa, "x", "alg", "ES256"),
		"alg of encryption":   jwkOf(k.rsa, "x", "alg", "RSA-OAEP"),
		"alg HS256":           jwkOf(k.rsa, "x", "alg", "HS256"),
		"kid is a number":     jwkOf(k.rsa, "x", "kid", 5),
	} {
		set, skipped, err := ParseJWKS(jwks(bad, good), asymmetric)
		if err != nil || skipped != 1 || set.Len() != 1 || !set.Has("good") {
			t.Errorf("%s: skipped %d, %v", name, skipped, err)
		}
	}
	if _, _, err := ParseJWKS([]byte(`{"keys":["x",5,null,[],{"kty":"EC","kty":"RSA"}]}`), asymmetric); err == nil {
		t.Error("a set without any key")
	}
	if flawed := rocaModulus(); roca(n) || !roca(flawed) || flawed.Bit(0) == 0 || flawed.BitLen() < minModulus {
		t.Error("the test for ROCA")
	}
}

// rocaModulus lies in the subgroup that marks the flaw, as both factors do.
func rocaModulus() *big.Int {
	m := big.NewInt(1)
	for _, p := range rocaPrimes {
		m.Mul(m, new(big.Int).SetUint64(p))
	}
	n := new(big.Int).Exp(big.NewInt(65537), big.NewInt(12345), m)
	r, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), uint(2047-m.BitLen())))
	r.SetBit(r, 2047-m.BitLen(), 1)
	n.Add(n, r.Lsh(r, 1).Mul(r, m)) // an even multiple keeps it odd or even
	if n.Bit(0) == 0 {
		n.Add(n, m)
	}
	return n
}

func TestTextsThatAreNoSet(t *testing.T) {
	many := make([]object, maxKeys+1)
	for i := range many {
		many[i] = jwkOf(testKeys().p256, fmt.Sprint(i))
	}
	for name, text := range map[string][]byte{
		"HTML": []byte("<html>"), "empty": {}, "empty list": []byte(`{"keys":[]}`), "no list": []byte(`{}`), "null": []byte("null"),
		"list": []byte("[]"), "twice": append(jwks(jwkOf(testKeys().p256, "a")), "{}"...), "duplicate": []byte(`{"keys":[],"keys":[]}`),
		"too many": jwks(many...), "too long": append(jwks(jwkOf(testKeys().p256, "a")), bytes.Repeat([]byte(" "), MaxBody)...),
		"keys is text": []byte(`{"keys":"x"}`),
	} {
		if set, _, err := ParseJWKS(text, asymmetric); err == nil || set != nil {
			t.Errorf("%s is a set", name)
		} else if strings.Contains(err.Error(), "html") {
			t.Errorf("%s: the error quotes the text: %v", name, err)
		}
	}
}

func TestOneKidTwoKeys(t *testing.T) {
	k := testKeys()
	set, skipped, err := ParseJWKS(jwks(jwkOf(k.p256, "a"), jwkOf(k.other, "a"), jwkOf(k.ed, "a"), jwkOf(k.rsa, "b"), jwkOf(k.rsa, "b")), asymmetric)
	if err != nil || skipped != 3 || set.Len() != 2 {
		t.Fatalf("%d keys, %d skipped, %v", set.Len(), skipped, err)
	}
	if set.Find("a", true, Find("ES256")) != nil || set.Find("a", true, Find("EdDSA")) == nil || set.Find("b", true, Find("RS256")) == nil {
		t.Error("the two keys of one kind and id have to go, and only they")
	}
}

func TestFind(t *testing.T) {
	k := testKeys()
	es, ed, rs := Find("ES256"), Find("EdDSA"), Find("RS256")
	parse := func(keys ...object) *Set {
		set, _, err := ParseJWKS(jwks(keys...), asymmetric)
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	one := parse(jwkOf(k.p256, "a"))
	named := parse(jwkOf(k.p256, "a"), jwkOf(k.ed, "e"))
	nameless := parse(jwkOf(k.p256, ""), jwkOf(k.ed, ""), jwkOf(k.rsa, "r"))
	twins := parse(jwkOf(k.p256, ""), jwkOf(k.other, ""))
	for i, c := range []struct {
		set   *Set
		kid   string
		named bool
		alg   *Algorithm
		found bool
	}{
		{one, "a", true, es, true}, {one, "", false, es, true}, {one, "b", true, es, false}, {one, "", true, es, false}, {one, "a", true, ed, false},
		{one, "", false, ed, false}, {named, "a", true, es, true}, {named, "", false, es, false}, {named, "e", true, es, false},
		{nameless, "", false, es, true}, {nameless, "z", true, ed, true}, {nameless, "", false, rs, false}, {nameless, "r", true, rs, true}, {nameless, "r", true, es, false},
		{twins, "", false, es, false}, {twins, "a", true, es, false},
	} {
		if got := c.set.Find(c.kid, c.named, c.alg); (got != nil) != c.found || (got != nil && got.Algorithm != c.alg) {
			t.Errorf("%d: %v", i, got)
		}
	}
	if !nameless.Nameless() || named.Nameless() {
		t.Error("Nameless")
	}
}

// A key without alg takes the first configured algorithm of its kind.
func TestFirstAlgorithmOfItsKind(t *testing.T) {
	for _, names := range [][]string{{"RS256", "PS256"}, {"PS256", "RS256"}, {"ES256", "RS512"}} {
		set, _, err := ParseJWKS(jwks(jwkOf(testKeys().rsa, "r")), algs(names...))
		want := names[0]
		if want == "ES256" {
			want = "RS512"
		}
		if err != nil || set.keys[0].Algorithm.Name != want {
			t.Errorf("%v: %v %v", names, set, err)
		}
	}
	set, _, err := ParseJWKS(jwks(jwkOf(testKeys().ed, "e", "alg", "Ed25519")), algs("EdDSA"))
	if err != nil || set.keys[0].Algorithm.Name != "EdDSA" {
		t.Error(err)
	}
}

func TestSucceed(t *testing.T) {
	k := testKeys()
	old, _, _ := ParseJWKS(jwks(jwkOf(k.p256, "a"), jwkOf(k.ed, "e")), asymmetric)
	next, _, _ := ParseJWKS(jwks(jwkOf(k.other, "n"), jwkOf(k.p256, "a")), asymmetric)
	a, e := old.Find("a", true, Find("ES256")), old.Find("e", true, Find("EdDSA"))
	next.succeed(old)
	if a.Retired() || !e.Retired() || next.Find("a", true, Find("ES256")) != a {
		t.Error("who stays, stays the same; who goes is retired")
	}
	if next.Same(old) || !next.Same(next) || next.Serial == old.Serial || (*Set)(nil).Same(next) || next.Same(nil) {
		t.Error("Same")
	}
}

func FuzzJWKS(f *testing.F) {
	k := testKeys()
	f.Add(jwks(jwkOf(k.rsa, "r"), jwkOf(k.p256, "a"), jwkOf(k.p384, "b"), jwkOf(k.ed, "e")))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAA"},{"kty":"EC","crv":"P-256","x":"","y":""}]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","use":"sig","key_ops":["verify"]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		set, _, err := ParseJWKS(text, asymmetric)
		if (set == nil) != (err != nil) {
			t.Fatal("neither a set nor an error")
		}
		if set == nil {
			return
		}
		for _, key := range set.keys {
			if key.Algorithm.Family == HMAC || key.size < 64 {
				t.Fatalf("a key of %s", key.Algorithm.Name)
			}
			if key.Verify("x.y", make([]byte, key.size)) == nil {
				t.Fatal("zeros verify")
			}
		}
	})
}
