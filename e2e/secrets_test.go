package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/vault/vaulttest"
)

const (
	inVault    = "first-in-the-vault-0123456789-0123456789-0123456789"
	laterVault = "later-in-the-vault-0123456789-0123456789-0123456789"
	fromVault  = `vaults: { main: { address: %q, token: "${file:token}", refresh: 1s, timeout: 1s } }
upstreams: { up: { targets: [%q] } }
routes:
  - { id: open, match: { path: /open }, auth: none, to: up }
  - { id: all, match: { path: /** }, auth: { issuers: [main] }, to: up }
`
)

// vaulted prepares a gateway whose issuer's secret comes from a vault, and the vault's token from a file.
func vaulted(t *testing.T) (*gateway, *vaulttest.Server) {
	t.Helper()
	s := vaulttest.New()
	s.Put("secret/gateway/jwt", map[string]any{"key": inVault})
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	g := prepare(t, fmt.Sprintf(fromVault, h.URL, serve(t, ok).url))
	g.replace("${file:token}", "${file:"+store(t, "vault-token", "root\n")+"}")
	g.replace(secret, "${vault:main/gateway/jwt#key}")
	return g, s
}

// silent wants that nothing that the gateway wrote or shows holds a secret.
func (g *gateway) silent() {
	g.t.Helper()
	_, shown := g.get(g.admin, "/api/v1/config")
	_, metrics := g.get(g.admin, "/metrics")
	_, problems := g.get(g.admin, "/api/v1/config/errors")
	printed, _ := exec.Command(binary, "print", "-config", g.file).CombinedOutput()
	for what, text := range map[string]string{"the log": g.log.String(), "the admin API": shown, "print": string(printed), "the metrics": metrics, "the problems": problems} {
		for _, s := range []string{inVault, laterVault, "too-short-hunter2"} {
			if strings.Contains(text, s) {
				g.t.Errorf("%s holds a secret", what)
			}
		}
	}
}

const vaultChecks = `gateway_secrets_checks_total{result=%q,source="vault:main"}`

// TestSecretOfAVaultChanges: the new one holds within its refresh, no request is lost, and nothing shows it.
func TestSecretOfAVaultChanges(t *testing.T) {
	g, s := vaulted(t)
	g.start()
	t.Cleanup(g.kill)
	old := g.token()
	g.want(200, "", "GET", "/x", "", "Authorization", old)
	stop := g.steady("GET", "/open")
	g.eventually("a look without a change", func() bool { return g.metric(fmt.Sprintf(vaultChecks, "unchanged")) != "" })
	if n := g.metric(reloadsOK); n != "0" {
		t.Errorf("%s reloads without a change", n)
	}
	s.Put("secret/gateway/jwt", map[string]any{"key": laterVault})
	g.eventually("the new secret", func() bool { a, _ := g.call("GET", "/x", "", "Authorization", old); return a.status == 401 })
	g.want(200, "", "GET", "/x", "", "Authorization", g.token())
	s.Put("secret/gateway/jwt", map[string]any{"key": "too-short-hunter2"})
	g.eventually("the refusal of a bad secret", func() bool { return g.metric(lastReload) == "0" })
	s.Put("secret/gateway/jwt", map[string]any{"key": laterVault})
	g.eventually("the good one again", func() bool { return g.metric(lastReload) == "1" })
	g.want(200, "", "GET", "/x", "", "Authorization", g.token())
	if failures, sent := stop(); len(failures) > 0 || sent < 100 {
		t.Errorf("%d of %d requests failed: %v", len(failures), sent, failures)
	}
	g.silent()
}

