package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const explained = `version: 1
issuers:
  main: { issuer: "https://id.test/", audiences: [api], secret: "` + secret + `", algorithms: [HS256] }
  far: { issuer: "https://far.test/", audiences: [api], jwks: "http://127.0.0.1:1/jwks.json", algorithms: [ES256] }
rate_limits: { per-client: { rate: 100/s, burst: 200 } }
upstreams: { up: { targets: ["http://127.0.0.1:9"], breaker: {} } }
defaults: { rate_limits: [per-client] }
routes:
  - { id: open, match: { path: /open }, auth: none, to: up }
  - { id: maybe, match: { path: /maybe }, auth: { issuers: [main], optional: true }, to: up }
  - { id: orders, match: { path: "/orders/{id}", methods: [GET] }, auth: { issuers: [main], require: { scopes: ["orders:read"] } }, forward: { claims: { X-User-Id: sub } }, to: up }
  - { id: beta, match: { path: "/orders/{id}", methods: [GET], headers: { X-Beta: "1" } }, auth: { issuers: [main] }, to: up }
  - { id: write, match: { path: /orders, methods: [POST] }, auth: { issuers: [main], require: { claims: { tenant: [a, b] } } }, dedup: { key: required }, to: up }
  - { id: hosted, match: { hosts: [api.test], path: /hosted }, auth: none, to: up }
  - { id: far, match: { path: /far }, auth: { issuers: [far] }, to: up }
`

// wants runs a command and checks its exit code, and words of its two outputs.
func wants(t *testing.T, code int, stdout, stderr string, args ...string) string {
	t.Helper()
	got, out, failure := command(t, "", args...)
	if got != code || !strings.Contains(out, stdout) || !strings.Contains(failure, stderr) || stdout == "" && out != "" || stderr == "" && failure != "" {
		t.Errorf("gateway %s: exit %d, wanted %d\nstdout, wanted %q: %s\nstderr, wanted %q: %s", strings.Join(args, " "), got, code, stdout, out, stderr, failure)
	}
	return out
}

func TestArguments(t *testing.T) {
	file := store(t, "gateway.yaml", explained)
	for _, name := range []string{"run", "check", "explain", "print", "diff", "schema", "token", "demo", "version", "health"} {
		wants(t, 0, "usage: gateway "+name, "", name, "-h")
		wants(t, 0, "usage: gateway "+name, "", name, "--help")
		wants(t, 2, "", "-nonsense", name, "-nonsense")
		if name != "explain" && name != "diff" {
			wants(t, 2, "", "stray", name, "stray")
		}
	}
	wants(t, 0, "usage: gateway [command]", "", "-h")
	wants(t, 0, "usage: gateway [command]", "", "help")
	wants(t, 2, "", `unknown command "rnu"`, "rnu")
	wants(t, 2, "", "-config", "check", "-config")
	wants(t, 2, "", "stray", "check", "stray", "-config", file)
	wants(t, 2, "", "stray", "-config", file, "stray")
	wants(t, 0, "", "the secret stands in the document as it is", "check", "--config="+file)
	wants(t, 2, "", "one.yaml", "diff", "one.yaml", "two.yaml")
	wants(t, 2, "", "OLD and NEW", "diff", file)
	wants(t, 2, "", "OLD and NEW", "diff", file, file, file)
	wants(t, 0, "", "", "diff", file, file)
	wants(t, 2, "", "METHOD", "explain", "GET", "-config", file)
	wants(t, 2, "", "-H", "explain", "-config", file, "GET", "/open", "-H", "no colon")
	wants(t, 0, "route open", "", "explain", "GET", "-config", file, "/open", "-H", "X-A: b")
	wants(t, 0, "go1.", "", "version")
	wants(t, 0, "go1.", "", "--version")
}

func TestDocumentsThatCannotBeRead(t *testing.T) {
	folder := t.TempDir()
	for _, path := range []string{filepath.Join(folder, "missing.yaml"), folder, "-"} {
		wants(t, 2, path, "", "check", "-config", path)
		for _, args := range [][]string{{"run"}, {"print"}, {"explain"}, {"token", "-issuer", "main", "-sub", "a"}} {
			wants(t, 2, "", path, append(args, "-config", path)...)
		}
	}
	if code, _, failure := command(t, folder); code != 2 || !strings.Contains(failure, "gateway.yaml") {
		t.Errorf("without a document: %d %s", code, failure)
	}
	bad := store(t, "bad.yaml", strings.Replace(explained, "issuers: [main]", "issuers: [mian]", 1))
	report := wants(t, 2, `routes[1].auth.issuers[0]: `, "", "check", "-config", bad)
	if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(bad) + `:\d+:\d+: routes\[1\]\.auth\.issuers\[0\]: .* \(did you mean "main"\?\)$`).MatchString(report) {
		t.Error(report)
	}
	wants(t, 2, "", `did you mean "main"`, "run", "-config", bad)
}

