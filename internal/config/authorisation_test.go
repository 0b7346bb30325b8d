package config

import (
	"regexp"
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/auth/expression"
)

// TestAuthorisationExamples compiles what docs/authorisation.md shows.
func TestAuthorisationExamples(t *testing.T) {
	page := readFile(t, "../../docs/authorisation.md")
	blocks := regexp.MustCompile("(?s)```(yaml|cel)\n(.*?)```").FindAllStringSubmatch(page, -1)
	rules := 0
	for _, block := range blocks {
		if block[1] == "yaml" {
			parseGood(t, completed(block[2]))
			continue
		}
		for rule := range strings.Lines(block[2]) {
			if _, err := expression.New().Compile(strings.TrimSpace(rule)); err != nil {
				t.Errorf("%s: %v", rule, err)
			}
			rules++
		}
	}
	if len(blocks) < 5 || rules < 5 {
		t.Errorf("%d blocks, %d rules", len(blocks), rules)
	}
}

// completed adds what an example leaves out.
func completed(text string) string {
	rest := "version: 1\nissuers: { main: { issuer: https://id.test/, audiences: [api], jwks: https://id.test/k, algorithms: [ES256] } }\n"
	if !strings.Contains(text, "upstreams:") {
		rest += "upstreams: { orders: { targets: [http://127.0.0.1:1] } }\n"
	}
	return rest + text
}

const expressive = `version: 1
api_keys: { p: { header: X-Partner, keys: [ { id: a, sha256: "0123456789012345678901234567890123456789012345678901234567890123" } ] } }
issuers: { main: { issuer: https://id.test/, audiences: [api], jwks: https://id.test/k, algorithms: [ES256] } }
upstreams: { up: { targets: [http://127.0.0.1:1] } }
defaults: { auth: { issuers: [main], require: { expression: 'claims.a == 1' } } }
routes:
  - { id: inherits, match: { path: /a }, to: up }
  - id: own
    match: { path: "/b/{x}/{y}" }
    auth: { issuers: [main], require: { expression: 'request.params.x == claims.x' } }
    forward: { claims: { X-User: sub } }
    to: up
`

func TestExpressionsAreChecked(t *testing.T) {
	parseGood(t, expressive)
	for _, c := range []struct{ old, by, want string }{
		{"request.params.x == claims.x", "request.params.z == claims.x", `10:53: routes[1].auth.require.expression: unknown path parameter "z"`},
		{"request.params.x == claims.x", "claims.x == ", `10:53: routes[1].auth.require.expression: 1:13: Syntax error`},
		{"request.params.x == claims.x", "a == b", "undeclared reference to 'b'"},
		{"request.params.x == claims.x", `request.headers["x-partner"] == "k"`, "header x-partner carries API keys and can't be read"},
		{"request.params.x == claims.x", "", "routes[1].auth.require.expression: "},
		{"claims.a == 1", "claims.a", `5:61: defaults.auth.require.expression: 1:1: gives dyn, not bool`},
		{"claims.a == 1", `"x-partner" in request.headers`, "defaults.auth.require.expression: header x-partner carries"},
		{"forward: { claims", "forward: { token: {}, claims", "routes[1].forward.token: needs internal_token"},
		{"forward: { claims", "forward: { token: { header: x-partner }, claims", "routes[1].forward.token.header: header x-partner carries API keys"},
		{"forward: { claims", "forward: { token: { header: x-user }, claims", "X-User carries a claim already"},
		{"forward: { claims", "rewrite: { request_headers: { set: { x_user: a } } }\n    forward: { claims", "routes[1].rewrite.request_headers.set.x_user: forward fills x_user already"},
		{"forward: { claims", "rewrite: { request_headers: { remove: [x-user] } }\n    forward: { claims", "routes[1].rewrite.request_headers.remove[0]: forward fills x-user"},
		{"defaults: {", "defaults: { forward: { token: {} },", "defaults.forward.token: needs internal_token"},
		{"defaults: {", "internal_token: { issuer: gw, keys: [] }\ndefaults: {", "internal_token.keys"},
		{"defaults: {", "internal_token: { issuer: gw, keys: [a], ttl: 1h }\ndefaults: {", "internal_token.ttl"},
	} {
		mustContain(t, linesOf(problemsOf(t, change(t, expressive, c.old, c.by))), c.want)
	}
	signed := change(t, expressive, "forward: { claims", "forward: { token: {}, claims")
	parseGood(t, change(t, signed, "defaults: {", "internal_token: { issuer: gw, keys: [a.pem] }\ndefaults: {"))
}
