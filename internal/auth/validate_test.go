package auth

import (
	"fmt"
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/units"
)

// found gives the problems as lines: path: message -> suggestion.
func found(v interface{ Validate(units.Problems) }) string {
	p := units.NewProblems()
	v.Validate(p.Key("x"))
	var lines []string
	for _, one := range p.List() {
		lines = append(lines, one.Path+": "+one.Message+" -> "+one.Meant)
	}
	return strings.Join(lines, "\n")
}

func wants(t *testing.T, got string, words ...string) {
	t.Helper()
	if len(words) == 0 && got != "" {
		t.Errorf("unexpected: %s", got)
	}
	for _, w := range words {
		if !strings.Contains(got, w) {
			t.Errorf("%q lacks %q", got, w)
		}
	}
}

func TestValidateIssuer(t *testing.T) {
	check := func(change func(*IssuerConfig), words ...string) {
		t.Helper()
		c := secretIssuer()
		change(&c)
		got := found(&c)
		wants(t, got, words...)
		if strings.Contains(got, testSecret) {
			t.Error("the secret stands in a problem")
		}
	}
	algs := func(list ...string) func(*IssuerConfig) { return func(c *IssuerConfig) { c.Algorithms = list } }
	url := func(u string) func(*IssuerConfig) {
		return func(c *IssuerConfig) { c.Secret, c.JWKS, c.Algorithms = "", u, []string{"RS256"} }
	}
	secret := func(s string) func(*IssuerConfig) { return func(c *IssuerConfig) { c.Secret = units.Secret(s) } }

	check(func(*IssuerConfig) {})
	check(algs("HS256", "HS384", "HS512"))
	check(algs("HS265"), "x.algorithms[0]", `"HS265"`, "-> HS256")
	check(algs("none"), "x.algorithms[0]", `"none"`, "no signature")
	check(algs("NonE"), `"NonE"`)
	check(algs("HS256", "HS256"), "x.algorithms[1]", "twice")
	check(algs("HS256", "RS256"), "x.algorithms[1]", "RS256 does not fit secret")
	check(algs("rs256"), "-> RS256")
	check(secret("short"), "x.secret", "5 bytes", "32")
	check(secret(strings.Repeat("a", 40)))
	check(secret("your-super-secret-jwt-token-with-at-least-32-characters-long"), "x.secret", "well-known")
	check(secret("A-String-Secret-At-Least-256-Bits-Long"), "well-known")
	check(func(c *IssuerConfig) {
		c.Secret = units.Secret(testSecret[:47])
		c.Algorithms = []string{"HS256", "HS384"}
	}, "47 bytes", "HS384", "48")
	check(func(c *IssuerConfig) { c.Secret = "" }, "x.jwks", "one of jwks, discovery, keys, secret and introspection")
	check(func(c *IssuerConfig) { c.JWKS = "https://id.test/k" }, "x.jwks", "jwks and secret")
	check(func(c *IssuerConfig) { c.Keys = []string{"k"} }, "x.keys", "keys and secret")
	check(func(c *IssuerConfig) { c.Audiences = []string{"a", ""} }, "x.audiences[1]")
	check(func(c *IssuerConfig) { c.Typ = "at+jwt x" }, "x.typ")
	check(func(c *IssuerConfig) { c.Typ = "application/at+jwt" })
	check(url("https://id.test/k"))
	check(url("http://127.0.0.1:99/k"))
	check(url("http://[::1]/k"))
	check(url("http://localhost/k"))
	for _, bad := range []string{"http://id.test/k", "http://10.0.0.1/k", "http://localhost.evil.test/", "ftp://id.test/", "id.test", "https://", "https://u:p@id.test/", "https://id.test/#f", "://", "file:///etc/passwd", "http://127.0.0.1.evil.test/"} {
		check(url(bad), "x.jwks: ")
	}
	check(func(c *IssuerConfig) { url("https://id.test/")(c); c.Algorithms = []string{"RS256", "HS256"} }, "HS256 needs secret")
	check(func(c *IssuerConfig) { c.Secret, c.Algorithms = "", []string{"HS256", "RS256"} }, "another family")
	check(func(c *IssuerConfig) { c.Secret, c.Keys = "", []string{""}; c.Algorithms = []string{"EdDSA"} }, "x.keys[0]")
}

// A secret that repeats itself is long enough: its writer is told, and the document stands.
func TestSecretsThatRepeat(t *testing.T) {
	for secret, told := range map[string]bool{
		strings.Repeat("x", 32): true, strings.Repeat("01234567", 4): true, strings.Repeat("0123456789abcdef", 2): true, strings.Repeat("secret-", 6): true,
		strings.Repeat("secret", 7)[:40]: true, testSecret: false, "kR7vQ2mX9pL4wZ8nB5tY1cF6hJ3gD0sA": false, "kR7vQ2mX9pL4wZ8nB5tY1cF6hJ3gD0sAkR7vQ2mX": false,
	} {
		c := secretIssuer()
		c.Secret, c.Algorithms = units.Secret(secret), []string{"HS256"}
		wants(t, found(&c))
		p := units.NewProblems()
		c.Doubts(p.Key("x"))
		list := p.List()
		if (len(list) == 1) != told || told && (list[0].Path != "x.secret" || strings.Contains(list[0].Message, secret)) {
			t.Errorf("%s: %v", secret, list)
		}
		if _, err := NewAuthority(map[string]IssuerConfig{"x": c}, nil, Deps{}); err != nil {
			t.Errorf("%s: %v", secret, err)
		}
	}
}

