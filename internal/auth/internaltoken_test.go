package auth

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/oncegate/oncegate/internal/auth/signing"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

func tokenSigner(t testing.TB) *signing.Signer {
	t.Helper()
	s, err := signing.New(&signing.Config{Issuer: "https://gw.test", Keys: []string{privatePEM(t, testKeys().ed)}, TTL: units.Duration(time.Minute)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// signed is a route with auth and the token's layer, as the gateway has them.
func signed(t testing.TB, a *Authority, cfg Config, fwd ForwardConfig) *route {
	t.Helper()
	outer, err := New(cfg, fwd, a)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := NewToken(fwd, "", tokenSigner(t))
	if err != nil {
		t.Fatal(err)
	}
	r := &route{}
	end := pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange) error { r.reached++; return nil })
	r.handler = pipeline.Compose(end, outer, inner)
	return r
}

func readToken(t testing.TB, text string) jwt.MapClaims {
	t.Helper()
	claims := jwt.MapClaims{}
	if _, err := jwt.NewParser(jwt.WithValidMethods([]string{"EdDSA"})).ParseWithClaims(text, claims, func(*jwt.Token) (any, error) { return testKeys().ed.Public(), nil }); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return claims
}

func TestInternalToken(t *testing.T) {
	a := authority(t, map[string]IssuerConfig{"main": secretIssuer()})
	cfg := Config{Issuers: []string{"main"}}
	tok := hs("tenant", "acme", "roles", []string{"a"}, "scope", "r w", "azp", "app", "gone", "x")
	r := signed(t, a, cfg, ForwardConfig{Token: &TokenConfig{Audience: "orders", Claims: []string{"tenant", "roles", "level"}}})
	m, err := r.ask("Bearer " + tok)
	if err != nil || r.reached != 1 {
		t.Fatal(err)
	}
	field, bearer := strings.CutPrefix(outgoing(m)["Authorization"], "=Bearer ")
	if !bearer || strings.Contains(field, tok) || m.Outgoing.Authorization {
		t.Fatalf("%q", field)
	}
	c := readToken(t, field)
	if c["aud"] != "orders" || c["sub"] != "alice" || c["iss"] != "https://gw.test" || c["scope"] != "r w" || c["tenant"] != "acme" || c["client_id"] != "app" || c["client_issuer"] != "main" ||
		c["client_identity"] != Identity(testIssuer, "alice") || len(c["roles"].([]any)) != 1 || c["gone"] != nil || c["level"] != nil {
		t.Error(c)
	}
	other := signed(t, a, cfg, ForwardConfig{Token: &TokenConfig{Audience: "orders", Header: "X-Internal-Token"}, Authorization: true})
	m, err = other.ask("Bearer " + tok)
	if got := outgoing(m); err != nil || !strings.HasPrefix(got["X-Internal-Token"], "=eyJ") || got["Authorization"] != "" || !m.Outgoing.Authorization {
		t.Error(got, err)
	}
}

func TestInternalTokenOfAPIKeys(t *testing.T) {
	row := keyRow("acme", "acme-key")
	row.Claims = map[string]string{"plan": "gold"}
	r := signed(t, keyed(t, partners(row)), Config{APIKeys: []string{"partners"}}, ForwardConfig{Token: &TokenConfig{Audience: "orders", Claims: []string{"plan"}}})
	m := pipeline.NewMemory("GET", "/").WithHeader("X-Api-Key", "acme-key")
	if err := r.handler.Serve(t.Context(), &m.Exchange); err != nil {
		t.Fatal(err)
	}
	c := readToken(t, strings.TrimPrefix(outgoing(m)["Authorization"], "=Bearer "))
	if c["sub"] != "acme" || c["client_id"] != "acme" || c["client_issuer"] != "partners" || c["client_identity"] != KeyIdentity("partners", "acme") || c["plan"] != "gold" {
		t.Error(c)
	}
}

// Nobody gets no token, and what a client sent in its place is taken away.
func TestInternalTokenOfNobody(t *testing.T) {
	a := authority(t, map[string]IssuerConfig{"main": secretIssuer()})
	for _, cfg := range []Config{{None: true}, {Issuers: []string{"main"}, Optional: true}} {
		for _, header := range []string{"Authorization", "X-Internal-Token"} {
			m, err := signed(t, a, cfg, ForwardConfig{Token: &TokenConfig{Audience: "orders", Header: header}}).ask("")
			if got := outgoing(m); err != nil || got[header] != "removed" || m.Outgoing.Authorization {
				t.Errorf("%v %s: %v %v", cfg, header, got, err)
			}
		}
	}
}

// What can't be signed is not sent.
func TestInternalTokenFails(t *testing.T) {
	a := authority(t, map[string]IssuerConfig{"main": secretIssuer()})
	r := signed(t, a, Config{Issuers: []string{"main"}}, ForwardConfig{Token: &TokenConfig{Audience: "orders", Claims: []string{"tenant"}}})
	m, err := r.ask("Bearer " + hs("tenant", strings.Repeat("x", 5800)))
	if !errors.Is(err, NotSigned) || !errors.Is(err, signing.ErrTooLong) || pipeline.KindOf(err) != pipeline.Internal || r.reached != 0 || outgoing(m)["Authorization"] != "" {
		t.Errorf("%v, reached %d", err, r.reached)
	}
	layer, _ := NewToken(ForwardConfig{Token: &TokenConfig{Audience: "orders"}}, "up", tokenSigner(t))
	x := pipeline.NewMemory("GET", "/")
	x.Client = pipeline.Client{Identity: "i", Subject: "s"} // of somebody without claims
	end := pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange) error { t.Error("sent unsigned"); return nil })
	if err := pipeline.Compose(end, layer).Serve(t.Context(), &x.Exchange); !errors.Is(err, NotSigned) {
		t.Error(err)
	}
	if _, err := NewToken(ForwardConfig{Token: &TokenConfig{Audience: "orders"}}, "up", nil); err == nil {
		t.Error("nobody signs")
	}
	if _, err := NewToken(ForwardConfig{Token: &TokenConfig{}}, "", tokenSigner(t)); err == nil {
		t.Error("for nobody")
	}
	if layer, err := NewToken(ForwardConfig{}, "up", nil); layer != nil || err != nil {
		t.Error("a route without forward.token pays for it")
	}
}