// check reads what run would read: key files and certificates, too. What it reports, run does not start with.
func TestCheckReadsFiles(t *testing.T) {
	key := store(t, "key.pem", publicPEM(t, signerOf("ES256")))
	with := func(keys, algorithm string) string {
		return store(t, "gateway.yaml", strings.Replace(explained, `jwks: "http://127.0.0.1:1/jwks.json", algorithms: [ES256]`, "keys: ["+keys+"], algorithms: ["+algorithm+"]", 1))
	}
	refused := func(want, file string) {
		t.Helper()
		report := wants(t, 2, want, "", "check", "-config", file)
		wants(t, 2, "", report, "run", "-config", file)
	}
	wants(t, 0, "", "issuers.main.secret: the secret stands", "check", "-config", with(key, "ES256"))
	refused("issuers.far.keys[1]: key file /no/such.pem: no such file", with(key+", /no/such.pem", "ES256"))
	refused("issuers.far.keys[0]: ", with(key, "RS256"))
	refused("issuers.far.keys[0]: ", with(store(t, "junk.pem", "junk"), "ES256"))
	ca := strings.Replace(explained, `breaker: {}`, `breaker: {}, tls: { ca: /no/such.ca }`, 1)
	refused("upstreams.up.tls.ca: can't read /no/such.ca: no such file", store(t, "gateway.yaml", ca))
	tls := strings.Replace(explained, "issuers:\n", "listen: { tls: { certificates: [{ cert: /no/such.crt, key: /no/such.key }] } }\nissuers:\n", 1)
	refused(":2:33: listen.tls.certificates[0]: can't load /no/such.crt", store(t, "gateway.yaml", tls))
}

func TestExplain(t *testing.T) {
	file := store(t, "gateway.yaml", explained)
	_, token, _ := command(t, "", "token", "-config", file, "-issuer", "main", "-sub", "alice", "-scope", "orders:read", "-claim", "tenant=a")
	_, poor, _ := command(t, "", "token", "-config", file, "-issuer", "main", "-sub", "alice", "-claim", "tenant=c")
	far := mint(t, "ES256", signerOf("ES256"), object{"alg": "ES256"}, sound("iss", "https://far.test/"))
	rich, bare := "Authorization: Bearer "+strings.TrimSpace(token), "Authorization: Bearer "+strings.TrimSpace(poor)
	for _, c := range []struct {
		code  int
		line  string
		words []string
		head  []string
	}{
		{0, "", []string{"route open", "route orders", "per-client", "dedup", "breaker", "scopes orders:read", "header X-User-Id"}, nil},
		{0, "GET http://gw.test/open", []string{"route open", "auth", "per-client", "passes as anonymous"}, nil},
		{0, "GET /open?x=1", []string{"route open", "passes as anonymous"}, nil},
		{0, "GET /maybe", []string{"passes as anonymous"}, nil},
		{0, "GET /maybe", []string{"passes as alice of issuer main"}, []string{rich}},
		{0, "GET /maybe", []string{"401 unauthenticated"}, []string{"Authorization: Bearer x"}},
		{0, "GET /orders/5", []string{"route orders", "401 unauthenticated", "no credential", "not route beta", "condition not met: header X-Beta"}, nil},
		{0, "HEAD /orders/5", []string{"route orders", "passes as alice"}, []string{rich}},
		{0, "GET /orders/5", []string{"403 forbidden", "orders:read"}, []string{bare}},
		{0, "GET /orders/5", []string{"route beta", "not route orders", "a more specific route takes it"}, []string{rich, "X-Beta: 1"}},
		{0, "POST /orders", []string{"403 forbidden", "tenant"}, []string{bare}},
		{0, "POST /orders", []string{"passes as alice", "400 key-missing"}, []string{rich}},
		{0, "POST /orders", []string{"the key is claimed"}, []string{rich, "Idempotency-Key: k"}},
		{0, "GET http://api.test:8080/hosted", []string{"route hosted"}, nil},
		{0, "GET /hosted", []string{"route hosted"}, []string{"Host: api.test"}},
		{3, "GET /hosted", []string{"404 not-found"}, nil},
		{3, "GET /nowhere", []string{"404 not-found"}, nil},
		{3, "DELETE /orders/5", []string{"405", "Allow: GET, HEAD, OPTIONS", "not route orders"}, nil},
		{0, "OPTIONS /orders/5", []string{"204", "Allow: GET, HEAD, OPTIONS"}, nil},
		{3, "GET //open", []string{"400"}, nil},
		{3, "GET http://gw.test/%2e%2e/open", []string{"400"}, nil},
		{3, "GET /open", []string{"400", "Authorization"}, []string{rich, rich}},
		{0, "GET /far", []string{"503 auth-unavailable"}, []string{"Authorization: Bearer " + far}},
	} {
		args := append([]string{"explain", "-config", file}, strings.Fields(c.line)...)
		for _, h := range c.head {
			args = append(args, "-H", h)
		}
		code, out, failure := command(t, "", args...)
		if code != c.code {
			t.Errorf("%s: exit %d, wanted %d: %s%s", c.line, code, c.code, out, failure)
		}
		for _, word := range c.words {
			if !strings.Contains(out, word) {
				t.Errorf("%s %v: no %q in\n%s", c.line, c.head, word, out)
			}
		}
		if strings.Contains(out+failure, strings.TrimSpace(token)) || strings.Contains(out+failure, secret) {
			t.Errorf("%s shows a secret", c.line)
		}
	}
}

