package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// examples holds the API key and the rules as the reference has them.
const examples = `api_keys:
  partners: { header: X-Api-Key, keys: [{ id: acme, sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08, scopes: [orders:read], claims: { plan: gold } }] }
upstreams: { up: { targets: [%q] } }
routes:
  - { id: orders, match: { path: /orders }, auth: { issuers: [main], api_keys: [partners], require: { scopes: [orders:write], claims: { tenant: [a, b] } } }, to: up }
  - { id: login, match: { path: /login }, auth: { issuers: [main], require: { scopes: [orders:write], max_age: 5m } }, to: up }
  - { id: keys, match: { path: /keys }, auth: { api_keys: [partners] }, to: up }
`

// On both edges a 403 names the scopes that are missing, whatever else fails, and its access line the client; a 401 names
// nobody.
func TestForbiddenTellsScopesAndTheLogTheClient(t *testing.T) {
	t.Parallel()
	var reached atomic.Int64
	up := serve(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	const wide = `, error="insufficient_scope"`
	const lacking = wide + `, scope="orders:write"`
	rows := []struct {
		path, field, value                 string
		status                             int
		challenge, scopes, client, verdict string
	}{
		{"/orders", "Authorization", "Bearer " + hs(t), 403, `Bearer realm="oncegate"` + lacking, "orders:write", "alice", "claim tenant is a or b; missing scopes: orders:write"},
		{"/orders", "Authorization", "Bearer " + hs(t, "tenant", "a"), 403, `Bearer realm="oncegate"` + lacking, "orders:write", "alice", "a scope is missing: orders:write"},
		{"/orders", "Authorization", "Bearer " + hs(t, "scope", "orders:write"), 403, `Bearer realm="oncegate"` + wide, "", "alice", "claim tenant is a or b\n"},
		{"/orders", "X-Api-Key", "test", 403, `ApiKey realm="oncegate"` + lacking, "orders:write", "acme", "claim tenant is a or b; missing scopes: orders:write"},
		{"/orders", "Authorization", "Bearer " + hs(t, "exp", time.Now().Unix()-3600), 401, tokenChallenge, "", "", "expired"},
		{"/login", "Authorization", "Bearer " + hs(t), 401, `Bearer realm="oncegate", error="insufficient_user_authentication", max_age="300", scope="orders:write"`, "orders:write", "", "login at most 5m ago; missing scopes: orders:write"},
		{"/keys", "X-Api-Key", "tests", 401, `ApiKey realm="oncegate"`, "", "", "no list of the route holds the API key"},
		{"/keys", "X-Api-Key", "test", 200, "", "", "acme", "auth passes as acme"},
	}
	all := twinsWith(t, func() string { return fmt.Sprintf(examples, up.url) })
	for _, tw := range all {
		for i, r := range rows {
			req, _ := http.NewRequestWithContext(t.Context(), "GET", tw.scheme+"://"+tw.address+r.path, nil)
			req.Header.Set(r.field, r.value)
			req.Header.Set("X-Request-Id", fmt.Sprintf("row-%d", i))
			got, err := tw.client.Do(req)
			if err != nil {
				t.Fatal(tw.name, err)
			}
			body, _ := io.ReadAll(got.Body)
			got.Body.Close()
			scopes, _ := (answer{body: string(body)}).problem()["scopes"].(string)
			if got.StatusCode != r.status || got.Header.Get("WWW-Authenticate") != r.challenge || scopes != r.scopes {
				t.Errorf("%s, row %d: %d %q %s", tw.name, i, got.StatusCode, got.Header["Www-Authenticate"], body)
			}
		}
		seen := 0
		for _, line := range tw.accessLines(len(rows)) {
			id, _ := line["request_id"].(string)
			var i int
			if _, err := fmt.Sscanf(id, "row-%d", &i); err != nil {
				continue
			}
			if seen++; line["client"] != rows[i].client || line["status"] != float64(rows[i].status) {
				t.Errorf("%s, row %d: %v", tw.name, i, line)
			}
		}
		if seen != len(rows) {
			t.Errorf("%s: %d access lines", tw.name, seen)
		}
	}
	if n := reached.Load(); n != int64(len(all)) {
		t.Errorf("the upstream saw %d requests", n)
	}
	for i, r := range rows {
		if _, out, _ := command(t, "", "explain", "-config", all[0].file, "-H", r.field+": "+r.value, "GET", "http://x"+r.path); !strings.Contains(out, r.verdict) {
			t.Errorf("row %d: explain says %s", i, out)
		}
	}
	code, out, warned := command(t, "", "check", "-config", all[0].file)
	if code != 0 || out != "" || !strings.Contains(warned, ": api_keys.partners.keys[0].sha256: is the hash of a key that anybody guesses: 9f86d081...") || !strings.Contains(warned, "warning: "+all[0].file+":") {
		t.Errorf("check: %d %s %s", code, out, warned)
	}
	if log := all[0].log.String(); strings.Count(log, "anybody guesses") != 1 {
		t.Errorf("run says of the key: %s", log)
	}
}
