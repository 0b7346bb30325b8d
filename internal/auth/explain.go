package auth

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oncegate/oncegate/internal/auth/dpop"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// Explain says in words what a route demands and what it forwards, one line a rule.
func Explain(cfg Config, fwd ForwardConfig) []string {
	lines := explainWho(cfg)
	if len(cfg.Require.Scopes) > 0 {
		lines = append(lines, "scopes "+strings.Join(cfg.Require.Scopes, ", ")+", else 403")
	}
	if len(cfg.Require.AnyScope) > 0 {
		lines = append(lines, "one of the scopes "+strings.Join(cfg.Require.AnyScope, ", ")+", else 403")
	}
	require := cfg.Require
	require.Expression = "" // its compiler is not at hand, its words are
	rules, err := newRules(require, nil)
	if err != nil {
		lines = append(lines, err.Error())
	}
	for _, r := range rules {
		lines = append(lines, fmt.Sprintf("%s, else %d", r.words, r.reason.Kind().Status()))
	}
	if cfg.Require.Expression != "" {
		lines = append(lines, "expression "+cfg.Require.Expression+" is true, else 403")
	}
	return append(lines, explainForward(fwd)...)
}

func explainWho(cfg Config) []string {
	if cfg.None {
		return []string{"none: every client passes, nobody is identified"}
	}
	var kinds []string
	if len(cfg.Issuers) > 0 {
		kinds = append(kinds, "a bearer token of issuer "+strings.Join(cfg.Issuers, " or "))
	}
	if len(cfg.APIKeys) > 0 {
		kinds = append(kinds, "an API key of list "+strings.Join(cfg.APIKeys, " or "))
	}
	sent := len(kinds)
	if len(cfg.Basic) > 0 {
		kinds = append(kinds, "name and password of list "+strings.Join(cfg.Basic, " or "))
		sent++
	}
	if len(cfg.Certificates) > 0 {
		kinds = append(kinds, "a client certificate of list "+strings.Join(cfg.Certificates, " or "))
	}
	lines := []string{strings.Join(kinds, ", or ") + ", else 401"}
	if sent > 1 {
		lines = append(lines, "two credentials at once are 400")
	}
	if len(cfg.Basic) > 0 {
		lines = append(lines, "a password without TLS is 403, but for this machine")
	}
	if len(cfg.Certificates) > 0 {
		if sent > 0 {
			lines = append(lines, "a certificate counts when nothing else was sent")
		}
		lines = append(lines, "a host other than that of the handshake (SNI) is 421")
	}
	if cfg.Optional {
		onlyTokens := len(kinds) == 1 && len(cfg.Issuers) > 0
		lines = append(lines, "optional: without a "+map[bool]string{true: "token", false: "credential"}[onlyTokens]+
			" the client is anonymous; a bad one is 401")
	}
	return lines
}

// ExplainIssuers says in words what becomes of the tokens of a route's issuers, and what they need beside themselves.
func ExplainIssuers(cfg Config, issuers map[string]IssuerConfig) []string {
	var lines []string
	for _, name := range cfg.Issuers {
		if d := issuers[name].DPoP; d != nil {
			lines = append(lines, explainProofs(name, d))
		}
		if in := issuers[name].Introspection; in != nil {
			which := "tokens are"
			if len(cfg.Issuers) > 1 {
				which = "tokens that no other issuer signed are"
			}
			lines = append(lines, fmt.Sprintf("%s asked about at %s within %s, answers believed for %s; without an answer 503", which, in.URL, in.Timeout, in.Keep))
		}
	}
	return lines
}

func explainProofs(name string, d *dpop.Config) string {
	line := "DPoP: a proof for " + d.Base + " with a token of " + name + " that is bound to a key"
	if d.Required {
		line += ", and all have to be"
	}
	if d.Nonce {
		line += "; each with a nonce"
	}
	return line
}

func explainForward(fwd ForwardConfig) []string {
	var lines []string
	for _, header := range slices.Sorted(maps.Keys(fwd.Claims)) {
		lines = append(lines, fmt.Sprintf("header %s upstream is claim %s; a client can't set it", header, fwd.Claims[header]))
	}
	if t := fwd.Token; t != nil {
		line := "header " + t.header() + " upstream is a token of the gateway"
		if t.Audience != "" {
			line += " for audience " + t.Audience
		} else {
			line += " for that upstream"
		}
		if len(t.Claims) > 0 {
			line += " with claims " + strings.Join(t.Claims, ", ")
		}
		lines = append(lines, line+"; it is removed where nobody is identified")
	}
	if fwd.Authorization {
		lines = append(lines, "the client's Authorization goes upstream, and its DPoP")
	}
	if fwd.APIKey {
		lines = append(lines, "the client's API key goes upstream")
	}
	return lines
}

// Decide is Judge for a request of which only the Authorization field is known (nil: there is none).
func Decide(cfg Config, a *Authority, field []byte) (string, error) {
	m := pipeline.NewMemory("GET", "/")
	if field != nil {
		m.WithHeader(authorization, string(field))
	}
	return Judge(cfg, a, &m.Exchange)
}

// Judge says what a route would do with a request: a line of words, and the reason when it would refuse, nil when the
// request would pass. Unlike a client, the reader is told which check fails. It may wait a second for keys.
func Judge(cfg Config, a *Authority, x *pipeline.Exchange) (string, error) {
	if cfg.None {
		return "passes: the route asks for no credential", nil
	}
	g, err := newGate(cfg, forward{}, a)
	if err != nil {
		return "", err
	}
	if g.elsewhere(x) {
		return refusalWords(OtherHost), OtherHost
	}
	sent := g.credentials(x)
	if g.optional && sent.none() {
		return "passes as anonymous: no credential was sent and it is optional", nil
	}
	who := g.identify(x, &sent)
	if who.reason != accepted {
		return refusalWords(who.reason), who.reason
	}
	x.Client = *who.client
	defer func() { x.Client = pipeline.Client{} }()
	failed, missing := g.failed(x, who.claims), g.missing(who.claims.scopes)
	switch {
	case failed != nil:
		return failedWords(x, &who, failed, missing), failed.reason
	case missing != nil:
		return refusalWords(MissingScope) + ": " + missing.words, MissingScope
	}
	what := [schemes]string{bearerScheme: "issuer", dpopScheme: "issuer", keyScheme: "list of keys", basicScheme: "list of users", certificateScheme: "list of certificates"}[who.scheme]
	return fmt.Sprintf("passes as subject %q of %s %s", who.client.Subject, what, who.source), nil
}

// failedWords are for a rule that does not hold, and for the scopes that are missing besides (nil: none).
func failedWords(x *pipeline.Exchange, who *identified, failed *rule, missing *lack) string {
	words := refusalWords(failed.reason) + ": " + failed.words
	if e, ok := failed.matcher.(expressionRule); ok {
		words += "; it " + e.expression.Why(x, who.claims)
	}
	if missing != nil {
		words += "; missing scopes: " + missing.words
	}
	return words
}

func refusalWords(r Reason) string {
	return fmt.Sprintf("refuses with %d %s: %s", r.Kind().Status(), r.Kind().Slug(), reasonTable[r].text)
}
