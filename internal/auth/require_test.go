package auth

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/pipeline"
)

func addressOf(text string) netip.Addr {
	address, _ := netip.ParseAddr(text)
	return address
}

// demands is a route that asks for something, and what a request has to bring.
type demands struct {
	*route
	t *testing.T
}

func demanding(t *testing.T, r Require) demands {
	t.Helper()
	a := authority(t, map[string]IssuerConfig{"main": secretIssuer()})
	return demands{newRoute(t, a, Config{Issuers: []string{"main"}, Require: r}, ForwardConfig{}), t}
}

// judge wants a reason for a token with these claims, and the one answer that tells no rule.
func (d demands) judge(want Reason, method, address string, changes ...any) {
	d.t.Helper()
	m := pipeline.NewMemory(method, "/").WithHeader("Authorization", "Bearer "+hs(changes...))
	m.ClientIP = addressOf(address)
	err := d.handler.Serve(context.Background(), &m.Exchange)
	switch {
	case want == accepted && err != nil || want != accepted && err != want:
		d.t.Errorf("%v from %s with %v: %v, want %v", method, address, changes, err, want)
	case want != accepted && (pipeline.KindOf(err) != pipeline.Forbidden || !m.Client.Anonymous() || m.Problem.Scopes != ""):
		d.t.Errorf("%v: %v", changes, err)
	case want != accepted && string(m.Sent.Header("WWW-Authenticate")) != `Bearer realm="oncegate", error="insufficient_scope"`:
		d.t.Errorf("%v: %q tells more than that something is missing", changes, m.Sent.Header("WWW-Authenticate"))
	}
}

func (d demands) claims(want Reason, changes ...any) {
	d.t.Helper()
	d.judge(want, "GET", "192.0.2.1", changes...)
}

func TestAnyScope(t *testing.T) {
	a := authority(t, map[string]IssuerConfig{"main": secretIssuer()})
	r := newRoute(t, a, Config{Issuers: []string{"main"}, Require: Require{Scopes: []string{"api"}, AnyScope: []string{"read", "write"}}}, ForwardConfig{})
	for scope, missing := range map[string]string{
		"api read": "", "write api": "", "api read write": "", "api": "read write", "read": "api", "api READ reads": "read write", "": "api read write", "other": "api read write",
	} {
		m, err := r.ask("Bearer " + hs("scope", scope))
		if missing == "" && err == nil {
			continue
		}
		want := `Bearer realm="oncegate", error="insufficient_scope", scope="` + missing + `"`
		if err != MissingScope || m.Problem.Scopes != missing || string(m.Sent.Header("WWW-Authenticate")) != want {
			t.Errorf("%q: %v %q", scope, err, m.Problem.Scopes)
		}
	}
}

// Case 51: roles at a path, compared whole; what is of another type is no role.
func TestCase51Roles(t *testing.T) {
	realm := func(roles any) []any { return []any{"realm_access", object{"roles": roles, "other": 1}} }
	d := demanding(t, Require{Roles: &RoleRule{Claim: "realm_access.roles", Any: []string{"admin", "editor"}}})
	for _, roles := range []any{[]string{"admin"}, []string{"x", "editor"}, "admin", []string{"\u0061dmin"}} {
		d.claims(accepted, realm(roles)...)
	}
	for _, roles := range []any{[]string{}, []string{"Admin"}, []string{"admins", "adm"}, "admin editor", 5, true, nil, object{"admin": true}, []any{"admin", 5}, []any{[]string{"admin"}}} {
		d.claims(MissingRole, realm(roles)...)
	}
	d.claims(MissingRole)
	d.claims(MissingRole, "roles", []string{"admin"})
	d.claims(MissingRole, "realm_access.roles", []string{"admin"})
	d.claims(MissingRole, "realm_access", []any{object{"roles": "admin"}})
	d.claims(MissingRole, "realm_access", "admin")
	d.claims(MissingRole, "REALM_ACCESS", object{"roles": "admin"})

	all := demanding(t, Require{Roles: &RoleRule{Claim: "roles", All: []string{"a", "b"}, Any: []string{"c", "d"}}})
	all.claims(accepted, "roles", []string{"b", "d", "a"})
	for _, roles := range []any{[]string{"a", "c"}, []string{"a", "b"}, "a", []string{}, nil} {
		all.claims(MissingRole, "roles", roles)
	}
	deep := demanding(t, Require{Roles: &RoleRule{Claim: "/resource_access/a~1b.c~0d/roles", Any: []string{"x"}}})
	deep.claims(accepted, "resource_access", object{"a/b.c~d": object{"roles": []string{"x"}}})
	deep.claims(MissingRole, "resource_access", object{"a/b": object{"c~d": object{"roles": []string{"x"}}}})
	url := demanding(t, Require{Roles: &RoleRule{Claim: "https://acme.test/roles", Any: []string{"x"}}})
	url.claims(accepted, "https://acme.test/roles", "x")
	url.claims(MissingRole, "https://acme", object{"test/roles": "x"})
}