func TestTokenOptions(t *testing.T) {
	file := store(t, "gateway.yaml", strings.Replace(explained, "secret:", "max_lifetime: 8d, secret:", 1))
	base := []string{"token", "-config", file, "-issuer", "main", "-sub", "alice"}
	claims := func(args ...string) map[string]any {
		t.Helper()
		out := wants(t, 0, ".", "", append(base, args...)...)
		text, err := base64.RawURLEncoding.DecodeString(strings.Split(out, ".")[1])
		doc := map[string]any{}
		if err != nil || json.Unmarshal(text, &doc) != nil || strings.Count(out, "\n") != 1 {
			t.Fatalf("%q: %v", out, err)
		}
		return doc
	}
	now := float64(time.Now().Unix())
	doc := claims("-scope", "a b", "-scope", "c", "-claim", "plan=gold=x", "-claim", "empty=", "-ttl", "7d")
	if doc["scope"] != "a b c" || doc["plan"] != "gold=x" || doc["empty"] != "" || doc["iss"] != "https://id.test/" || doc["aud"] != "api" || doc["sub"] != "alice" {
		t.Errorf("%v", doc)
	}
	if exp := doc["exp"].(float64); exp < now+7*86400 || exp > now+7*86400+10 || doc["iat"].(float64) < now-1 {
		t.Errorf("%v", doc)
	}
	if doc := claims(); doc["exp"].(float64) > now+3610 || doc["exp"].(float64) < now+3600 || doc["scope"] != nil {
		t.Errorf("by default: %v", doc)
	}
	if doc := claims("-claim", fmt.Sprintf("nbf=%.0f", now), "-claim", "level=5"); doc["nbf"] != now || doc["level"] != "5" {
		t.Errorf("%v", doc)
	}
	wants(t, 0, ".", "lives longer than max_lifetime", append(base, "-ttl", "9d")...)
	wants(t, 2, "", "-ttl", append(base, "-ttl", "soon")...)
	wants(t, 2, "", "-ttl", append(base, "-ttl", "-1h")...)
	wants(t, 2, "", "name=value", append(base, "-claim", "plan")...)
	wants(t, 2, "", "name=value", append(base, "-claim", "=gold")...)
	wants(t, 2, "", "-sub", "token", "-config", file, "-issuer", "main")
	wants(t, 2, "", "mian", "token", "-config", file, "-issuer", "mian", "-sub", "a")
	wants(t, 2, "", "-issuer", "token", "-config", file, "-sub", "a")
	wants(t, 2, "", "no signing key", "token", "-config", file, "-issuer", "far", "-sub", "a")
}

func TestPrintAndDiffAndSchema(t *testing.T) {
	file := store(t, "gateway.yaml", explained)
	printed := wants(t, 0, "idle_timeout", "", "print", "-config", file)
	if strings.Contains(printed, secret) || !strings.Contains(printed, "[redacted]") {
		t.Error(printed)
	}
	// What is printed says the same as the document, apart from the secrets.
	again := store(t, "again.yaml", strings.Replace(printed, `"[redacted]"`, `"`+secret+`"`, 1))
	wants(t, 0, "", "", "diff", file, again)
	next := strings.Replace(strings.Replace(explained, "burst: 200", "burst: 300", 1), "id: hosted, match: { hosts: [api.test], path: /hosted }", "id: moved, match: { path: /moved }", 1)
	out := wants(t, 1, "rate_limits.per-client.burst: 200 -> 300", "", "diff", file, store(t, "next.yaml", next))
	for _, word := range []string{"routes.hosted: removed", "routes.moved: added"} {
		if !strings.Contains(out, word) {
			t.Errorf("no %q in %s", word, out)
		}
	}
	other := strings.Replace(explained, secret, "another-secret-0123456789-0123456789-0123456789", 1)
	if out := wants(t, 1, "issuers.main.secret: changed", "", "diff", file, store(t, "other.yaml", other)); strings.Contains(out, "another-secret") || strings.Contains(out, secret) {
		t.Error(out)
	}
	doc := map[string]any{}
	if err := json.Unmarshal([]byte(wants(t, 0, "$schema", "", "schema")), &doc); err != nil || doc["additionalProperties"] != false {
		t.Errorf("%v: %v", err, doc["additionalProperties"])
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}
