package auth

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/oncegate/oncegate/internal/units"
)

// Validate finds what tags can't say: that somebody is trusted, and that what is demanded can be written in a token.
// Whether the issuers exist is the document's to check.
func (c *Config) Validate(p units.Problems) {
	if c.None {
		return
	}
	if len(c.Issuers)+len(c.APIKeys)+len(c.Certificates)+len(c.Basic) == 0 {
		p.Add("auth names no issuers: write issuers, api_keys, certificates or basic with a list of names, or auth: none when everybody may pass")
	}
	uniqueNames(c.Issuers, p.Key("issuers"))
	uniqueNames(c.APIKeys, p.Key("api_keys"))
	uniqueNames(c.Certificates, p.Key("certificates"))
	uniqueNames(c.Basic, p.Key("basic"))
	c.Require.validate(p.Key("require"))
}

func uniqueNames(names []string, p units.Problems) {
	for i, name := range names {
		if name == "" || slices.Contains(names[:i], name) {
			p.Index(i).Add("%q is empty or stands here twice", name)
		}
	}
}

func (r *Require) validate(p units.Problems) {
	validateWords("scope", r.Scopes, p.Key("scopes"))
	validateWords("scope", r.AnyScope, p.Key("any_scope"))
	validateWords("kind of login", r.ACR, p.Key("acr"))
	if r.MaxAge > 0 && r.MaxAge.Std() < time.Second {
		p.Key("max_age").Add("must be at least 1s: auth_time counts seconds")
	}
	if len(r.AnyScope) == 1 {
		p.Key("any_scope").Add("one scope alone belongs to scopes")
	}
	for _, name := range slices.Sorted(maps.Keys(r.Claims)) {
		r.Claims[name].validate(name, p.Key("claims"))
	}
	if r.Roles != nil {
		r.Roles.validate(p.Key("roles"))
	}
	validateNetworks(r.CIDR, p.Key("cidr"))
	for i, method := range r.Methods {
		if !isToken(method) || method != strings.ToUpper(method) {
			p.Key("methods").Index(i).Add("%q is not a method such as GET", method)
		}
	}
}

// validateWords checks words that are sent in a challenge, separated by spaces.
func validateWords(what string, words []string, p units.Problems) {
	for i, word := range words {
		if !isScope(word) {
			p.Index(i).Add("%q is not a %s: one word of printable ASCII without quotes and backslashes", word, what)
		} else if slices.Contains(words[:i], word) {
			p.Index(i).Add("%q stands here twice", word)
		}
	}
}

func (r *RoleRule) validate(p units.Problems) {
	if _, err := parsePath(r.Claim); err != nil {
		p.Key("claim").Add("%s", err)
	}
	if len(r.Any) == 0 && len(r.All) == 0 {
		p.Missing("any", "the roles are missing: one of any and all is needed")
	}
	for key, roles := range map[string][]string{"any": r.Any, "all": r.All} {
		for i, role := range roles {
			if role == "" || slices.Contains(roles[:i], role) {
				p.Key(key).Index(i).Add("%q is empty or stands here twice", role)
			}
		}
	}
}

// validate finds prefixes that every text has, beside what holds for values.
func (m ClaimMatch) validate(name string, p units.Problems) {
	switch {
	case name == "":
		p.Add("a claim needs a name")
	case len(m.In) == 0 && len(m.Prefix) == 0:
		p.Key(name).Add("one of in and prefix is needed")
	case slices.Contains(m.In, ""):
		p.Key(name).Key("in").Add("a value can't be empty")
	case slices.Contains(m.Prefix, ""):
		p.Key(name).Key("prefix").Add("a prefix can't be empty: every text begins with it")
	}
}

// isScope is scope-token of RFC 6749, 3.3.
func isScope(text string) bool {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return text != ""
}

const maxForwardedClaims = 16

// reserved are header fields that claims can't fill: they frame the message, belong to the hop, carry credentials, or
// are set by the gateway.
var reserved = []string{
	"host", "content-length", "content-encoding", "content-type", "transfer-encoding", "connection", "keep-alive",
	"proxy-connection", "te", "trailer", "upgrade", "expect", "authorization", "proxy-authorization",
	"proxy-authenticate", "cookie", "idempotency-key", "idempotency-attempt", "x-request-id", "traceparent",
	"tracestate", "forwarded", "x-real-ip",
}

// Validate finds headers that claims can't fill and two spellings of one header.
func (c *ForwardConfig) Validate(p units.Problems) {
	if c.Token != nil {
		c.Token.validate(p.Key("token"), c)
	}
	p = p.Key("claims")
	if len(c.Claims) > maxForwardedClaims {
		p.Add("at most %d claims can be forwarded", maxForwardedClaims)
	}
	seen := map[string]string{}
	for _, header := range slices.Sorted(maps.Keys(c.Claims)) {
		low := strings.ToLower(header)
		switch {
		case !isToken(header):
			p.Key(header).Add("%q is not a header name", header)
		case strings.Contains(header, "_"):
			p.Key(header).Add("write %q with '-': many servers read '_' as the same", header)
		case slices.Contains(reserved, low) || strings.HasPrefix(low, "x-forwarded-"):
			p.Key(header).Add("header %s is not for claims", header)
		case seen[low] != "":
			p.Key(header).Add("%s and %s are one header", seen[low], header)
		case c.Claims[header] == "":
			p.Key(header).Add("the name of a claim is needed")
		}
		seen[low] = header
	}
}

// isToken is token of RFC 9110, 5.6.2.
func isToken(text string) bool {
	for i := range len(text) {
		c := text[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9'
		if !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return text != ""
}
