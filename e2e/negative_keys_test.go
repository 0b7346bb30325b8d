package e2e

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
)

// keyRows are the cases 14 to 16, 24 to 26 and 33: a key does what it is for, and nothing else.
func (c *court) keyRows() {
	for _, kind := range []string{"rs", "es", "ed"} {
		s := c.issuer(kind)
		for name, text := range publicForms(s.key.(crypto.Signer)) {
			for _, alg := range []string{"HS256", s.alg} { // the second lies
				c.bad(14, name+" as a secret, "+kind+" "+alg, s.path, mint(c.t, "HS256", text, object{"alg": alg}, c.claims(kind)))
			}
			c.bad(14, name+" as a secret, several", "/several", mint(c.t, "HS256", text, object{"alg": "HS256"}, c.claims(kind)))
			c.bad(14, name+" as a secret of HS512", s.path, mint(c.t, "HS512", text, object{"alg": "HS512"}, c.claims(kind)))
		}
	}
	r := signerOf("RS256")
	for _, alg := range []string{"PS256", "RS512", "PS512", "RS384"} {
		c.bad(15, alg+" by an RS256 key", "/rs", mint(c.t, alg, r, object{"alg": alg}, c.claims("rs")))
		c.bad(15, alg+" called RS256", "/rs", mint(c.t, alg, r, object{"alg": "RS256"}, c.claims("rs")))
		c.bad(15, "RS256 called "+alg, "/rs", mint(c.t, "RS256", r, object{"alg": alg}, c.claims("rs")))
		c.bad(15, alg+" by an RS256 key of a set", "/set", mint(c.t, alg, r, object{"alg": alg, "kid": "r"}, c.claims("set")))
	}
	c.bad(15, "HS512 of the right secret", "/hs", mint(c.t, "HS512", []byte(secret), object{"alg": "HS512"}, c.claims("hs")))
	digest384 := func(signed string) []byte {
		return signHashed(c.t, crypto.SHA384, signerOf("ES256").(*ecdsa.PrivateKey), signed)
	}
	c.bad(16, "ES384 of a P-256 key", "/es", handmade(object{"alg": "ES384"}, c.claims("es"), digest384))
	c.bad(16, "ES384 of a P-256 key, called ES256", "/es", handmade(object{"alg": "ES256"}, c.claims("es"), digest384))
	c.bad(16, "ES256 called ES384", "/es", mint(c.t, "ES256", signerOf("ES256"), object{"alg": "ES384"}, c.claims("es")))
	c.bad(16, "ES384 of a P-384 key", "/es", mint(c.t, "ES384", signerOf("ES384"), object{"alg": "ES384"}, c.claims("es")))
	for _, kid := range []any{"e", "lone", "same", omit} {
		for _, one := range kinds {
			for _, other := range kinds {
				if s := c.issuer(other); one != other {
					token := mint(c.t, s.alg, s.key, with(object{"alg": s.alg}, "kid", kid), c.claims(one))
					c.bad(24, fmt.Sprintf("%s signs for %s, kid %v", other, one, kid), "/several", token)
					c.bad(24, fmt.Sprintf("%s signs for %s, kid %v, one issuer", other, one, kid), "/"+one, token)
				}
			}
		}
	}
	es, ed := signerOf("ES256"), signerOf("EdDSA")
	c.bad(25, "use enc", "/set", mint(c.t, "ES256", es, object{"alg": "ES256", "kid": "enc"}, c.claims("set")))
	c.bad(25, "key_ops without verify", "/set", mint(c.t, "EdDSA", ed, object{"alg": "EdDSA", "kid": "ops"}, c.claims("set")))
	c.bad(25, "one kid, two keys", "/set", mint(c.t, "ES256", c.twice, object{"alg": "ES256", "kid": "twice"}, c.claims("set")))
	c.bad(25, "one kid, two keys, the other", "/set", mint(c.t, "ES256", c.stranger, object{"alg": "ES256", "kid": "twice"}, c.claims("set")))
	for _, kid := range []any{"oct", omit} {
		c.bad(26, fmt.Sprintf("oct of a set, kid %v", kid), "/set", mint(c.t, "HS256", []byte(secret), with(object{"alg": "HS256"}, "kid", kid), c.claims("set")))
	}
	c.bad(33, "RSA-1024", "/set", mint(c.t, "RS256", c.small, object{"alg": "RS256", "kid": "weak"}, c.claims("set")))
	c.bad(33, "e is 1", "/set", handmade(object{"alg": "RS256", "kid": "one"}, c.claims("set"), padded))
	c.bad(33, "ROCA", "/set", mint(c.t, "RS256", r, object{"alg": "RS256", "kid": "roca"}, c.claims("set")))
}

