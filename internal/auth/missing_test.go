package auth

import (
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// Scopes that are missing are named whatever else fails; what else fails is not.
func TestMissingScopesAreAlwaysNamed(t *testing.T) {
	row := keyRow("acme", "right")
	row.Scopes = []string{"read"}
	a, err := NewAuthority(map[string]IssuerConfig{"main": secretIssuer()}, nil, Deps{
		APIKeys: partners(row), Compile: func(string) (Expression, error) { return saying{}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	for name, c := range map[string]struct {
		reason  Reason
		require Require
	}{
		"claim":      {MissingClaim, Require{Claims: map[string]ClaimMatch{"tenant": {In: OneOrMany{"a", "b"}}}}},
		"prefix":     {MissingClaim, Require{Claims: map[string]ClaimMatch{"tenant": {Prefix: OneOrMany{"a"}}}}},
		"role":       {MissingRole, Require{Roles: &RoleRule{Claim: "roles", Any: []string{"x"}}}},
		"address":    {WrongAddress, Require{CIDR: []string{"10.0.0.0/8"}}},
		"method":     {WrongMethod, Require{Methods: []string{"POST"}}},
		"expression": {RuleDenies, Require{Expression: "false"}},
	} {
		asks := func(missing, field, value string, change func(*Require)) {
			t.Helper()
			require, word := c.require, map[string]string{"Authorization": "Bearer", "X-Api-Key": "ApiKey"}[field]
			change(&require)
			cfg := Config{Issuers: []string{"main"}, APIKeys: []string{"partners"}, Require: require}
			r := newRoute(t, a, cfg, ForwardConfig{})
			m, err := r.send(field, value)
			want := word + ` realm="oncegate", error="insufficient_scope"`
			if missing != "" {
				want += `, scope="` + missing + `"`
			}
			turnedAway(t, name, m, err, c.reason, want)
			if m.Problem.Scopes != missing || r.reached != 0 {
				t.Errorf("%s: scopes %q, wanted %q", name, m.Problem.Scopes, missing)
			}
			words, verdict := Judge(cfg, a, &pipeline.NewMemory("GET", "/orders").WithHeader(field, value).Exchange)
			if verdict != c.reason || strings.HasSuffix(words, "; missing scopes: "+missing) != (missing != "") {
				t.Errorf("%s: explain says %q, missing are %q", name, words, missing)
			}
		}
		all := func(r *Require) { r.Scopes = []string{"read", "write"} }
		some := func(r *Require) { r.AnyScope = []string{"gold", "silver"} }
		both := func(r *Require) { all(r); some(r) }
		many := func(r *Require) { r.Scopes, r.AnyScope = strings.Fields("a b c d e f g"), []string{"gold", "a"} }
		token := func(scope string) string { return "Bearer " + hs("scope", scope, "tenant", "c") }
		asks("read write", "Authorization", token("x"), all)
		asks("write", "Authorization", token("read"), all)
		asks("", "Authorization", token("read write"), all)
		asks("gold silver", "Authorization", token("read"), some)
		asks("", "Authorization", token("gold"), some)
		asks("write gold silver", "Authorization", token("read"), both)
		asks("gold silver", "Authorization", token("read write"), both)
		asks("a b d e f g gold", "Authorization", token("c"), many)
		asks("write", "X-Api-Key", "right", all)
	}
}

// A login that is too weak stays 401, and the client learns in one go what its next token needs.
func TestWeakLoginNamesMissingScopes(t *testing.T) {
	a := keyed(t, partners(keyRow("acme", "right")))
	r := newRoute(t, a, Config{Issuers: []string{"main"}, APIKeys: []string{"partners"},
		Require: Require{Scopes: []string{"read"}, MaxAge: units.Duration(time.Minute)}}, ForwardConfig{})
	const weak = `Bearer realm="oncegate", error="insufficient_user_authentication", max_age="60"`
	for range 2 {
		m, err := r.ask("Bearer " + hs())
		if turnedAway(t, "both", m, err, WeakLogin, weak+`, scope="read"`); m.Problem.Scopes != "read" {
			t.Errorf("scopes %q", m.Problem.Scopes)
		}
		m, err = r.ask("Bearer " + hs("scope", "read"))
		turnedAway(t, "login alone", m, err, WeakLogin, weak)
	}
	room := append(make([]byte, 0, 99), weak...)
	read, write := newLack([]string{"read"}), newLack([]string{"write"})
	if first, second := read.with(room), write.with(room); string(first) != weak+`, scope="read"` || string(second) != weak+`, scope="write"` {
		t.Errorf("two answers share bytes: %s, %s", first, second)
	}
	m, err := r.send("X-Api-Key", "right")
	turnedAway(t, "a key has no login", m, err, WeakLogin, keyPlain)
}

// The log gets the name of a client that is known and may not; nobody else sees that client, and nobody is named who was not
// verified.
func TestRefusedClientIsForTheLog(t *testing.T) {
	a := keyed(t, partners(keyRow("acme", "right")))
	r := newRoute(t, a, Config{Issuers: []string{"main"}, APIKeys: []string{"partners"}, Optional: true,
		Require: Require{Scopes: []string{"read"}, Claims: map[string]ClaimMatch{"tenant": {In: OneOrMany{"a"}}}, MaxAge: units.Duration(time.Minute)}}, ForwardConfig{})
	now := time.Now().Unix()
	for name, c := range map[string]struct{ field, value, want string }{
		"no scope":      {"Authorization", "Bearer " + hs("tenant", "a", "auth_time", now), "alice"},
		"no claim":      {"Authorization", "Bearer " + hs("scope", "read", "auth_time", now), "alice"},
		"key":           {"X-Api-Key", "right", "acme"},
		"passes":        {"Authorization", "Bearer " + hs("tenant", "a", "scope", "read", "auth_time", now), ""},
		"weak login":    {"Authorization", "Bearer " + hs("tenant", "a", "scope", "read"), ""},
		"expired":       {"Authorization", "Bearer " + hs("exp", 5), ""},
		"unknown key":   {"X-Api-Key", "wrong", ""},
		"no credential": {"X-Other", "x", ""},
	} {
		m := pipeline.NewMemory("GET", "/orders").WithHeader(c.field, c.value)
		m.Refused = "somebody before"
		err := r.handler.Serve(t.Context(), &m.Exchange)
		if m.Refused != c.want || (c.want != "") != (pipeline.KindOf(err) == pipeline.Forbidden) || err != nil && (!m.Client.Anonymous() || m.Client != pipeline.Client{}) {
			t.Errorf("%s: %v, the log names %q, wanted %q; client %v", name, err, m.Refused, c.want, m.Client)
		}
	}
	if r.reached != 2 {
		t.Errorf("%d requests passed", r.reached)
	}
}
