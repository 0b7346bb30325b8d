package auth

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Cases 1, 2, 3, 5, 75 and their answers.
func TestCredentials(t *testing.T) {
	r := single(t, secretIssuer())
	tok := hs()
	for field, want := range map[string]struct {
		reason    Reason
		kind      pipeline.Refusal
		challenge string
	}{
		"":                                  {NoCredential, pipeline.Unauthenticated, plain},
		"Bearer":                            {BadCredential, pipeline.BadRequest, `Bearer realm="oncegate", error="invalid_request"`},
		"bearer  ":                          {BadCredential, pipeline.BadRequest, `Bearer realm="oncegate", error="invalid_request"`},
		"Bearer " + tok + ", Bearer " + tok: {BadCredential, pipeline.BadRequest, `Bearer realm="oncegate", error="invalid_request"`},
		"Basic YTpi":                        {OtherScheme, pipeline.Unauthenticated, plain},
		"DPoP " + tok:                       {OtherScheme, pipeline.Unauthenticated, plain},
		"Bearer" + tok:                      {OtherScheme, pipeline.Unauthenticated, plain},
		"Bearer\t" + tok:                    {OtherScheme, pipeline.Unauthenticated, plain},
		"Bear":                              {OtherScheme, pipeline.Unauthenticated, plain},
		" ":                                 {OtherScheme, pipeline.Unauthenticated, plain},
		"Bearer x":                          {Malformed, pipeline.Unauthenticated, invalid},
	} {
		m, err := r.ask(field)
		if err != want.reason || pipeline.KindOf(err) != want.kind || string(m.Sent.Header("WWW-Authenticate")) != want.challenge {
			t.Errorf("%.20q: %v %q", field, err, m.Sent.Header("WWW-Authenticate"))
		}
	}
	if r.reached != 0 {
		t.Error("a bad credential passed")
	}
	for _, scheme := range []string{"Bearer ", "bearer ", "BEARER ", "bEaReR  "} {
		if _, err := r.ask(scheme + tok); err != nil {
			t.Errorf("%q: %v", scheme, err)
		}
	}
	m := pipeline.NewMemory("OPTIONS", "/orders")
	if err := r.handler.Serve(context.Background(), &m.Exchange); err != NoCredential {
		t.Errorf("OPTIONS: %v", err)
	}
}

// Case 53.
func TestOptional(t *testing.T) {
	a := authority(t, map[string]IssuerConfig{"main": secretIssuer()})
	r := newRoute(t, a, Config{Issuers: []string{"main"}, Optional: true, Require: Require{Scopes: []string{"x"}}}, ForwardConfig{})
	m, err := r.ask("")
	if err != nil || !m.Client.Anonymous() || r.reached != 1 {
		t.Errorf("nothing sent: %v", err)
	}
	for field, want := range map[string]Reason{"Bearer x": Malformed, "Bearer": BadCredential, "Basic x": OtherScheme, "Bearer " + hs(): MissingScope} {
		if _, err := r.ask(field); err != want {
			t.Errorf("%.10q: %v", field, err)
		}
	}
	if _, err := r.ask("Bearer " + hs("scope", "x")); err != nil || r.reached != 2 {
		t.Error(err)
	}
}

// Cases 49 and 50.
func TestScopes(t *testing.T) {
	a := authority(t, map[string]IssuerConfig{"main": secretIssuer()})
	r := newRoute(t, a, Config{Issuers: []string{"main"}, Require: Require{Scopes: []string{"orders:read", "orders:write"}}}, ForwardConfig{})
	for _, c := range []struct {
		missing string
		claims  []any
	}{
		{"orders:read orders:write", nil},
		{"orders:write", []any{"scope", "orders:read"}},
		{"orders:read", []any{"scp", []string{"orders:write"}}},
		{"orders:read orders:write", []any{"scope", "orders:read_all ORDERS:READ orders orders:read\torders:write"}},
		{"orders:read", []any{"scope", []string{"orders:read_all", "orders:write"}}},
		{"orders:read orders:write", []any{"scope", []string{"orders:read orders:write"}}},
		{"orders:read orders:write", []any{"scope", []any{"orders:read", "orders:write", 5}}},
		{"orders:read orders:write", []any{"scope", object{"orders:read": true}}},
		{"orders:read orders:write", []any{"scope", 5, "scp", "orders:read orders:write"}},
		{"orders:read orders:write", []any{"scp", []any{"orders:read", 5}}},
		{"", []any{"scope", "x orders:write  orders:read"}},
		{"", []any{"scope", []string{"orders:write", "x", "orders:read"}}},
		{"", []any{"scp", "orders:write orders:read"}},
		{"", []any{"scp", []string{"orders:write", "orders:read"}}},
	} {
		m, err := r.ask("Bearer " + hs(c.claims...))
		if c.missing == "" {
			if err != nil {
				t.Errorf("%v: %v", c.claims, err)
			}
			continue
		}
		want := `Bearer realm="oncegate", error="insufficient_scope", scope="` + c.missing + `"`
		if err != MissingScope || pipeline.KindOf(err) != pipeline.Forbidden || m.Problem.Scopes != c.missing ||
			string(m.Sent.Header("WWW-Authenticate")) != want || !m.Client.Anonymous() {
			t.Errorf("%v: %v %q %q", c.claims, err, m.Problem.Scopes, m.Sent.Header("WWW-Authenticate"))
		}
	}
}