// Files are read for doubts as well: what can't work is a problem, what may not be meant a doubt.
func TestDoubtsOfKeyFiles(t *testing.T) {
	k := testKeys()
	one, two := privatePEM(t, k.rsa), privatePEM(t, k.rsa2)
	for name, c := range map[string]struct {
		files, algorithms []string
		problem, doubt    string
	}{
		"fine":            {[]string{one}, []string{"RS256"}, "", ""},
		"two of a kind":   {[]string{one, two}, []string{"RS256"}, "x.keys: key files " + one + " and " + two, ""},
		"two algorithms":  {[]string{one}, []string{"PS256", "RS256"}, "", "x.keys: no key takes RS256"},
		"another missing": {[]string{one}, []string{"RS256", "ES256"}, "", ""},
	} {
		cfg := fileIssuer(c.algorithms, c.files...)
		p, doubts := units.NewProblems(), units.NewProblems()
		cfg.CheckFiles(p.Key("x"), doubts.Key("x"))
		for what, row := range map[string]struct {
			list []units.Problem
			want string
		}{"problems": {p.List(), c.problem}, "doubts": {doubts.List(), c.doubt}} {
			if (row.want == "") != (len(row.list) == 0) || row.want != "" && !strings.HasPrefix(row.list[0].Path+": "+row.list[0].Message, row.want) {
				t.Errorf("%s: %s: %v", name, what, row.list)
			}
		}
		if _, err := NewAuthority(map[string]IssuerConfig{"x": cfg}, nil, Deps{}); (err != nil) != (c.problem != "") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestValidateRoute(t *testing.T) {
	check := func(c Config, words ...string) { t.Helper(); wants(t, found(&c), words...) }
	ok := []string{"main"}
	check(Config{None: true})
	check(Config{Issuers: ok})
	check(Config{}, "x: auth names no issuers")
	check(Config{Optional: true}, "auth names no issuers")
	check(Config{Issuers: []string{"a", "a"}}, "x.issuers[1]")
	for _, scope := range []string{"", "a b", `a"b`, `a\b`, "é", "a\x00"} {
		check(Config{Issuers: ok, Require: Require{Scopes: []string{scope}}}, "x.require.scopes[0]")
	}
	check(Config{Issuers: ok, Require: Require{Scopes: []string{"a", "a"}}}, "x.require.scopes[1]", "twice")
	check(Config{Issuers: ok, Require: Require{Claims: map[string]ClaimMatch{"t": {In: OneOrMany{}}}}}, "x.require.claims.t")
	check(Config{Issuers: ok, Require: Require{Claims: map[string]ClaimMatch{"t": {In: OneOrMany{"a", ""}}}}}, "x.require.claims.t")
	check(Config{Issuers: ok, Require: Require{Claims: map[string]ClaimMatch{"": {In: OneOrMany{"a"}}}}}, "needs a name")
	var c Config
	var one OneOrMany
	if one.FromScalar("a") != nil || len(one) != 1 || one[0] != "a" {
		t.Error("one value")
	}
	if c.FromScalar("none") != nil || !c.None || c.FromScalar("public") == nil {
		t.Error("the word none")
	}
}

func TestValidateForward(t *testing.T) {
	check := func(claims map[string]string, words ...string) {
		t.Helper()
		wants(t, found(&ForwardConfig{Claims: claims}), words...)
	}
	check(map[string]string{"X-User-Id": "sub", "X-Plan": "plan"})
	for _, header := range []string{
		"Host", "content-length", "Authorization", "Idempotency-Key", "X-Request-Id", "traceparent", "X-Forwarded-For", "x-forwarded-user",
		"Connection", "Transfer-Encoding", "X User", "", "X_User", "X:Y", "Cookie", "TE",
	} {
		check(map[string]string{header: "sub"}, "x.claims."+header)
	}
	check(map[string]string{"X-User": "sub", "x-user": "id"}, "one header")
	check(map[string]string{"X-User": ""}, "name of a claim")
	many := map[string]string{}
	for i := range 17 {
		many[fmt.Sprint("X-", i)] = "sub"
	}
	check(many, "at most 16")
}

func TestValidateIntrospection(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*IssuerConfig)
		want   string
	}{
		"fine":       {func(*IssuerConfig) {}, ""},
		"algorithms": {func(c *IssuerConfig) { c.Algorithms = []string{"RS256"} }, "x.algorithms"},
		"typ":        {func(c *IssuerConfig) { c.Typ = "at+jwt" }, "x.typ"},
		"jwks":       {func(c *IssuerConfig) { c.JWKS = "https://id.test/k" }, "x.jwks"},
		"secret":     {func(c *IssuerConfig) { c.Secret = testSecret }, "x.secret"},
		"url":        {func(c *IssuerConfig) { c.Introspection.URL = "http://id.test/" }, "x.introspection.url"},
		"ca":         {func(c *IssuerConfig) { c.Introspection.CA = "/no/such.pem" }, "x.introspection.ca"},
		"ca empty":   {func(c *IssuerConfig) { c.Introspection.CA = file(t, "ca.pem", "nothing") }, "x.introspection.ca"},
	} {
		cfg := askingIssuer("https://id.test/introspect")
		row.change(&cfg)
		p := units.NewProblems()
		cfg.Validate(p.Key("x"))
		cfg.CheckFiles(p.Key("x"), units.NewProblems())
		found := p.List()
		if (row.want == "") != (len(found) == 0) || row.want != "" && found[0].Path != row.want {
			t.Errorf("%s: %v", name, found)
		}
		if _, err := NewAuthority(map[string]IssuerConfig{"x": cfg}, nil, Deps{}); strings.HasPrefix(name, "ca") && err == nil {
			t.Errorf("%s: compiled", name)
		}
	}
	if _, _, err := signingKey(askingIssuer("https://id.test/")); err == nil {
		t.Error("a token can be signed")
	}
}