func TestPaths(t *testing.T) {
	for text, want := range map[string]string{
		"a": "a", "a.b.c": "a|b|c", "https://x.y/z.w": "https://x.y/z.w", "/a": "a", "/a/b": "a|b", "/a~1b/c~0d": "a/b|c~d", "/a~01": "a~1", "/": "", "/a.b": "a.b",
		"": "!", ".": "!", "a.": "!", ".a": "!", "a..b": "!", "/a~": "!", "/a~2": "!", strings.Repeat("a.", 16) + "a": "!",
	} {
		path, err := parsePath(text)
		if got := strings.Join(path, "|"); err == nil && got != want || err != nil && want != "!" {
			t.Errorf("%q: %q %v", text, got, err)
		}
	}
}

// Case 51: claims that are equal, in a list, or begin with something.
func TestCase51Claims(t *testing.T) {
	in := demanding(t, Require{Claims: map[string]ClaimMatch{"level": {In: OneOrMany{"5", "6"}}, "tenant": {In: OneOrMany{"a"}}}})
	for _, level := range []any{5, "6", []any{1, 6}, []string{"5"}} {
		in.claims(accepted, "tenant", "a", "level", level)
	}
	for _, level := range []any{nil, 55, "", 5.5, true, object{"5": 5}, []any{[]int{5}}, "5 6"} {
		in.claims(MissingClaim, "tenant", "a", "level", level)
	}
	in.claims(MissingClaim, "level", 5)

	begins := demanding(t, Require{Claims: map[string]ClaimMatch{"email": {Prefix: OneOrMany{"acme-", "test-"}}}})
	for _, email := range []any{"acme-bob", "test-", []string{"x", "acme-"}} {
		begins.claims(accepted, "email", email)
	}
	for _, email := range []any{nil, "", "acme", "Acme-bob", " acme-bob", "x acme-bob", []string{}, []any{"acme-bob", 5}, object{"a": "acme-bob"}} {
		begins.claims(MissingClaim, "email", email)
	}
	number := demanding(t, Require{Claims: map[string]ClaimMatch{"n": {Prefix: OneOrMany{"1"}}}})
	number.claims(MissingClaim, "n", 15)
	number.claims(accepted, "n", "15")
	both := demanding(t, Require{Claims: map[string]ClaimMatch{"n": {Prefix: OneOrMany{"a"}, In: OneOrMany{"ab", "bc"}}}})
	both.claims(accepted, "n", "ab")
	both.claims(MissingClaim, "n", "bc")
	both.claims(MissingClaim, "n", "ac")
}

func TestAddressesAndMethods(t *testing.T) {
	d := demanding(t, Require{CIDR: []string{"10.0.0.0/8", "2001:db8::/32", "192.0.2.7"}, Methods: []string{"GET", "HEAD"}})
	for _, address := range []string{"10.1.2.3", "::ffff:10.1.2.3", "2001:db8:1::1", "192.0.2.7"} {
		d.judge(accepted, "HEAD", address)
	}
	for _, address := range []string{"11.0.0.1", "192.0.2.8", "2001:db9::1", "::ffff:11.0.0.1", "", "::10.0.0.1"} {
		d.judge(WrongAddress, "GET", address)
	}
	for _, method := range []string{"POST", "get", "GETS", ""} {
		d.judge(WrongMethod, method, "10.0.0.1")
	}
}