// TestVaultOutage: what was read stays in force; a reload is refused meanwhile, and is made up for when the vault is back.
func TestVaultOutage(t *testing.T) {
	t.Parallel()
	g, s := vaulted(t)
	g.start()
	t.Cleanup(g.kill)
	good := g.token()
	s.Answer(func(w http.ResponseWriter) bool { w.WriteHeader(503); return true })
	g.eventually("the failure in the metrics", func() bool { return g.metric(fmt.Sprintf(vaultChecks, "failure")) != "" })
	if g.metric(lastReload) != "1" {
		t.Error("an outage of the vault passes for a bad document")
	}
	g.want(200, "", "GET", "/x", "", "Authorization", good)
	if out, err := exec.Command(binary, "health", "-config", g.file).CombinedOutput(); err != nil {
		t.Errorf("health asks the vault: %v: %s", err, out)
	}
	g.replace("/open", "/opened")
	g.eventually("the refusal", func() bool { return g.metric(lastReload) == "0" })
	_, problems := g.get(g.admin, "/api/v1/config/errors")
	if !contains(problems, "issuers.main.secret") || !contains(problems, "sealed") {
		t.Errorf("the problems do not name the place: %s", problems)
	}
	g.want(200, "", "GET", "/open", "")
	s.Answer(nil)
	g.eventually("the reload that was refused", func() bool { a, _ := g.call("GET", "/opened", ""); return a.status == 200 })
	g.want(200, "", "GET", "/x", "", "Authorization", good)
	g.silent()
}

// TestVaultThatFailsAtStart: without its secrets the document is not one: exit code 2, as check says beforehand.
func TestVaultThatFailsAtStart(t *testing.T) {
	g, s := vaulted(t)
	wants(t, 0, "", "", "check", "-config", g.file)
	s.Answer(func(w http.ResponseWriter) bool { w.WriteHeader(503); return true })
	place := g.file + `:5:74: issuers.main.secret: can't read ${vault:main/gateway/jwt#key}: the vault is sealed or in maintenance (503)`
	wants(t, 2, place, "", "check", "-config", g.file)
	wants(t, 2, "", place, "run", "-config", g.file)
	wants(t, 0, "", "", "check", "-offline", "-config", g.file)
	s.Answer(nil)
	s.Revoke()
	wants(t, 2, "permission denied (403)", "", "check", "-config", g.file)
	s.Revoke("root")
	s.Delete("secret/gateway/jwt")
	wants(t, 2, "the secret's newest version is deleted", "", "check", "-config", g.file)
}

