package auth

import (
	"os"
	"strings"
	"testing"
)

func reload(t *testing.T, old *Authority, issuers map[string]IssuerConfig) *Authority {
	t.Helper()
	next, err := NewAuthority(issuers, old, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	old.Retire(next)
	t.Cleanup(next.Close)
	return next
}

func TestReloadKeepsWhatDidNotChange(t *testing.T) {
	key := publicPEM(t, testKeys().rsa)
	issuers := map[string]IssuerConfig{"main": secretIssuer(), "files": fileIssuer([]string{"RS256"}, key)}
	first := authority(t, issuers)
	second := reload(t, first, issuers)
	for name := range issuers {
		if first.issuers[name] != second.issuers[name] {
			t.Errorf("%s was made anew", name)
		}
	}
	if first.shared != second.shared {
		t.Error("the cache was lost")
	}
	content, _ := os.ReadFile(publicPEM(t, testKeys().rsa2))
	if err := os.WriteFile(key, content, 0o600); err != nil {
		t.Fatal(err)
	}
	third := reload(t, second, issuers)
	if third.issuers["files"] == second.issuers["files"] || third.issuers["main"] != second.issuers["main"] {
		t.Error("a new key in the old file was not seen")
	}
}

// Settings changed: what the old ones let pass is judged anew.
func TestReloadWithOtherSettings(t *testing.T) {
	first := authority(t, map[string]IssuerConfig{"main": secretIssuer()})
	cfg := Config{Issuers: []string{"main"}}
	tok := hs()
	newRoute(t, first, cfg, ForwardConfig{}).passes(t, "before", tok)
	for name, change := range map[string]func(*IssuerConfig){
		"audience": func(c *IssuerConfig) { c.Audiences = []string{"other"} },
		"issuer":   func(c *IssuerConfig) { c.Issuer = "https://other.test/" },
		"secret":   func(c *IssuerConfig) { c.Secret = "another secret, which is long enough" },
		"typ":      func(c *IssuerConfig) { c.Typ = "at+jwt" },
		"lifetime": func(c *IssuerConfig) { c.MaxLifetime = 1 },
	} {
		changed := secretIssuer()
		change(&changed)
		next := reload(t, first, map[string]IssuerConfig{"main": changed})
		if _, err := newRoute(t, next, cfg, ForwardConfig{}).ask("Bearer " + tok); err == nil {
			t.Errorf("%s: a token of the old settings passes", name)
		}
		newRoute(t, first, cfg, ForwardConfig{}).passes(t, "running requests", tok)
	}
}

func TestBadDocumentsStartNothing(t *testing.T) {
	remote := urlIssuer("http://127.0.0.1:1/jwks", "RS256") // goleak finds what was started
	weak := secretIssuer()
	weak.Secret = "short"
	none := secretIssuer()
	none.Algorithms = []string{"none"}
	mixed := fileIssuer([]string{"HS256"}, publicPEM(t, testKeys().rsa))
	open := secretIssuer()
	open.Audiences = nil
	plainURL := urlIssuer("http://id.test/jwks", "RS256")
	for name, bad := range map[string]IssuerConfig{
		"/no/such/file": fileIssuer([]string{"RS256"}, "/no/such/file"), "empty.pem": fileIssuer([]string{"RS256"}, file(t, "empty.pem", "")),
		"other.pem": fileIssuer([]string{"RS256"}, file(t, "other.pem", "-----BEGIN X-----\nAAAA\n-----END X-----\n")),
		"shorter":   weak, `"none"`: none, `"HS256"`: mixed, "audiences": open, "https": plainURL,
		"key.pem": fileIssuer([]string{"ES256"}, publicPEM(t, testKeys().rsa)),
	} {
		_, err := NewAuthority(map[string]IssuerConfig{"bad": bad, "good": remote}, nil, Deps{})
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "issuer bad") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
