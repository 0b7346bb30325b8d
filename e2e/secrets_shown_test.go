package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// Whatever shows a document shows none of its secrets, of any way of identifying: print, diff, check, explain, the admin API, the
// log, and the refusal of a broken one.
func TestNoSecretIsShown(t *testing.T) {
	s, hash := newIntrospector(t), hashed(t, "secret")
	partner := store(t, "partner.key", "e2e-partner-key-0123456789\n")
	g := prepare(t, fmt.Sprintf(`upstreams: { up: { targets: ["http://127.0.0.1:1"] } }
basic_users: { ops: { users: [ { name: anna, hash: %q } ] } }
vaults: { main: { address: "http://127.0.0.1:1", token: "hvs.vault-token-0123456789" } }
internal_token: { issuer: "https://gw.test", keys: [%q] }
routes:
  - { id: all, match: { path: /all }, auth: { issuers: [main, asked], basic: [ops] }, forward: { token: {} }, rewrite: { request_headers: { set: { X-Api-Key: "${file:%s}" } } }, to: up }
`, hash, newSigningKey(t), partner))
	g.replace("issuers: {", fmt.Sprintf(`issuers: { asked: { issuer: "https://asked.test/", audiences: [api], introspection: { url: %q, client_id: gateway, client_secret: "e2e-client-secret-0123456789" } },`, s.url))
	g.replace("admin: {", `admin: { token: "admin-token-0123456789-0123456789-0123456789",`)
	secrets := []string{secret, hash, hash[len(hash)-20:], "hvs.vault-token", "e2e-client-secret", "admin-token-0123456789", "e2e-partner-key"}
	clean := func(where, text string) {
		t.Helper()
		for _, one := range secrets {
			if strings.Contains(text, one) {
				t.Errorf("%s shows %q", where, one)
			}
		}
	}
	g.start()
	t.Cleanup(g.kill)
	other := store(t, "other.yaml", "")
	text, err := os.ReadFile(g.file)
	if err != nil {
		t.Fatal(err)
	}
	changed := string(text)
	for _, one := range []string{secret, "hvs.vault-token-0123456789", "e2e-client-secret-0123456789", "admin-token-0123456789-0123456789-0123456789"} {
		changed = strings.ReplaceAll(changed, one, one+"-changed")
	}
	changed = strings.ReplaceAll(changed, hash, hashed(t, "another"))
	changed = strings.ReplaceAll(changed, partner, partner+".next")
	if err := os.WriteFile(partner+".next", []byte("e2e-partner-key-9876543210"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(other, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"print", "-config", g.file}, {"check", "-config", g.file}, {"explain", "-config", g.file, "GET", "/all"}, {"diff", g.file, other}} {
		code, out, failure := command(t, "", args...)
		if clean(args[0], out+failure); args[0] != "diff" && code != 0 || out+failure == "" {
			t.Errorf("%s: %d %s%s", args[0], code, out, failure)
		}
		if args[0] == "diff" {
			for _, key := range []string{"issuers.main.secret", "issuers.asked.introspection.client_secret", "basic_users.ops", "vaults.main.token", "admin.token", "X-Api-Key: changed"} {
				if !strings.Contains(out, key) {
					t.Errorf("diff does not name %s: %s", key, out)
				}
			}
		}
	}
	for _, path := range []string{"/api/v1/config", "/api/v1/routes", "/api/v1/upstreams", "/metrics", "/readyz"} {
		if got := speak(t, g.admin, strings.Replace(line("GET", path, "Authorization: Bearer admin-token-0123456789-0123456789-0123456789"), "gw.test", g.admin, 1)); got.status != 200 {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		} else {
			clean(path, got.body)
		}
	}
	g.replace(hash, hash[:len(hash)-3]+"!!!") // a mistake in a secret is told without it
	if code, out, failure := command(t, "", "check", "-config", g.file); code == 0 {
		t.Error("a broken hash is taken")
	} else {
		clean("check of a broken one", out+failure)
	}
	g.eventually("the reload is refused", func() bool { return strings.Contains(g.log.String(), "reload refused") })
	clean("the log", g.log.String())
}
