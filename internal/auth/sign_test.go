package auth

import (
	"strings"
	"testing"
	"time"
)

func TestSignedTokensPass(t *testing.T) {
	k := testKeys()
	hs512 := secretIssuer()
	hs512.Algorithms = []string{"HS512", "HS256"}
	hs512.Audiences = []string{"a", "b"}
	hs512.Typ = "at+jwt"
	for name, cfg := range map[string]IssuerConfig{
		"HS256": secretIssuer(), "HS512": hs512, "RS256": fileIssuer([]string{"RS256"}, privatePEM(t, k.rsa)),
		"PS384": fileIssuer([]string{"PS384", "RS256"}, privatePEM(t, k.rsa)), "ES256": fileIssuer([]string{"EdDSA", "ES256"}, publicPEM(t, k.ed), privatePEM(t, k.p256)),
		"ES384": fileIssuer([]string{"ES384"}, privatePEM(t, k.p384)), "ES512": fileIssuer([]string{"ES512"}, privatePEM(t, k.p521)), "EdDSA": fileIssuer([]string{"EdDSA"}, privatePEM(t, k.ed)),
	} {
		tok, err := Sign(cfg, map[string]any{"sub": "bob", "scope": "a b", "tenant": "x"}, time.Now())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		m := single(t, cfg).passes(t, name, tok)
		if scope, _ := m.Client.Claims.Claim("scope"); scope != "a b" || m.Client.Subject != "bob" {
			t.Errorf("%s: %v", name, m.Client)
		}
		head, _ := strict.DecodeString(tok[:strings.IndexByte(tok, '.')])
		if !strings.Contains(string(head), `"alg":"`+name+`"`) {
			t.Errorf("%s: header %s", name, head)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	now := time.Now()
	fine := map[string]any{"sub": "a"}
	for name, c := range map[string]struct {
		cfg    IssuerConfig
		claims map[string]any
	}{
		"public key only": {fileIssuer([]string{"RS256"}, publicPEM(t, testKeys().rsa)), fine},
		"URL":             {urlIssuer("https://id.test/", "RS256"), fine},
		"no subject":      {secretIssuer(), nil},
		"no JSON":         {secretIssuer(), map[string]any{"sub": "a", "f": func() {}}},
		"no file":         {fileIssuer([]string{"RS256"}, "/no/such/file"), fine},
		"other algorithm": {fileIssuer([]string{"RS256"}, privatePEM(t, testKeys().p256)), fine},
	} {
		if tok, err := Sign(c.cfg, c.claims, now); err == nil || tok != "" {
			t.Errorf("%s: %q", name, tok)
		}
	}
}

func TestForesee(t *testing.T) {
	now := time.Now()
	for want, claims := range map[string]map[string]any{
		"": {"sub": "a"},
		"the token lives longer than max_lifetime": {"sub": "a", "exp": now.Add(25 * time.Hour).Unix()},
		"the token has expired":                    {"sub": "a", "iat": now.Unix() - 600, "exp": now.Unix() - 60},
		"aud holds none of the audiences":          {"sub": "a", "aud": "other"},
		"the token is longer than 8192 bytes":      {"sub": strings.Repeat("a", 9000)},
	} {
		tok, err := Sign(secretIssuer(), claims, now)
		if err != nil {
			t.Fatal(err)
		}
		if err := Foresee(secretIssuer(), tok, now); err == nil && want != "" || err != nil && err.Error() != want {
			t.Errorf("%v, wanted %q", err, want)
		}
	}
}