func TestNetworks(t *testing.T) {
	for _, bad := range []string{"", "10.0.0.0/33", "10.0.0.1/8", "::ffff:10.0.0.0/104", "fe80::1%eth0", "2001:db8::/129", "10/8", "localhost", "::ffff:10.0.0.1"} {
		if _, err := parseNetworks([]string{bad}); err == nil {
			t.Errorf("%q is a network", bad)
		}
	}
}

type saying struct {
	allowed bool
	err     error
}

func (s saying) Allows(x *pipeline.Exchange, c Values) (bool, error) {
	sub, _ := c.Value("sub")
	return s.allowed && sub == "alice" && string(x.Request.Method()) == "GET", s.err
}

func (s saying) Why(*pipeline.Exchange, Values) string { return "is not true" }

// Case 51: an expression that is false or fails denies; one that does not compile never serves.
func TestCase51Expressions(t *testing.T) {
	made := map[string]saying{"yes": {true, nil}, "no": {false, nil}, "fails": {true, errors.New("no such key")}}
	a, err := NewAuthority(map[string]IssuerConfig{"main": secretIssuer()}, nil, Deps{Compile: func(text string) (Expression, error) {
		if e, ok := made[text]; ok {
			return e, nil
		}
		return nil, errors.New("syntax")
	}})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]Reason{"yes": accepted, "no": RuleDenies, "fails": RuleDenies} {
		d := demands{newRoute(t, a, Config{Issuers: []string{"main"}, Require: Require{Expression: text}}, ForwardConfig{}), t}
		d.claims(want)
		d.claims(RuleDenies, "sub", "bob")
	}
	for _, other := range []*Authority{a, authority(t, map[string]IssuerConfig{"main": secretIssuer()})} {
		if _, err := New(Config{Issuers: []string{"main"}, Require: Require{Expression: "other"}}, ForwardConfig{}, other); err == nil {
			t.Error("an expression that nobody compiled")
		}
	}
}

func TestValidateRequire(t *testing.T) {
	check := func(r Require, words ...string) {
		t.Helper()
		c := Config{Issuers: []string{"main"}, Require: r}
		wants(t, found(&c), words...)
	}
	check(Require{AnyScope: []string{"a", "b"}, Roles: &RoleRule{Claim: "a.b", Any: []string{"x"}}, CIDR: []string{"10.0.0.0/8"}, Methods: []string{"GET"},
		Claims: map[string]ClaimMatch{"email": {Prefix: OneOrMany{"a"}}}})
	check(Require{AnyScope: []string{"a", "a b"}}, "x.require.any_scope[1]: ")
	check(Require{AnyScope: []string{"a"}}, "x.require.any_scope: one scope alone")
	check(Require{Roles: &RoleRule{Claim: "a..b", Any: []string{"x"}}}, "x.require.roles.claim: ")
	check(Require{Roles: &RoleRule{Claim: "a"}}, "x.require.roles.any: the roles are missing")
	check(Require{Roles: &RoleRule{Claim: "a", All: []string{"x", "x"}, Any: []string{""}}}, "x.require.roles.all[1]: ", "x.require.roles.any[0]: ")
	check(Require{ACR: []string{"mfa", "a b"}, MaxAge: 5}, "x.require.acr[1]: ", "x.require.max_age: ")
	check(Require{CIDR: []string{"10.0.0.0/8", "x"}}, "x.require.cidr[1]: ")
	check(Require{Methods: []string{"GET", "get"}}, "x.require.methods[1]: ")
	check(Require{Claims: map[string]ClaimMatch{"": {In: OneOrMany{"a"}}}}, "x.require.claims: a claim needs a name")
	check(Require{Claims: map[string]ClaimMatch{"a": {}}}, "x.require.claims.a: one of in and prefix")
	check(Require{Claims: map[string]ClaimMatch{"a": {In: OneOrMany{""}}}}, "x.require.claims.a.in: ")
	check(Require{Claims: map[string]ClaimMatch{"a": {Prefix: OneOrMany{"b", ""}}}}, "x.require.claims.a.prefix: ")
	var m ClaimMatch
	if m.FromScalar("a") != nil || len(m.In) != 1 || m.In[0] != "a" || m.Prefix != nil || m.ListKey() != "in" {
		t.Error("one value")
	}
	keys := Config{APIKeys: []string{"a", "a"}}
	wants(t, found(&keys), "x.api_keys[1]: ")
}

