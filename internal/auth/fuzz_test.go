package auth

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// FuzzToken: whatever passes here passes the library's own parser with the same key, algorithm, issuer and audience; and
// two readers of one token see the same subject. What the library takes and is refused here is refused for a reason of
// the list stricter.
func FuzzToken(f *testing.F) {
	a := authority(f, map[string]IssuerConfig{"main": secretIssuer()})
	trusted := []*issuer{a.issuers["main"]}
	parser := libraryParser("HS256")
	key := func(*jwt.Token) (any, error) { return []byte(testSecret), nil }
	f.Add(`{"alg":"HS256","typ":"JWT"}`, string(text(good())), "")
	f.Add(`{"alg":"HS256","kid":"x"}`, string(text(good("nbf", 5, "scope", "a b", "aud", []string{"api", "x"}))), "")
	f.Add(`{"alg":"HS256"}`, `{"iss":"https://id.test/","aud":"api","sub":"a","exp":1e11,"nbf":1.5}`, "")
	f.Add(`{"alg":"HS256"}`, `{"iss":"https:\/\/id.test/","\u0061ud":["api"],"sub":"ſ","exp":99999999999,"EXP":1,"x":[[],{}]}`, "")
	f.Add(`{"alg":"none"}`, `{}`, "a.b.c")
	f.Add("", "", hs())
	for _, d := range differences() {
		f.Add("", "", d.token)
	}
	f.Fuzz(func(t *testing.T, head, body, raw string) {
		if raw == "" {
			raw = mint("HS256", []byte(testSecret), head, body)
		}
		now := time.Now()
		v := a.verify(trusted, []byte(raw), &asker{now: now})
		again := a.verify(trusted, []byte(raw), &asker{now: now})
		if v.reason != again.reason {
			t.Fatalf("%v, then %v", v.reason, again.reason)
		}
		parsed, err := parser.ParseWithClaims(raw, jwt.MapClaims{}, key)
		if v.reason != accepted {
			if err == nil && !stricter[v.reason] {
				t.Fatalf("the library takes it, here it is refused: %v", v.reason)
			}
			return
		}
		if err != nil {
			t.Fatalf("passes here, but: %v", err)
		}
		if sub, _ := parsed.Claims.GetSubject(); sub != v.entry.client.Subject {
			t.Fatalf("subjects %q and %q", sub, v.entry.client.Subject)
		}
	})
}

// FuzzHeader: what passes has an algorithm that the standard library reads as well, and none of the refused members.
func FuzzHeader(f *testing.F) {
	for _, seed := range []string{`{"alg":"HS256"}`, `{"alg":"ES256","kid":"a","typ":"JWT"}`, `{"alg":"HS256","crit":null}`, `{"\u0061lg":"HS256","x":[{}]}`, "null", "[]"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		h, reason := parseHeader(text)
		if (h == nil) == (reason == accepted) {
			t.Fatal("neither a header nor a reason")
		}
		if h == nil {
			return
		}
		var all map[string]any
		if err := json.Unmarshal(text, &all); err != nil {
			t.Fatal(err)
		}
		if alg := all["alg"]; alg != h.algorithm.Name && alg != "Ed25519" {
			t.Fatalf("alg %v, not %s", alg, h.algorithm.Name)
		}
		for _, name := range []string{"crit", "b64", "zip", "enc", "jwk", "jku", "x5u", "x5c"} {
			if _, there := all[name]; there {
				t.Fatalf("%s passes", name)
			}
		}
		if kid, _ := all["kid"].(string); kid != h.kid {
			t.Fatalf("kid %q, not %q", h.kid, kid)
		}
	})
}

// FuzzCredential: the scheme is found as by a plain reading, and what is left is a part of the field.
func FuzzCredential(f *testing.F) {
	for _, seed := range []string{"Bearer a", "bearer  a", "Bearer", "Basic x", "Bearer a, Bearer b", "", "Bearerx"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, field string) {
		got, reason := after("bearer", []byte(field))
		scheme, rest, _ := strings.Cut(field, " ")
		if reason == OtherScheme != (strings.ToLower(scheme) != "bearer" || len(scheme) != 6) {
			t.Fatalf("%q: %v", field, reason)
		}
		if reason == accepted && (string(got) != strings.TrimLeft(rest, " ") || len(got) == 0) {
			t.Fatalf("%q: %q", field, got)
		}
	})
}