// publicForms are the texts that somebody may take a public key for a secret in.
func publicForms(key crypto.Signer) map[string][]byte {
	der, _ := x509.MarshalPKIXPublicKey(key.Public())
	armour := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	jwk, _ := json.Marshal(jwkOf(key))
	forms := map[string][]byte{"PEM": armour, "PEM without its end": bytes.TrimSpace(armour), "PEM behind a space": append([]byte(" "), armour...), "DER": der, "JWK": jwk, "nothing": {0}}
	switch k := key.Public().(type) {
	case *rsa.PublicKey:
		forms["n"] = k.N.Bytes()
		forms["PKCS 1"] = pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(k)})
	case *ecdsa.PublicKey:
		point, _ := k.Bytes()
		forms["point"], forms["x and y"], forms["x"] = point, point[1:], point[1:33]
	case ed25519.PublicKey:
		forms["x"], forms["x in base64"] = k, []byte(b64(k))
	}
	return forms
}

// handmade puts a token together whose signature no library would make.
func handmade(header, claims object, sign func(signed string) []byte) string {
	head, _ := json.Marshal(header)
	body, _ := json.Marshal(claims)
	signed := b64(head) + "." + b64(body)
	return signed + "." + b64(sign(signed))
}

// padded is the signature that every message has under the exponent 1: its own padding (RFC 8017, 9.2).
func padded(signed string) []byte {
	sum := sha256.Sum256([]byte(signed))
	info := append([]byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}, sum[:]...)
	em := append([]byte{0, 1}, bytes.Repeat([]byte{0xff}, 256-3-len(info))...)
	return append(append(em, 0), info...)
}

