package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// libraryParser is the library's own reading of a token, as strict as its options make it.
func libraryParser(methods ...string) *jwt.Parser {
	return jwt.NewParser(jwt.WithValidMethods(methods), jwt.WithIssuer(testIssuer), jwt.WithAudience("api"),
		jwt.WithLeeway(30*time.Second), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithStrictDecoding())
}

// stricter are the reasons for which a token is refused here that the library may take. TestStricterThanTheLibrary shows
// what stands behind each. Any other difference is a bug on one side: FuzzToken finds it.
var stricter = map[Reason]bool{
	TooLong: true, Malformed: true, WrongType: true, LivesTooLong: true, WrongSubject: true, NotAnAccessToken: true, SenderConstrained: true,
}

// difference is a token that the library takes and that is refused here.
type difference struct {
	token  string
	reason Reason
}

func differences() map[string]difference {
	key := []byte(testSecret)
	claims := func(pairs ...any) string { return mint("HS256", key, object{"alg": "HS256"}, good(pairs...)) }
	header := func(head string) string { return mint("HS256", key, head, good()) }
	body := func(old, with string) string {
		return mint("HS256", key, object{"alg": "HS256"}, strings.Replace(string(text(good())), old, with, 1))
	}
	long := object{}
	for _, a := range "abcdefghijklmnop" {
		for _, b := range "abcdefghijklmnopq" {
			long[string(a)+string(b)] = 1
		}
	}
	whole := hs()
	return map[string]difference{
		"a line break inside the signature":                  {whole[:len(whole)-4] + "\r\n" + whole[len(whole)-4:], Malformed},
		"more than 8 KiB":                                    {claims("x", strings.Repeat("x", 8<<10)), TooLong},
		"a header of more than 1 KiB":                        {header(`{"alg":"HS256","x":"` + strings.Repeat("x", 1<<10) + `"}`), Malformed},
		"a header name twice":                                {header(`{"alg":"none","alg":"HS256"}`), Malformed},
		"a header name twice, once escaped":                  {header(`{"alg":"HS256","\u0061lg":"HS256"}`), Malformed},
		"a header that is not UTF-8":                         {header("{\"alg\":\"HS256\",\"x\":\"\xff\"}"), Malformed},
		"`crit`":                                             {header(`{"alg":"HS256","crit":["x"],"x":1}`), Malformed},
		"`b64`":                                              {header(`{"alg":"HS256","b64":false,"crit":["b64"]}`), Malformed},
		"`zip` or `enc`":                                     {header(`{"alg":"HS256","zip":"DEF","enc":"A128GCM"}`), Malformed},
		"`jwk`, `jku`, `x5u` or `x5c`":                       {header(`{"alg":"HS256","jku":"https://evil.test"}`), Malformed},
		"a `kid` that is no text":                            {header(`{"alg":"HS256","kid":7}`), Malformed},
		"a `kid` of more than 256 bytes":                     {header(`{"alg":"HS256","kid":"` + strings.Repeat("k", 257) + `"}`), Malformed},
		"a `typ` of another kind of token":                   {header(`{"alg":"HS256","typ":"logout+jwt"}`), WrongType},
		"a claim twice":                                      {body("{", `{"sub":"mallory",`), Malformed},
		"a claim twice, once escaped":                        {body("{", `{"\u0073ub":"mallory",`), Malformed},
		"a claim twice, inside an object":                    {body("{", `{"x":{"y":1,"y":2},`), Malformed},
		"claims that are not UTF-8":                          {body("alice", "al\xffice"), Malformed},
		"half a surrogate pair":                              {body("alice", `al\ud800ice`), Malformed},
		"claims deeper than 16":                              {body("{", `{"d":`+strings.Repeat("[", 17)+strings.Repeat("]", 17)+","), Malformed},
		"more than 256 claims":                               {mint("HS256", key, object{"alg": "HS256"}, mix(good(), long)), Malformed},
		"`nbf` out of range":                                 {claims("nbf", 1e19), Malformed},
		"a life of more than `max_lifetime`":                 {claims("exp", time.Now().Unix()+90000), LivesTooLong},
		"`exp` beyond the year 9999":                         {claims("exp", 253402300800), Malformed},
		"no `sub`":                                           {claims("sub", nil), WrongSubject},
		"an empty `sub`":                                     {claims("sub", ""), WrongSubject},
		"a `sub` with control characters":                    {claims("sub", "a\x00b"), WrongSubject},
		"an ID token":                                        {claims("nonce", "n"), NotAnAccessToken},
		"a token bound to a key that was not proven (`cnf`)": {claims("cnf", object{"new": "x"}), SenderConstrained},
	}
}

