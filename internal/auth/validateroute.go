package auth

import (
	"maps"
	"slices"
	"strings"

	"github.com/oncegate/oncegate/internal/units"
)

// Validate finds what tags can't say: that somebody is trusted, and that what is demanded can be written in a token.
// Whether the issuers exist is the document's to check.
func (c *Config) Validate(p units.Problems) {
	if c.None {
		return
	}
	if len(c.Issuers) == 0 && len(c.APIKeys) == 0 {
		p.Add("auth names no issuers: write issuers: [...], or auth: none when everybody may pass")
	}
	for i, name := range c.Issuers {
		if name == "" || slices.Contains(c.Issuers[:i], name) {
			p.Key("issuers").Index(i).Add("%q is empty or stands here twice", name)
		}
	}
	scopes := p.Key("require").Key("scopes")
	for i, scope := range c.Require.Scopes {
		if !isScope(scope) {
			scopes.Index(i).Add("%q is not a scope: one word of printable ASCII without quotes and backslashes", scope)
		} else if slices.Contains(c.Require.Scopes[:i], scope) {
			scopes.Index(i).Add("%q stands here twice", scope)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Require.Claims)) {
		c.validateClaim(name, p.Key("require").Key("claims"))
	}
}

func (c *Config) validateClaim(name string, p units.Problems) {
	values := c.Require.Claims[name]
	switch {
	case name == "":
		p.Add("a claim needs a name")
	case len(values) == 0:
		p.Key(name).Add("at least one value is needed: no token could ever pass")
	case slices.Contains(values, ""):
		p.Key(name).Add("a value can't be empty")
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
