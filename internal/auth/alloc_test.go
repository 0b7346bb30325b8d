package auth

import (
	"context"
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// bare is a request and an answer that allocate nothing themselves.
type bare struct {
	pipeline.Request
	field []byte
	key   []byte // X-Api-Key
	host  []byte
}

type bareAnswer struct{ pipeline.Response }

func (b *bare) Header(string) []byte { return b.field }
func (b *bare) Host() []byte         { return b.host }
func (b *bare) Query() []byte        { return bareQuery }
func (b *bare) Fields() int          { return len(bareFields) }
func (b *bare) Field(i int) (name, value []byte) {
	if i == 3 {
		return bareFields[i], b.key
	}
	return bareFields[i], bareFields[0]
}
func (bareAnswer) Set(string, []byte) {}
func (bareAnswer) Add(string, []byte) {}
func (bareAnswer) Del(string)         {}

var bareQuery = []byte("page=1&sort=asc")

var bareFields = [][]byte{[]byte("Host"), []byte("User-Agent"), []byte("Accept"), []byte("X-Api-Key"), []byte("Accept-Encoding"), []byte("Content-Type")}

func (r *route) bareExchange(field string) func() error {
	b := &bare{}
	if field != "" {
		b.field = []byte(field)
	}
	x := &pipeline.Exchange{}
	var answer pipeline.Response = bareAnswer{}
	return func() error {
		x.Begin(b, answer, nil)
		return r.handler.Serve(context.Background(), x)
	}
}

func allocRoute(t testing.TB) *route {
	a := authority(t, map[string]IssuerConfig{"main": secretIssuer(), "b": func() IssuerConfig { c := secretIssuer(); c.Issuer = "b"; return c }()})
	return newRoute(t, a, Config{Issuers: []string{"b", "main"}, Require: Require{Scopes: []string{"read", "write"}, Claims: map[string]ClaimMatch{"tenant": {In: OneOrMany{"a"}}}}},
		ForwardConfig{Claims: map[string]string{"X-User": "sub", "X-None": "none"}})
}

// What a flood of bad or repeated requests asks for costs no memory.
func TestNoAllocations(t *testing.T) {
	r := allocRoute(t)
	fine := hs("tenant", "a", "scope", "read write")
	for name, field := range map[string]string{
		"seen before": "Bearer " + fine, "missing": "", "empty": "Bearer", "other scheme": "Basic x", "oversize": "Bearer " + strings.Repeat("a", 9000),
		"malformed": "Bearer " + strings.Repeat("a.", 100), "scope": "Bearer " + hs("tenant", "a", "scope", "read"), "claim": "Bearer " + hs("tenant", "b"),
		"forged, again": "Bearer " + fine[:len(fine)-8] + "AAAAAAAA", "expired, again": "Bearer " + hs("exp", 5),
	} {
		ask := r.bareExchange(field)
		first := ask()
		if n := testing.AllocsPerRun(200, func() { _ = ask() }); n != 0 {
			t.Errorf("%s (%v): %v allocations", name, first, n)
		}
	}
	open := newRoute(t, nil, Config{None: true}, ForwardConfig{Claims: map[string]string{"X-User": "sub"}})
	ask := open.bareExchange("Bearer x")
	if n := testing.AllocsPerRun(200, func() { _ = ask() }); n != 0 {
		t.Errorf("none: %v", n)
	}
}

// keyExchange asks a route that takes keys.
func (r *route) keyExchange(key string) func() error {
	b := &bare{key: []byte(key)}
	x := &pipeline.Exchange{}
	var answer pipeline.Response = bareAnswer{}
	return func() error {
		x.Begin(b, answer, nil)
		x.ClientIP = addressOf("10.0.0.1")
		return r.handler.Serve(context.Background(), x)
	}
}

func allocKeyRoute(t testing.TB) *route {
	row := keyRow("acme", "right")
	row.Scopes, row.CIDR, row.Expires = []string{"read"}, []string{"10.0.0.0/8"}, "2999-01-01"
	return newRoute(t, keyed(t, partners(row, keyRow("other", "another"))), Config{APIKeys: []string{"partners"}, Require: Require{AnyScope: []string{"x", "read"}}},
		ForwardConfig{Claims: map[string]string{"X-User": "sub"}})
}

func TestKeysAllocateNothing(t *testing.T) {
	r := allocKeyRoute(t)
	for name, want := range map[string]Reason{"right": accepted, "wrong": UnknownAPIKey, "another": MissingScope, "": NoCredential, strings.Repeat("k", 600): UnknownAPIKey} {
		ask := r.keyExchange(name)
		first := ask()
		if (want == accepted) != (first == nil) || want != accepted && first != want {
			t.Errorf("%.10s: %v", name, first)
		}
		if n := testing.AllocsPerRun(200, func() { _ = ask() }); n != 0 {
			t.Errorf("%.10s: %v allocations", name, n)
		}
	}
}

// What rules look at costs no memory either, nested claims included.
func TestRulesAllocateNothing(t *testing.T) {
	a, err := NewAuthority(map[string]IssuerConfig{"main": revocable()}, nil, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	Revocation{JTI: "another"}.by(t, a)
	r := newRoute(t, a, Config{Issuers: []string{"main"}, Require: ruleful}, ForwardConfig{})
	ask := r.bareExchange("Bearer " + hs(rulefulClaims...))
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(200, func() { _ = ask() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

var (
	ruleful = Require{AnyScope: []string{"a", "read"}, Roles: &RoleRule{Claim: "realm_access.roles", Any: []string{"x", "editor"}},
		Claims: map[string]ClaimMatch{"email": {Prefix: OneOrMany{"b", "alice@"}}, "tenant": {In: OneOrMany{"b", "a"}}}}
	rulefulClaims = []any{"jti", "1", "scope", "read", "tenant", "a", "email", "alice@x", "realm_access", object{"roles": []string{"viewer", "editor"}}}
)

// typical is a token of ten claims.
func typical(alg string, key any, n int) string {
	return mint(alg, key, object{"alg": alg, "typ": "JWT", "kid": "key-1"}, good("scope", "read write orders:read", "tenant", "a", "email", "alice@example.com",
		"roles", []string{"admin", "editor", "viewer"}, "client_id", "web-frontend", "jti", n, "name", "Alice Liddell"))
}
