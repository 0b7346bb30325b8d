package auth

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Explain says in words what a route demands and what it forwards, one line a rule.
func Explain(cfg Config, fwd ForwardConfig) []string {
	var lines []string
	if cfg.None {
		lines = append(lines, "none: every client passes, nobody is identified")
	} else {
		lines = append(lines, "a bearer token of issuer "+strings.Join(cfg.Issuers, " or ")+", else 401")
		if cfg.Optional {
			lines = append(lines, "optional: without a token the client is anonymous; a bad token is 401")
		}
	}
	if len(cfg.Require.Scopes) > 0 {
		lines = append(lines, "scopes "+strings.Join(cfg.Require.Scopes, ", ")+", else 403")
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Require.Claims)) {
		lines = append(lines, fmt.Sprintf("claim %s is %s, else 403", name, strings.Join(cfg.Require.Claims[name], " or ")))
	}
	for _, header := range slices.Sorted(maps.Keys(fwd.Claims)) {
		lines = append(lines, fmt.Sprintf("header %s upstream is claim %s; a client can't set it", header, fwd.Claims[header]))
	}
	if fwd.Authorization {
		lines = append(lines, "the client's Authorization goes upstream")
	}
	return lines
}

// Decide says what a route would do with this Authorization field (nil: there is none): a line of words, and the reason
// when it would refuse, nil when the request would pass. Unlike a client, the reader is told which check fails. It may
// wait a second for keys.
func Decide(cfg Config, a *Authority, field []byte) (string, error) {
	if cfg.None {
		return "passes: the route asks for no credential", nil
	}
	if field == nil && cfg.Optional {
		return "passes as anonymous: no credential was sent and it is optional", nil
	}
	trusted, err := trust(cfg.Issuers, a)
	if err != nil {
		return "", err
	}
	text, reason := bearer(field)
	if reason != accepted {
		return refusalWords(reason), reason
	}
	v := a.verify(trusted, text, time.Now(), unknownKeyWait)
	if v.reason != accepted {
		return refusalWords(v.reason), v.reason
	}
	for name, values := range cfg.Require.Claims {
		if !v.entry.claims.isOneOf(name, values) {
			return refusalWords(MissingClaim) + ": " + name, MissingClaim
		}
	}
	rule := newScopeRule(cfg.Require.Scopes)
	if missing := rule.missing(v.entry.claims.scopes); missing != nil {
		return refusalWords(MissingScope) + ": " + missing.words, MissingScope
	}
	return fmt.Sprintf("passes as subject %q of issuer %s", v.entry.client.Subject, v.issuer.name), nil
}

func refusalWords(r Reason) string {
	return fmt.Sprintf("refuses with %d %s: %s", r.Kind().Status(), r.Kind().Slug(), reasonTable[r].text)
}