func TestManyScopes(t *testing.T) {
	a := authority(t, map[string]IssuerConfig{"main": secretIssuer()})
	all := strings.Fields("a b c d e f g h")
	r := newRoute(t, a, Config{Issuers: []string{"main"}, Require: Require{Scopes: all}}, ForwardConfig{})
	if m, err := r.ask("Bearer " + hs("scope", "a b c e f g h")); err != MissingScope || m.Problem.Scopes != "d" {
		t.Errorf("%v %q", err, m.Problem.Scopes)
	}
	if _, err := r.ask("Bearer " + hs("scope", "h g f e d c b a")); err != nil {
		t.Error(err)
	}
}

// Case 51.
func TestRequiredClaims(t *testing.T) {
	a := authority(t, map[string]IssuerConfig{"main": secretIssuer()})
	r := newRoute(t, a, Config{Issuers: []string{"main"}, Require: Require{Claims: map[string]ClaimMatch{"tenant": {In: OneOrMany{"a", "b"}}, "admin": {In: OneOrMany{"true"}}}}}, ForwardConfig{})
	for _, c := range [][]any{
		nil, {"tenant", "a"}, {"admin", true}, {"tenant", "c", "admin", true}, {"tenant", "A", "admin", true},
		{"tenant", []any{"c", []any{"a"}, nil}, "admin", true}, {"tenant", object{"a": "a"}, "admin", true}, {"tenant", "ab", "admin", true}, {"TENANT", "a", "admin", true},
	} {
		m, err := r.ask("Bearer " + hs(c...))
		if err != MissingClaim || string(m.Sent.Header("WWW-Authenticate")) != `Bearer realm="oncegate", error="insufficient_scope"` {
			t.Errorf("%v: %v", c, err)
		}
	}
	for _, c := range [][]any{{"tenant", "a", "admin", true}, {"tenant", []any{"x", "b"}, "admin", "true"}} {
		if _, err := r.ask("Bearer " + hs(c...)); err != nil {
			t.Errorf("%v: %v", c, err)
		}
	}
}

// Cases 42 and 74: what one route takes is nothing to another.
func TestIssuersStayApart(t *testing.T) {
	other := secretIssuer()
	other.Audiences = []string{"billing"}
	foreign := secretIssuer()
	foreign.Issuer = "https://b.test/"
	a := authority(t, map[string]IssuerConfig{"main": secretIssuer(), "billing": other, "b": foreign})
	main := newRoute(t, a, Config{Issuers: []string{"main"}}, ForwardConfig{})
	tok := hs()
	for range 2 {
		main.passes(t, "main", tok)
		newRoute(t, a, Config{Issuers: []string{"billing"}}, ForwardConfig{}).refused(t, "other audience", tok, WrongAudience)
		newRoute(t, a, Config{Issuers: []string{"b"}}, ForwardConfig{}).refused(t, "other issuer", tok, WrongIssuer)
	}
	newRoute(t, a, Config{Issuers: []string{"b", "main"}}, ForwardConfig{}).passes(t, "both", tok)
	two := newRoute(t, a, Config{Issuers: []string{"b", "billing"}}, ForwardConfig{})
	two.refused(t, "neither", hs("iss", "https://c.test/"), UnknownIssuer)
	two.refused(t, "no iss", hs("iss", nil), UnknownIssuer)
	two.refused(t, "iss is a list", hs("iss", []string{testIssuer}), UnknownIssuer)
	for _, c := range []Config{{Issuers: []string{"main", "billing"}}, {Issuers: []string{"nobody"}}, {}} {
		if _, err := New(c, ForwardConfig{}, a); err == nil {
			t.Errorf("%v compiles", c)
		}
	}
}

func outgoing(m *pipeline.Memory) map[string]string {
	all := map[string]string{}
	for _, f := range m.Outgoing.Fields() {
		all[f.Name] = "removed"
		if f.Value != nil {
			all[f.Name] = "=" + string(f.Value)
		}
	}
	return all
}