func mix(objects ...object) object {
	all := object{}
	for _, o := range objects {
		for name, value := range o {
			all[name] = value
		}
	}
	return all
}

// The library takes each of these, and docs/negative-cases.md lists it; none passes here.
func TestStricterThanTheLibrary(t *testing.T) {
	page, err := os.ReadFile("../../docs/negative-cases.md")
	if err != nil {
		t.Fatal(err)
	}
	r := single(t, secretIssuer())
	seen := map[Reason]bool{}
	for name, d := range differences() {
		if _, err := libraryParser("HS256").ParseWithClaims(d.token, jwt.MapClaims{}, func(*jwt.Token) (any, error) { return []byte(testSecret), nil }); err != nil {
			t.Errorf("%s: the library refuses it, too: %v", name, err)
		}
		r.refused(t, name, d.token, d.reason)
		seen[d.reason] = true
		if !strings.Contains(string(page), "\n- "+name+"\n") {
			t.Errorf("docs/negative-cases.md does not list: %s", name)
		}
	}
	for reason := range stricter {
		if !seen[reason] {
			t.Errorf("nothing shows that the library differs in: %v", reason)
		}
	}
}

// The same for keys: the library asks its caller to bring the right one.
func TestStricterAboutKeysThanTheLibrary(t *testing.T) {
	page, err := os.ReadFile("../../docs/negative-cases.md")
	if err != nil {
		t.Fatal(err)
	}
	k := testKeys()
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	hand := func(head object, sign func(signed []byte) []byte) string {
		signed := b64(text(head)) + "." + b64(text(good()))
		return signed + "." + b64(sign([]byte(signed)))
	}
	salted := hand(object{"alg": "PS256"}, func(signed []byte) []byte {
		sum := sha256.Sum256(signed)
		out, _ := rsa.SignPSS(rand.Reader, k.rsa, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: 20})
		return out
	})
	curve := hand(object{"alg": "ES384"}, func(signed []byte) []byte {
		sum := sha512.Sum384(signed)
		x, y, _ := ecdsa.Sign(rand.Reader, k.p256, sum[:])
		out := make([]byte, 96)
		x.FillBytes(out[:48])
		y.FillBytes(out[48:])
		return out
	})
	set := file(t, "keys.json", jwks(jwkOf(weak, "weak"), jwkOf(k.rsa, "r")))
	for name, c := range map[string]struct {
		token  string
		key    any
		route  *route
		reason Reason
	}{
		"PS256 with another length of salt": {salted, k.rsa.Public(), single(t, fileIssuer([]string{"PS256"}, publicPEM(t, k.rsa))), BadSignature},
		"ES384 with a P-256 key":            {curve, k.p256.Public(), single(t, fileIssuer([]string{"ES256", "ES384"}, publicPEM(t, k.p256))), UnknownKey},
		"RSA keys below 2048 bits":          {mint("RS256", weak, object{"alg": "RS256", "kid": "weak"}, good()), weak.Public(), single(t, fileIssuer([]string{"RS256"}, set)), UnknownKey},
		"RS512 with a key for RS256":        {mint("RS512", k.rsa, object{"alg": "RS512"}, good()), k.rsa.Public(), single(t, fileIssuer([]string{"RS256", "RS512"}, publicPEM(t, k.rsa))), UnknownKey},
	} {
		if _, err := libraryParser("PS256", "ES384", "RS256", "RS512").ParseWithClaims(c.token, jwt.MapClaims{}, func(*jwt.Token) (any, error) { return c.key, nil }); err != nil {
			t.Errorf("%s: the library refuses it, too: %v", name, err)
		}
		c.route.refused(t, name, c.token, c.reason)
		if !strings.Contains(string(page), "\n- "+name+"\n") {
			t.Errorf("docs/negative-cases.md does not list: %s", name)
		}
	}
	// The one difference in the other direction: RFC 9864's name of EdDSA.
	named := hand(object{"alg": "Ed25519"}, func(signed []byte) []byte {
		out, _ := jwt.SigningMethodEdDSA.Sign(string(signed), k.ed)
		return out
	})
	single(t, fileIssuer([]string{"EdDSA"}, publicPEM(t, k.ed))).passes(t, "Ed25519", named)
	if _, err := libraryParser("EdDSA", "Ed25519").ParseWithClaims(named, jwt.MapClaims{}, func(*jwt.Token) (any, error) { return k.ed.Public(), nil }); err == nil {
		t.Error("the library has learned the name Ed25519")
	}
}
