package config

import (
	"fmt"
	"strings"
	"testing"
)

// An open route whose rewrite leads into what another one protects is told.
func TestOpenRewrites(t *testing.T) {
	const document = `version: 1
issuers: { main: { issuer: "https://id.test/", audiences: [api], secret: "0123456789abcdef-0123456789-ABCDEF", algorithms: [HS256] } }
upstreams: { up: { targets: ["http://127.0.0.1:1"] }, other: { targets: ["http://127.0.0.1:2"] } }
routes:
  - { id: admin, match: { path: "%s" }, auth: { issuers: [main] }, to: up }
  - { id: open, match: { path: "%s" }, auth: %s, rewrite: { %s }, to: %s }
`
	for _, c := range []struct {
		closed, open, auth, rewrite, to string
		told                            bool
	}{
		{"/admin/**", "/public/**", "none", "strip_prefix: /public", "up", true},
		{"/admin/**", "/public/**", "none", "strip_prefix: /public", "other", false},
		{"/admin/**", "/public/**", "{ issuers: [main] }", "strip_prefix: /public", "up", false},
		{"/admin/**", "/public/**", "none", "strip_prefix: /public, add_prefix: /open", "up", false},
		{"/admin/**", "/public/**", "none", "strip_prefix: /public, add_prefix: /admin", "up", true},
		{"/admin/x", "/public/**", "none", "add_prefix: /admin", "up", false}, // /admin/public
		{"/admin/**", "/public/**", "none", "host: upstream", "up", false},
		{"/users/{id}", "/item/{id}", "none", `path: "/users/{id}"`, "up", true},
		{"/users/{id}", "/item/{id}", "none", `path: "/users/{id}/view"`, "up", false},
		{"/users/me", "/item/{id}", "none", `path: "/users/{id}"`, "up", true},
		{"/admin", "/public/{a}", "none", "strip_prefix: /public", "up", true},
		{"/admin/x", "/public/{a}", "none", "strip_prefix: /public", "up", false},
	} {
		r := parseGood(t, fmt.Sprintf(document, c.closed, c.open, c.auth, c.rewrite, c.to))
		told := ""
		for _, w := range r.Warnings {
			if strings.Contains(w.Message, "route is open") {
				told = w.String()
			}
		}
		if (told != "") != c.told || c.told && !strings.Contains(told, "gateway.yaml:6:") {
			t.Errorf("%+v: %q", c, told)
		}
	}
}
