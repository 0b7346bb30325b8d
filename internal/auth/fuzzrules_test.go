package auth

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// FuzzPath: a pointer written by RFC 6901 leads where it says, whatever the names are; any other path has no empty part.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{"a", "a.b", "/a/b", "https://x/y.z", "/~0~1", "~", "..", "/", ""} {
		f.Add(seed, "b")
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		escape := strings.NewReplacer("~", "~0", "/", "~1")
		path, err := parsePath("/" + escape.Replace(first) + "/" + escape.Replace(second))
		if err != nil || len(path) != 2 || path[0] != first || path[1] != second {
			t.Fatalf("%q, %q: %q %v", first, second, path, err)
		}
		plain, err := parsePath(first)
		if err == nil && !strings.HasPrefix(first, "/") && strings.Join(plain, ".") != first {
			t.Fatalf("%q: %q", first, plain)
		}
	})
}

// FuzzNested: a role rule finds exactly what the standard library finds at the same place.
func FuzzNested(f *testing.F) {
	for _, seed := range []string{`{"a":{"b":["x"]}}`, `{"a":{"b":"x"}}`, `{"a":{"b":["x",1]}}`, `{"a":[{"b":"x"}]}`, `{"\u0061":{"b":["\u0078"]}}`, `{"a":{"b":{"x":1}}}`, `{ "a" : { "c":1, "b" : [ "y" , "x" ] } , "z": [[[]]] }`} {
		f.Add(seed)
	}
	rule := roleRule{[]string{"a", "b"}, []string{"x"}, false}
	f.Fuzz(func(t *testing.T, text string) {
		c, ok := parseClaims(scratches.Get().(*scratch), []byte(text))
		if !ok {
			return
		}
		var all map[string]any
		if err := json.Unmarshal([]byte(text), &all); err != nil {
			t.Fatalf("taken here, but: %v", err)
		}
		inner, _ := all["a"].(map[string]any)
		want := false
		switch v := inner["b"].(type) {
		case string:
			want = v == "x"
		case []any:
			words := true
			for _, one := range v {
				word, isText := one.(string)
				words = words && isText
				want = want || word == "x"
			}
			want = want && words
		}
		if got := rule.matches(nil, c); got != want && len(inner) <= maxMembers {
			t.Fatalf("%s: %v, want %v", text, got, want)
		}
	})
}

// FuzzNetwork: what is taken is exactly one network, as the standard library writes it.
func FuzzNetwork(f *testing.F) {
	for _, seed := range []string{"10.0.0.0/8", "::1", "2001:db8::/32", "::ffff:1.2.3.4", "1.2.3.4/0", "fe80::1%a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		networks, err := parseNetworks([]string{text})
		if err != nil {
			return
		}
		if n := networks[0]; len(networks) != 1 || n != n.Masked() || !within(networks, n.Addr()) || n.Bits() > 0 && within(networks, netip.Addr{}) {
			t.Fatalf("%q: %v", text, networks)
		}
	})
}

// FuzzRevocation: what is taken names an issuer's tokens as the text says.
func FuzzRevocation(f *testing.F) {
	for _, seed := range []string{`{"issuer":"main","jti":"1"}`, `{"issuer":"main","sub":"a","before":1e9}`, `{"issuer":"main","sub":"a","before":"2027-01-31T08:00:00Z"}`, "null", "{}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := ParseRevocation(text)
		if err != nil {
			return
		}
		var all map[string]any
		if err := json.Unmarshal(text, &all); err != nil && !jsontext.Value(text).IsValid() {
			t.Fatal(err)
		}
		if jti, _ := all["jti"].(string); jti != r.JTI && len(all) > 0 {
			t.Fatalf("jti %q, not %q", r.JTI, jti)
		}
		if r.Before.IsZero() != (all["before"] == nil) && r.Before.Unix() > 0 {
			t.Fatalf("before %v of %s", r.Before, text)
		}
	})
}