// TestSecretFileChanges: what ${file:...} names is read again when it changes; half a file or none changes nothing.
func TestSecretFileChanges(t *testing.T) {
	t.Parallel()
	g := prepare(t, fmt.Sprintf("upstreams: { up: { targets: [%q] } }\nroutes: [ { id: all, match: { path: /** }, auth: { issuers: [main] }, to: up } ]\n", serve(t, ok).url))
	file := store(t, "jwt", inVault+"\n")
	g.replace(secret, "${file:"+file+"}")
	g.start()
	t.Cleanup(g.kill)
	old := g.token()
	g.want(200, "", "GET", "/x", "", "Authorization", old)
	if err := os.Rename(file, file+".gone"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1200 * time.Millisecond) // two looks
	if g.metric(reloadsFailed) != "0" {
		t.Error("a file that is gone for a moment reloads")
	}
	if err := os.WriteFile(file, []byte(laterVault+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.eventually("the new secret", func() bool { a, _ := g.call("GET", "/x", "", "Authorization", old); return a.status == 401 })
	g.want(200, "", "GET", "/x", "", "Authorization", g.token())
	if err := os.WriteFile(file, []byte("too-short-hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.eventually("the refusal", func() bool { return g.metric(lastReload) == "0" })
	time.Sleep(1200 * time.Millisecond)
	if n := g.metric(reloadsFailed); n != "1" {
		t.Errorf("one bad file was refused %s times", n)
	}
	if err := os.WriteFile(file, []byte(laterVault), 0o600); err != nil {
		t.Fatal(err)
	}
	g.eventually("the good one again", func() bool { return g.metric(lastReload) == "1" })
	g.silent()
}

// TestSecretsThatCheckJudges: what everybody knows is refused, what stands in the document is warned about.
func TestSecretsThatCheckJudges(t *testing.T) {
	g := prepare(t, fmt.Sprintf(plain, "http://127.0.0.1:1"))
	wants(t, 0, "", ":5:74: issuers.main.secret: the secret stands in the document as it is", "check", "-config", g.file)
	g.replace(secret, "your-super-secret-jwt-token-with-at-least-32-characters-long")
	wants(t, 2, "the secret is a well-known example", "", "check", "-config", g.file)
	g.replace("your-super-secret-jwt-token-with-at-least-32-characters-long", "short")
	wants(t, 2, "the secret is 5 bytes long", "", "check", "-config", g.file)
}

// TestReadinessTellsOfMissingKeys: a gateway waits for the keys of its issuers for a moment, then goes on without them and
// says whose are missing; once it was ready, an issuer that fails does not take it out.
func TestReadinessTellsOfMissingKeys(t *testing.T) {
	t.Parallel()
	key := newEd25519(t)
	var down, asked bool
	gate := make(chan struct{}, 1)
	gate <- struct{}{}
	far := serve(t, func(w http.ResponseWriter, r *http.Request) {
		<-gate
		defer func() { gate <- struct{}{} }()
		asked = true
		if down {
			w.WriteHeader(500)
			return
		}
		key.jwks().ServeHTTP(w, r)
	})
	set := func(to bool) { <-gate; down = to; gate <- struct{}{} }
	set(true)
	body := fmt.Sprintf("upstreams: { up: { targets: [%q] } }\nroutes: [ { id: all, match: { path: /** }, auth: { issuers: [main, far] }, to: up } ]\n", serve(t, ok).url)
	g := prepare(t, body)
	g.replace("issuers: {", fmt.Sprintf(`issuers: { far: { issuer: "https://far.test/", audiences: [api], jwks: "%s/jwks", algorithms: [EdDSA] },`, far.url))
	g.launch()
	t.Cleanup(g.kill)
	g.eventually("the port", func() bool { status, _ := g.get(g.admin, "/livez"); return status == 200 })
	if status, text := g.get(g.admin, "/readyz"); status != 503 || text != "not ready\nissuers without keys: far\n" {
		t.Errorf("right after the start: %d %q", status, text)
	}
	g.eventually("readiness without the keys", func() bool { status, _ := g.get(g.admin, "/readyz"); return status == 200 })
	if _, text := g.get(g.admin, "/readyz"); text != "ok\nissuers without keys: far\n" || g.metric("gateway_auth_issuers_without_keys") != "1" {
		t.Errorf("after the grace: %q", text)
	}
	set(false)
	g.eventually("the keys", func() bool { _, text := g.get(g.admin, "/readyz"); return text == "ok\n" })
	set(true)
	g.replace("/jwks", "/other") // the reload knows no keys of this place
	g.signal(syscall.SIGHUP)
	g.eventually("the missing keys", func() bool { _, text := g.get(g.admin, "/readyz"); return strings.Contains(text, "far") })
	if status, _ := g.get(g.admin, "/readyz"); status != 200 || !asked {
		t.Errorf("readyz is %d: every gateway would be taken out at once", status)
	}
	r, _ := http.NewRequest("GET", "http://"+g.admin+"/readyz", nil)
	r.Header.Set("Accept", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var text [200]byte
	n, _ := answer.Body.Read(text[:])
	if got := string(text[:n]); got != `{"ready":true,"issuers_without_keys":["far"]}` {
		t.Error(got)
	}
}

// TestKeysInTimeNeedNoGrace: with keys that come at once a gateway is ready at once.
func TestKeysInTimeNeedNoGrace(t *testing.T) {
	key := newEd25519(t)
	far := serve(t, key.jwks().ServeHTTP)
	g := prepare(t, fmt.Sprintf("upstreams: { up: { targets: [%q] } }\nroutes: [ { id: all, match: { path: /** }, auth: { issuers: [main, far] }, to: up } ]\n", serve(t, ok).url))
	g.replace("issuers: {", fmt.Sprintf(`issuers: { far: { issuer: "https://far.test/", audiences: [api], jwks: "%s/jwks", algorithms: [EdDSA] },`, far.url))
	g.start()
	t.Cleanup(g.kill)
	begun := time.Now()
	g.eventually("ready", func() bool { status, text := g.get(g.admin, "/readyz"); return status == 200 && text == "ok\n" })
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("ready after %v", took)
	}
}