func signHashed(t interface{ Fatal(...any) }, hash crypto.Hash, key *ecdsa.PrivateKey, signed string) []byte {
	h := hash.New()
	h.Write([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, h.Sum(nil))
	if err != nil {
		t.Fatal(err)
	}
	out := make([]byte, 64)
	r.FillBytes(out[:32])
	s.FillBytes(out[32:])
	return out
}

// signatureRows are the cases 29 to 32: one signature is right, and it has one spelling.
func (c *court) signatureRows() {
	for _, kind := range kinds {
		s := c.issuer(kind)
		good := c.token(kind, nil)
		signed, signature := good[:strings.LastIndexByte(good, '.')], good[strings.LastIndexByte(good, '.')+1:]
		c.bad(29, "empty, "+kind, s.path, signed+".")
		c.bad(29, "zeros, "+kind, s.path, signed+"."+b64(make([]byte, 64)))
		c.bad(29, "256 zeros, "+kind, s.path, signed+"."+b64(make([]byte, 256)))
		c.bad(29, "by a stranger, "+kind, s.path, mint(c.t, s.alg, c.strangers[kind], object{"alg": s.alg}, c.claims(kind)))
		for name, other := range map[string]string{"=": signature + "=", "==": signature + "==", "+": "+" + signature[1:], "/": "/" + signature[1:], "AA behind": signature + "AA", "doubled": signature + signature, "spare bits": spare(signature)} {
			c.bad(30, name+", "+kind, s.path, signed+"."+other)
			c.bad(30, name+", several, "+kind, "/several", signed+"."+other)
		}
		c.add(30, "LF inside, "+kind, unreadable, bearing(s.path, signed+"."+signature[:20]+"\n"+signature[20:]))
		c.add(30, "CR inside, "+kind, unreadable, bearing(s.path, signed+"."+signature[:20]+"\r"+signature[20:]))
		c.add(30, "CRLF and a blank inside, "+kind, unreadable, bearing(s.path, signed+"."+signature[:20]+"\r\n "+signature[20:]))
		for _, at := range []int{0, 5, strings.IndexByte(good, '.') + 2, strings.IndexByte(good, '.') + 20, len(signed) - 1, len(signed) + 1, len(signed) + len(signature)/2, len(good) - 3} {
			changed := []byte(good)
			changed[at] ^= 1
			if changed[at] == good[at] || !alphabet(changed[at]) {
				changed[at] = 'A' + (good[at]-'A'+1)%26
			}
			c.bad(31, fmt.Sprintf("letter %d, %s", at, kind), s.path, string(changed))
		}
		c.bad(31, "the last four cut, "+kind, s.path, good[:len(good)-4])
		c.bad(31, "halves swapped, "+kind, s.path, signed+"."+signature[len(signature)/2:]+signature[:len(signature)/2])
	}
	c.curveRows()
	r := signerOf("RS256").(*rsa.PrivateKey)
	for name, salt := range map[string]int{"no salt": 0, "20 bytes of salt": 20, "64 bytes of salt": 64, "all the salt there is room for": 256 - 32 - 2} {
		c.bad(32, name, "/ps", handmade(object{"alg": "PS256"}, c.claims("ps"), func(signed string) []byte {
			sum := sha256.Sum256([]byte(signed))
			out, err := rsa.SignPSS(rand.Reader, r, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: max(salt, 0) + zeroSalt(salt)})
			if err != nil {
				c.t.Fatal(err)
			}
			return out
		}))
	}
}

// zeroSalt: the library takes a length of 0 for "as much as there is room for"; one byte is as wrong.
func zeroSalt(salt int) int {
	if salt == 0 {
		return 1
	}
	return 0
}

func alphabet(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '-' || b == '_'
}

// spare sets the bits of the last letter that stand for nothing.
func spare(signature string) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(letters, signature[len(signature)-1])
	return signature[:len(signature)-1] + string(letters[last|1])
}

// curveRows are forms that other libraries took for ECDSA signatures.
func (c *court) curveRows() {
	key := signerOf("ES256").(*ecdsa.PrivateKey)
	n := key.Params().N
	for name, sign := range map[string]func(signed string) []byte{
		"DER": func(signed string) []byte {
			sum := sha256.Sum256([]byte(signed))
			out, _ := ecdsa.SignASN1(rand.Reader, key, sum[:])
			return out
		},
		"r and s cut to 31 bytes": func(signed string) []byte {
			out := signHashed(c.t, crypto.SHA256, key, signed)
			return append(out[1:32:32], out[33:]...)
		},
		"r and s of 48 bytes": func(signed string) []byte {
			out, wide := signHashed(c.t, crypto.SHA256, key, signed), make([]byte, 96)
			copy(wide[16:], out[:32])
			copy(wide[64:], out[32:])
			return wide
		},
		"r alone":       func(signed string) []byte { return signHashed(c.t, crypto.SHA256, key, signed)[:32] },
		"r 0, s 1":      func(string) []byte { return append(make([]byte, 63), 1) },
		"r n, s n":      func(string) []byte { return append(n.Bytes(), n.Bytes()...) },
		"r 1, s 1":      func(string) []byte { return append(append(make([]byte, 31), 1), append(make([]byte, 31), 1)...) },
		"SHA-512 of it": func(signed string) []byte { return signHashed(c.t, crypto.SHA512, key, signed) },
	} {
		c.bad(29, name, "/es", handmade(object{"alg": "ES256"}, c.claims("es"), sign))
		c.bad(29, name+", several", "/several", handmade(object{"alg": "ES256"}, c.claims("es"), sign))
	}
}