// Explain and Judge name the rule that a client is never told.
func TestJudge(t *testing.T) {
	a := keyed(t, partners(keyRow("acme", "right")))
	cfg := Config{Issuers: []string{"main"}, APIKeys: []string{"partners"}, Require: Require{
		AnyScope: []string{"r", "w"}, Roles: &RoleRule{Claim: "realm.roles", Any: []string{"admin"}}, Methods: []string{"GET"}, CIDR: []string{"192.0.2.0/24"},
		Claims: map[string]ClaimMatch{"email": {Prefix: OneOrMany{"a-"}}},
	}}
	email, roles := []any{"email", "a-x"}, []any{"realm", object{"roles": "admin"}}
	for want, m := range map[string]*pipeline.Memory{
		"no credential":                            pipeline.NewMemory("GET", "/"),
		"method is GET":                            pipeline.NewMemory("PUT", "/").WithHeader("Authorization", "Bearer "+hs()),
		"claim email begins with a-":               pipeline.NewMemory("GET", "/").WithHeader("X-Api-Key", "right"),
		"claim realm.roles lists admin":            pipeline.NewMemory("GET", "/").WithHeader("Authorization", "Bearer "+hs(email...)),
		"a scope is missing: r w":                  pipeline.NewMemory("GET", "/").WithHeader("Authorization", "Bearer "+hs(append(email, roles...)...)),
		`passes as subject "alice" of issuer main`: pipeline.NewMemory("GET", "/").WithHeader("Authorization", "Bearer "+hs(append(append(email, roles...), "scope", "w")...)),
		"no list of the route holds the API key":   pipeline.NewMemory("GET", "/").WithHeader("X-Api-Key", "wrong"),
		"or several credentials":                   pipeline.NewMemory("GET", "/").WithHeader("X-Api-Key", "right").WithHeader("Authorization", "Bearer x"),
	} {
		words, err := Judge(cfg, a, &m.Exchange)
		if !strings.Contains(words, want) || (err == nil) != strings.HasPrefix(words, "passes") {
			t.Errorf("wanted %q: %q %v", want, words, err)
		}
	}
	elsewhere := pipeline.NewMemory("GET", "/").WithHeader("X-Api-Key", "right")
	elsewhere.ClientIP = addressOf("10.0.0.1")
	if words, err := Judge(cfg, a, &elsewhere.Exchange); err != WrongAddress || !strings.Contains(words, "address is in 192.0.2.0/24") {
		t.Errorf("%q %v", words, err)
	}
	words, err := Judge(Config{APIKeys: []string{"partners"}}, a, &pipeline.NewMemory("GET", "/").WithHeader("X-Api-Key", "right").Exchange)
	if err != nil || words != `passes as subject "acme" of list of keys partners` {
		t.Errorf("%q %v", words, err)
	}
	cfg.Require.Expression = "claims.level > 5"
	lines := strings.Join(Explain(cfg, ForwardConfig{APIKey: true}), "\n")
	for _, want := range []string{"issuer main, or an API key of list partners, else 401", "two credentials", "one of the scopes r, w", "realm.roles lists admin", "method is GET", "192.0.2.0/24",
		"email begins with a-", "claims.level > 5", "API key goes upstream"} {
		if !strings.Contains(lines, want) {
			t.Errorf("%q lacks %q", lines, want)
		}
	}
}