func TestInternalTokenIsGuarded(t *testing.T) {
	got := Guarded(ForwardConfig{Token: &TokenConfig{Header: "X-Internal-Token"}}, ForwardConfig{Token: &TokenConfig{Header: "authorization"}}, ForwardConfig{Token: &TokenConfig{}})
	if strings.Join(got, " ") != "x-internal-token" {
		t.Error(got)
	}
}

func TestValidateForwardToken(t *testing.T) {
	check := func(f ForwardConfig, words ...string) {
		t.Helper()
		wants(t, found(&f), words...)
	}
	check(ForwardConfig{Token: &TokenConfig{Claims: []string{"tenant"}}})
	check(ForwardConfig{Token: &TokenConfig{Header: "X-Token"}, Authorization: true, Claims: map[string]string{"X-User": "sub"}})
	check(ForwardConfig{Token: &TokenConfig{Header: "authorization"}, Authorization: true}, "x.token.header: authorization: true sends")
	check(ForwardConfig{Token: &TokenConfig{Header: "x-user"}, Claims: map[string]string{"X-User": "sub"}}, "x.token.header: X-User carries a claim")
	for _, header := range []string{"Cookie", "Host", "X-Forwarded-For", "X_Token", "X Token", "Connection", "Idempotency-Key", "Proxy-Authorization"} {
		check(ForwardConfig{Token: &TokenConfig{Header: header}}, "x.token.header: ")
	}
	check(ForwardConfig{Token: &TokenConfig{Claims: []string{"a", "a", "", "sub", "client_identity", "cnf"}}}, "x.token.claims[1]", "x.token.claims[2]", "x.token.claims[3]", "x.token.claims[4]", "x.token.claims[5]")
	check(ForwardConfig{Token: &TokenConfig{Claims: strings.Split("abcdefghijklmnopq", "")}}, "x.token.claims: at most 16")
}

func TestExplainToken(t *testing.T) {
	lines := strings.Join(Explain(Config{None: true}, ForwardConfig{Token: &TokenConfig{Audience: "orders", Claims: []string{"tenant", "plan"}}}), "\n")
	if !strings.Contains(lines, "header Authorization upstream is a token of the gateway for audience orders with claims tenant, plan") {
		t.Error(lines)
	}
}

func TestInternalTokenAllocatesNothing(t *testing.T) {
	a := authority(t, map[string]IssuerConfig{"main": secretIssuer()})
	r := signed(t, a, Config{Issuers: []string{"main"}}, ForwardConfig{Token: &TokenConfig{Audience: "orders", Claims: []string{"tenant"}}})
	m := pipeline.NewMemory("GET", "/").WithHeader("Authorization", "Bearer "+hs("tenant", "acme"))
	plain := newRoute(t, a, Config{Issuers: []string{"main"}}, ForwardConfig{})
	per := func(r *route) float64 {
		return testing.AllocsPerRun(200, func() {
			if err := r.handler.Serve(t.Context(), &m.Exchange); err != nil {
				t.Fatal(err)
			}
		})
	}
	if with, without := per(r), per(plain); with != without && !raceEnabled {
		t.Errorf("%v allocations, %v without a token", with, without)
	}
}
