package auth

import (
	"slices"
	"strings"

	"github.com/oncegate/oncegate/internal/auth/keyset"
	"github.com/oncegate/oncegate/internal/units"
)

// Validate finds what tags can't say: where keys come from, and that the algorithms fit it. Key files are read by
// NewAuthority.
func (c *IssuerConfig) Validate(p units.Problems) {
	for i, audience := range c.Audiences {
		if audience == "" {
			p.Key("audiences").Index(i).Add("an audience can't be empty")
		}
	}
	c.validateSource(p)
	switch {
	case c.Introspection != nil:
		c.Introspection.validate(c, p)
	case c.Algorithms == nil:
		p.Missing("algorithms", "the key algorithms is missing")
	default:
		c.validateAlgorithms(p.Key("algorithms"))
	}
	if c.Secret != "" {
		c.validateSecret(p.Key("secret"))
	}
	if c.JWKS != "" {
		if err := keyset.CheckURL(c.JWKS); err != nil {
			p.Key("jwks").Add("%s", err)
		}
	}
	c.validateDiscovery(p)
	for i, name := range c.Keys {
		if name == "" {
			p.Key("keys").Index(i).Add("a file name can't be empty")
		}
	}
	if c.Typ != "" && !isToken(strings.Replace(c.Typ, "/", "", 1)) {
		p.Key("typ").Add("%q is not a media type such as at+jwt", c.Typ)
	}
}

// Doubts finds what is no mistake, but what its writer should know.
func (c *IssuerConfig) Doubts(p units.Problems) {
	if c.Secret != "" && repeats(c.Secret.Reveal()) {
		p.Key("secret").Add("the secret repeats itself: it is easier to guess than its length says; openssl rand -base64 48 makes a sound one")
	}
}

// CheckFiles reads the files of keys and roots, as NewAuthority does. What is no mistake, but should be known, goes to
// doubts.
func (c *IssuerConfig) CheckFiles(p, doubts units.Problems) {
	if c.Introspection != nil {
		if _, err := c.Introspection.readRoots(); err != nil {
			p.Key("introspection").Key("ca").Add("%s", err)
		}
		return
	}
	list, err := allowed(*c)
	if err != nil || len(c.Keys) == 0 {
		return
	}
	p = p.Key("keys")
	sound := true
	for i, name := range c.Keys {
		if _, err := keyset.FromFiles([]string{name}, list); err != nil {
			p.Index(i).Add("%s", err)
			sound = false
		}
	}
	set, err := keyset.FromFiles(c.Keys, list)
	switch {
	case err != nil && sound:
		p.Add("%s", err)
	case err == nil:
		for _, doubt := range set.Doubts(list) {
			doubts.Key("keys").Add("%s", doubt)
		}
	}
}

func (c *IssuerConfig) validateDiscovery(p units.Problems) {
	if c.Discovery && c.Issuer != "" {
		if err := keyset.CheckIssuer(c.Issuer); err != nil {
			p.Key("issuer").Add("%s", err)
		}
	}
	for i, host := range c.JWKSHosts {
		if err := keyset.CheckHost(host); err != nil {
			p.Key("jwks_hosts").Index(i).Add("%q is %s", host, err)
		}
	}
	if len(c.JWKSHosts) > 0 && !c.Discovery {
		p.Key("jwks_hosts").Add("is for discovery; jwks says its host itself")
	}
}

// validateSource demands exactly one of jwks, discovery, keys, secret and introspection.
func (c *IssuerConfig) validateSource(p units.Problems) {
	var given []string
	if c.JWKS != "" {
		given = append(given, "jwks")
	}
	if c.Discovery {
		given = append(given, "discovery")
	}
	if len(c.Keys) > 0 {
		given = append(given, "keys")
	}
	if c.Secret != "" {
		given = append(given, "secret")
	}
	if c.Introspection != nil {
		given = append(given, "introspection")
	}
	switch {
	case len(given) == 0:
		p.Missing("jwks", "the keys have to come from somewhere: one of jwks, discovery, keys, secret and introspection is needed")
	case len(given) > 1:
		p.Key(given[0]).Add("%s can't stand together: the keys of an issuer come from one place", strings.Join(given, " and "))
	}
}

func (c *IssuerConfig) validateAlgorithms(p units.Problems) {
	var first keyset.Family
	for i, name := range c.Algorithms {
		algorithm := keyset.Find(name)
		switch {
		case strings.EqualFold(name, "none"):
			p.Index(i).Add("%q means no signature at all and is never accepted", name)
			continue
		case algorithm == nil:
			p.Index(i).Unknown("algorithm", name, keyset.Names())
			continue
		case slices.Contains(c.Algorithms[:i], name):
			p.Index(i).Add("%s stands here twice", name)
		}
		symmetric := algorithm.Family == keyset.HMAC
		switch {
		case c.Secret != "" && !symmetric:
			p.Index(i).Add("%s does not fit secret, which takes HS256, HS384 and HS512", name)
		case c.Secret == "" && (c.JWKS != "" || c.Discovery || len(c.Keys) > 0) && symmetric:
			p.Index(i).Add("%s needs secret; public keys take RS*, PS*, ES* and EdDSA", name)
		case first != 0 && (first == keyset.HMAC) != symmetric:
			p.Index(i).Add("%s is of another family than %s: HS* can't stand beside the others", name, c.Algorithms[0])
		}
		if first == 0 {
			first = algorithm.Family
		}
	}
}

func (c *IssuerConfig) validateSecret(p units.Problems) {
	need, longest := 32, "a shared secret"
	for _, name := range c.Algorithms {
		if a := keyset.Find(name); a != nil && a.Family == keyset.HMAC && a.Hash >= need {
			need, longest = a.Hash, a.Name
		}
	}
	secret := c.Secret.Reveal()
	switch {
	case len(secret) < need:
		p.Add("the secret is %d bytes long; %s needs at least %d", len(secret), longest, need)
	case wellKnown(secret):
		p.Add("the secret is a well-known example: anybody can sign with it")
	}
}

// knownSecrets are long enough to pass and stand in documentation, tools and word lists.
var knownSecrets = []string{
	"a-string-secret-at-least-256-bits-long",
	"a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long",
	"your-256-bit-secret-your-256-bit-secret",
	"your-secret-key-at-least-32-characters-long",
	"your-super-secret-jwt-token-with-at-least-32-characters-long",
	"super-secret-jwt-token-with-at-least-32-characters-long",
	"this-is-a-secret-key-for-jwt-token-generation",
	"thisisasecretkeythatshouldbechangedinproduction",
	"change-this-secret-key-in-production-environment",
	"please-change-this-secret-in-production",
	"09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
	"404e635266556a586e3272357538782f413f4428472b4b6250645367566b5970",
	"abcdefghijklmnopqrstuvwxyz123456",
	"abcdefghijklmnopqrstuvwxyz0123456789",
	"qwertyuiopasdfghjklzxcvbnm123456",
}

// wellKnown reports a listed secret, in any letter case.
func wellKnown(secret string) bool {
	for _, known := range knownSecrets {
		if strings.EqualFold(secret, known) {
			return true
		}
	}
	return false
}

// repeats reports a secret that says the same twice or more often.
func repeats(secret string) bool {
	for period := 1; period <= len(secret)/2; period++ {
		if secret[period:] == secret[:len(secret)-period] {
			return true
		}
	}
	return false
}
