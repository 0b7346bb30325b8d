package auth

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/oncegate/oncegate/internal/auth/keyset"
)

// newProvider is a key server that says where its keys are, too; issuer is what its document says, "" its own URL.
func newProvider(t *testing.T, keys ...object) (s *keyServer, says func(issuer string, keys ...object)) {
	s = newKeyServer(t)
	says = func(issuer string, keys ...object) {
		if issuer == "" {
			issuer = s.URL
		}
		document := fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, issuer, s.URL+"/keys")
		set := jwks(keys...)
		s.does(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/keys" {
				fmt.Fprint(w, set)
				return
			}
			fmt.Fprint(w, document)
		})
	}
	says("", keys...)
	return s, says
}

func providerIssuer(url string, algs ...string) IssuerConfig {
	c := urlIssuer("", algs...)
	c.Issuer, c.Discovery = url, true
	return c
}

func discoveredRoute(t *testing.T, issuers map[string]IssuerConfig) (*route, *Authority, *fetched) {
	t.Helper()
	f := &fetched{ends: make(chan error, 100)}
	a, err := NewAuthority(issuers, nil, Deps{Recorder: f})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return newRoute(t, a, Config{Issuers: []string{"main"}}, ForwardConfig{}), a, f
}

// A key that was rotated in is accepted at once; what the old one signed is void.
func TestRotationThroughDiscovery(t *testing.T) {
	k := testKeys()
	s, says := newProvider(t, jwkOf(k.p256, "a"))
	r, _, f := discoveredRoute(t, map[string]IssuerConfig{"main": providerIssuer(s.URL, "ES256")})
	if err := f.wait(t); err != nil {
		t.Fatal(err)
	}
	old := mint("ES256", k.p256, object{"alg": "ES256", "kid": "a"}, good("iss", s.URL))
	r.passes(t, "old", old)
	says("", jwkOf(k.p256b, "b"))
	r.passes(t, "new", mint("ES256", k.p256b, object{"alg": "ES256", "kid": "b"}, good("iss", s.URL)))
	r.refused(t, "old, cached, its key gone", old, UnknownKey)
	if n := s.fetches.Load(); n != 4 {
		t.Errorf("%d requests for two documents and two key sets", n)
	}
}

// Case 65: a document of another issuer gives no keys: 503 for this issuer, and nothing for the others.
func TestCase65AnotherIssuersDocument(t *testing.T) {
	k := testKeys()
	s, says := newProvider(t)
	says("https://evil.test/", jwkOf(k.p256, "a"))
	r, a, f := discoveredRoute(t, map[string]IssuerConfig{"main": providerIssuer(s.URL, "ES256"), "other": secretIssuer()})
	if f.wait(t) == nil {
		t.Error("the fetch is counted as good")
	}
	tok := mint("ES256", k.p256, object{"alg": "ES256", "kid": "a"}, good("iss", s.URL))
	r.refused(t, "not loaded", tok, NoKeys)
	if missing := a.Ready(); len(missing) != 1 || !errors.Is(missing["main"], keyset.ErrNotLoaded) {
		t.Errorf("%v", missing)
	}
	newRoute(t, a, Config{Issuers: []string{"other"}}, ForwardConfig{}).passes(t, "another issuer", hs())
	says("", jwkOf(k.p256, "a"))
	for f.wait(t) != nil {
	}
	r.passes(t, "healed", tok)
	says("https://evil.test/", jwkOf(k.p256b, "b"))
	r.refused(t, "the evil one's", mint("ES256", k.p256b, object{"alg": "ES256", "kid": "b"}, good("iss", s.URL)), UnknownKey)
	r.passes(t, "the last good key", tok)
}

// A reload keeps discovered keys while they come from the same place, and only then.
func TestReloadKeepsDiscoveredKeys(t *testing.T) {
	s, _ := newProvider(t, jwkOf(testKeys().p256, "a"))
	main := providerIssuer(s.URL, "ES256")
	_, first, f := discoveredRoute(t, map[string]IssuerConfig{"main": main})
	if err := f.wait(t); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*IssuerConfig)
		keeps  bool
	}{
		"audience": {func(c *IssuerConfig) { c.Audiences = []string{"x"} }, true},
		"hosts":    {func(c *IssuerConfig) { c.JWKSHosts = []string{"keys.test"} }, false},
		"issuer":   {func(c *IssuerConfig) { c.Issuer += "/" }, false},
		"a URL":    {func(c *IssuerConfig) { c.Discovery, c.JWKS = false, s.URL+"/keys" }, false},
		"algs":     {func(c *IssuerConfig) { c.Algorithms = []string{"ES256", "ES384"} }, false},
	} {
		changed := main
		c.change(&changed)
		next, err := NewAuthority(map[string]IssuerConfig{"main": changed}, first, Deps{})
		if err != nil {
			t.Fatal(err)
		}
		if kept := next.issuers["main"].remote == first.issuers["main"].remote; kept != c.keeps {
			t.Errorf("%s: kept is %v", name, kept)
		}
		next.Retire(first)
	}
}

func TestValidateDiscovery(t *testing.T) {
	check := func(change func(*IssuerConfig), words ...string) {
		t.Helper()
		c := providerIssuer("https://id.test/", "ES256")
		change(&c)
		wants(t, found(&c), words...)
	}
	check(func(*IssuerConfig) {})
	check(func(c *IssuerConfig) { c.JWKSHosts = []string{"keys.test", "keys.test:8443"} })
	check(func(c *IssuerConfig) { c.JWKS = "https://id.test/k" }, "x.jwks", "jwks and discovery can't stand together")
	check(func(c *IssuerConfig) { c.Keys = []string{"k.pem"} }, "x.discovery", "discovery and keys")
	check(func(c *IssuerConfig) { c.Secret, c.Algorithms = testSecret, []string{"HS256"} }, "x.discovery", "discovery and secret")
	check(func(c *IssuerConfig) { c.Discovery = false }, "x.jwks", "one of jwks, discovery, keys, secret and introspection")
	check(func(c *IssuerConfig) { c.Algorithms = []string{"HS256"} }, "x.algorithms[0]", "HS256 needs secret")
	check(func(c *IssuerConfig) { c.Issuer = "http://id.test/" }, "x.issuer", "https")
	check(func(c *IssuerConfig) { c.Issuer = "main" }, "x.issuer", "URL")
	check(func(c *IssuerConfig) { c.JWKSHosts = []string{"https://keys.test"} }, "x.jwks_hosts[0]", "not a host")
	check(func(c *IssuerConfig) {
		c.Discovery, c.JWKS, c.JWKSHosts = false, "https://id.test/k", []string{"keys.test"}
	}, "x.jwks_hosts", "for discovery")
	bad := providerIssuer("http://id.test/", "ES256")
	if _, err := NewAuthority(map[string]IssuerConfig{"main": bad}, nil, Deps{}); err == nil {
		t.Error("an issuer that can't be discovered is taken")
	}
}