// Case 71: upstream sees our value or none.
func TestForward(t *testing.T) {
	a := authority(t, map[string]IssuerConfig{"main": secretIssuer()})
	fwd := ForwardConfig{Claims: map[string]string{"X-User-Id": "sub", "X-Plan": "plan"}, Authorization: true}
	r := newRoute(t, a, Config{Issuers: []string{"main"}, Optional: true}, fwd)
	for _, c := range []struct {
		plan any
		want string
	}{
		{nil, "removed"}, {"gold", "=gold"}, {"go ld", "=go ld"}, {"gö", "removed"}, {"a\r\nX: y", "removed"}, {" a", "removed"}, {"", "removed"},
		{7, "=7"}, {true, "=true"}, {[]string{"a", "b"}, `=["a","b"]`}, {strings.Repeat("x", 4097), "removed"}, {strings.Repeat("x", 4096), "=" + strings.Repeat("x", 4096)},
	} {
		m, err := r.ask("Bearer " + hs("plan", c.plan))
		if got := outgoing(m); err != nil || got["X-User-Id"] != "=alice" || got["X-Plan"] != c.want || !m.Outgoing.Authorization {
			t.Errorf("%.10v: %v %v", c.plan, err, got)
		}
	}
	m, _ := r.ask("")
	if got := outgoing(m); got["X-User-Id"] != "removed" || got["X-Plan"] != "removed" {
		t.Errorf("anonymous: %v", got)
	}
	open := newRoute(t, a, Config{None: true}, ForwardConfig{Claims: fwd.Claims})
	m, err := open.ask("Bearer " + hs())
	if got := outgoing(m); err != nil || got["X-User-Id"] != "removed" || m.Outgoing.Authorization || !m.Client.Anonymous() {
		t.Errorf("none: %v %v", err, got)
	}
	if layer, err := New(Config{None: true}, ForwardConfig{}, a); layer != nil || err != nil {
		t.Error("none without forward needs no layer")
	}
	if got := Guarded(fwd, ForwardConfig{Claims: map[string]string{"x-plan": "a", "B": "c"}}); strings.Join(got, " ") != "b x-plan x-user-id" {
		t.Error(got)
	}
}

func TestTooManyHeadersFailClosed(t *testing.T) {
	fwd := ForwardConfig{Claims: map[string]string{}}
	for i := range 25 {
		fwd.Claims["X-"+string(rune('A'+i))] = "sub"
	}
	r := newRoute(t, authority(t, map[string]IssuerConfig{"main": secretIssuer()}), Config{Issuers: []string{"main"}}, fwd)
	if _, err := r.ask("Bearer " + hs()); err != TooManyHeaders || r.reached != 0 {
		t.Error(err)
	}
}

type note struct{ lines []string }

func (n *note) Authenticated(issuer string, cached bool) {
	n.lines = append(n.lines, issuer+map[bool]string{true: " cached", false: " new"}[cached])
}
func (n *note) Refused(issuer, reason string)      { n.lines = append(n.lines, issuer+" "+reason) }
func (n *note) KeysFetched(issuer string, _ error) { n.lines = append(n.lines, issuer+" keys") }

func TestRecorder(t *testing.T) {
	n := &note{}
	a, err := NewAuthority(map[string]IssuerConfig{"main": secretIssuer()}, nil, Deps{Recorder: n})
	if err != nil {
		t.Fatal(err)
	}
	r := newRoute(t, a, Config{Issuers: []string{"main"}}, ForwardConfig{})
	tok, old := hs(), hs("exp", 5)
	for _, field := range []string{"", "Bearer " + tok, "Bearer " + tok, "Bearer " + old} {
		_, _ = r.ask(field)
	}
	if got := strings.Join(n.lines, ", "); got != " no_credential, main new, main cached, main expired" {
		t.Error(got)
	}
}

func TestReasons(t *testing.T) {
	words := map[string]bool{}
	for r := NoCredential; r < reasons; r++ {
		if r.Word() == "" || words[r.Word()] || !errors.Is(r, r.Kind()) || pipeline.KindOf(r) != r.Kind() || !strings.HasPrefix(r.Error(), r.Kind().Slug()+": ") {
			t.Errorf("reason %d: %q %v", r, r.Word(), r)
		}
		words[r.Word()] = true
	}
}

func TestDecide(t *testing.T) {
	a := authority(t, map[string]IssuerConfig{"main": secretIssuer()})
	cfg := Config{Issuers: []string{"main"}, Require: Require{Scopes: []string{"w"}, Claims: map[string]ClaimMatch{"t": {In: OneOrMany{"a"}}}}}
	for field, want := range map[string]string{
		"":                                       "refuses with 401 unauthenticated: no credential",
		"Bearer x":                               "malformed",
		"Bearer " + hs():                         "refuses with 403 forbidden: a claim does not have a demanded value: claim t is a; missing scopes: w",
		"Bearer " + hs("scope", "w"):             "claim t is a",
		"Bearer " + hs("t", "a"):                 "a scope is missing: w",
		"Bearer " + hs("t", "a", "scope", "w x"): `passes as subject "alice" of issuer main`,
	} {
		var sent []byte
		if field != "" {
			sent = []byte(field)
		}
		words, err := Decide(cfg, a, sent)
		if !strings.Contains(words, want) || (err == nil) != strings.HasPrefix(words, "passes") || strings.Contains(words, "missing scopes") != strings.Contains(want, "missing scopes") {
			t.Errorf("%.12q: %q %v", field, words, err)
		}
	}
	lines := strings.Join(Explain(cfg, ForwardConfig{Claims: map[string]string{"X-U": "sub"}, Authorization: true}), "\n")
	for _, want := range []string{"issuer main", "401", "scopes w", "claim t is a", "header X-U", "Authorization goes upstream"} {
		if !strings.Contains(lines, want) {
			t.Errorf("%q lacks %q", lines, want)
		}
	}
}
