package auth

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/auth/expression"
	"github.com/oncegate/oncegate/internal/pipeline"
)

func TestValues(t *testing.T) {
	c, ok := parseClaims(scratches.Get().(*scratch), []byte(`{"s":"a\u0062","t":true,"f":false,"n":null,"i":-5,"u":18446744073709551615,"x":18446744073709551616,"d":2.50,"e":1e3,"inf":1e999,
		"words":["a","b"],"mixed":[1, "x", null, [2.5]],"o":{"a":{"b":[1]}},"deep":{"n":1e999},"none":[]}`))
	if !ok {
		t.Fatal("not read")
	}
	for name, want := range map[string]any{"s": "ab", "t": true, "f": false, "i": int64(-5), "u": uint64(18446744073709551615), "d": 2.5, "e": 1000.0, "words": []string{"a", "b"},
		"mixed": []any{int64(1), "x", nil, []any{2.5}}, "o": map[string]any{"a": map[string]any{"b": []any{int64(1)}}}} {
		if got, ok := c.Value(name); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v, want %#v", name, got, want)
		}
	}
	for _, name := range []string{"n", "absent", "S"} {
		if got, ok := c.Value(name); ok {
			t.Errorf("%s: %v", name, got)
		}
	}
	for _, name := range []string{"x", "inf", "deep"} {
		if got, _ := c.Value(name); !errors.Is(got.(error), errNumber) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func celAuthority(t testing.TB) *Authority {
	t.Helper()
	c := expression.New()
	a, err := NewAuthority(map[string]IssuerConfig{"main": secretIssuer()}, nil, Deps{Compile: func(text string) (Expression, error) { return c.Compile(text) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// Case 51 with the real compiler: 403, no rule text, nobody identified.
func TestCase51CEL(t *testing.T) {
	a := celAuthority(t)
	for text, c := range map[string]struct {
		claims []any
		want   Reason
	}{
		`claims.tenant == "acme" && client.subject == "alice" && client.issuer == "main"`: {[]any{"tenant", "acme"}, accepted},
		`claims.tenant == "acme"`:                               {[]any{"tenant", "other"}, RuleDenies},
		`claims.tenant == "acme" && true`:                       {nil, RuleDenies},
		`claims.level > 4`:                                      {[]any{"level", "5"}, RuleDenies},
		`claims.level > 3`:                                      {[]any{"level", 5}, accepted},
		`claims.id == 9007199254740993`:                         {[]any{"id", int64(9007199254740992)}, RuleDenies},
		`"ops" in claims.realm.roles`:                           {[]any{"realm", object{"roles": []string{"ops"}}}, accepted},
		`claims.groups.exists(g, g.name == "x" && g.level > 1)`: {[]any{"groups", []object{{"name": "x", "level": 2}}}, accepted},
		`claims.tenant != "x"`:                                  {[]any{"tenant", nil}, RuleDenies},
	} {
		r := newRoute(t, a, Config{Issuers: []string{"main"}, Require: Require{Expression: text}}, ForwardConfig{})
		m, err := r.ask("Bearer " + hs(c.claims...))
		if c.want == accepted && (err != nil || m.Client.Anonymous()) || c.want != accepted && (err != c.want || !m.Client.Anonymous() || r.reached != 0) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Who explains a request learns what the rule gave, and why.
func TestJudgeExpression(t *testing.T) {
	a := celAuthority(t)
	cfg := Config{Issuers: []string{"main"}, Require: Require{Expression: `claims.tenant == "acme" && claims.level > 4`}}
	for want, claims := range map[string][]any{
		`the route's expression is not true: expression claims.tenant == "acme" && claims.level > 4 is true; it is false: claims.level > 4 is false`: {"tenant", "acme", "level", 1},
		`; it fails: no such key: level`: {"tenant", "acme"},
	} {
		m := pipeline.NewMemory("GET", "/").WithHeader("Authorization", "Bearer "+hs(claims...))
		words, err := Judge(cfg, a, &m.Exchange)
		if err != RuleDenies || !strings.Contains(words, want) {
			t.Errorf("%q %v, want %q", words, err, want)
		}
		if !m.Client.Anonymous() {
			t.Error("the client stays behind")
		}
	}
}

func BenchmarkExpression(b *testing.B) {
	a := celAuthority(b)
	for name, require := range map[string]Require{"none": {}, "built-in": {Claims: map[string]ClaimMatch{"tenant": {In: OneOrMany{"acme"}}}}, "expression": {Expression: `claims.tenant == "acme"`}} {
		b.Run(name, func(b *testing.B) {
			r := newRoute(b, a, Config{Issuers: []string{"main"}, Require: require}, ForwardConfig{})
			m := pipeline.NewMemory("GET", "/").WithHeader("Authorization", "Bearer "+hs("tenant", "acme"))
			b.ReportAllocs()
			for b.Loop() {
				if err := r.handler.Serve(b.Context(), &m.Exchange); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
