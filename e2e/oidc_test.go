package e2e

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// openProvider is a real OpenID provider in a process of its own: e2e/oidc/provider.mjs.
type openProvider struct {
	t      *testing.T
	issuer string
	stdin  io.Writer
	stdout *bufio.Scanner
	stderr *lockedBuffer
	ends   func()
}

const skipOIDC = "ONCEGATE_SKIP_OIDC"

// installProvider runs npm ci when the lock file is another one than last time.
var installProvider = sync.OnceValue(func() error {
	lock, err := os.ReadFile("oidc/package-lock.json")
	if err != nil {
		return err
	}
	sum := sha256.Sum256(lock)
	stamp, want := filepath.Join("oidc", "node_modules", ".oncegate"), hex.EncodeToString(sum[:])
	if have, err := os.ReadFile(stamp); err == nil && string(have) == want {
		return nil
	}
	npm := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts")
	npm.Dir = "oidc"
	if out, err := npm.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci in e2e/oidc: %w\n%s", err, out)
	}
	return os.WriteFile(stamp, []byte(want), 0o600)
})

func newOpenProvider(t *testing.T) *openProvider {
	t.Helper()
	if os.Getenv(skipOIDC) != "" {
		t.Skip(skipOIDC + " is set: not tested with a real provider")
	}
	for _, name := range []string{"node", "npm"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("%v: scripts/test-deps installs it; %s=1 leaves these tests out", err, skipOIDC)
		}
	}
	if err := installProvider(); err != nil {
		t.Fatalf("%v\n%s=1 leaves these tests out", err, skipOIDC)
	}
	p := &openProvider{t: t, stderr: &lockedBuffer{}}
	node := exec.Command("node", "provider.mjs")
	node.Dir, node.Stderr = "oidc", p.stderr
	in, err := node.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := node.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	p.stdin, p.stdout = in, bufio.NewScanner(out)
	p.ends = sync.OnceFunc(func() {
		_ = in.Close() // it ends with its input
		timer := time.AfterFunc(5*time.Second, func() { _ = node.Process.Kill() })
		defer timer.Stop()
		_ = node.Wait()
	})
	t.Cleanup(p.ends)
	p.issuer = p.says()
	return p
}

func (p *openProvider) says() string {
	p.t.Helper()
	if !p.stdout.Scan() {
		p.t.Fatalf("the provider ended: %s", p.stderr)
	}
	return p.stdout.Text()
}

// publishes makes these the provider's keys; the first one signs.
func (p *openProvider) publishes(keys ...string) {
	p.t.Helper()
	fmt.Fprintln(p.stdin, strings.Join(keys, " "))
	if answer := p.says(); answer != "ok" {
		p.t.Fatal(answer)
	}
}

// tokens are what the token endpoint gave.
type tokens struct {
	Access string `json:"access_token"`
	ID     string `json:"id_token"`
	Type   string `json:"token_type"`
}

// asks posts a form to the token endpoint as a client. fields are whole lines.
func (p *openProvider) asks(client string, form url.Values, fields ...string) (got tokens) {
	p.t.Helper()
	r, err := http.NewRequest("POST", p.issuer+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	r.SetBasicAuth(client, client+"-secret-0123456789")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, field := range fields {
		name, value, _ := strings.Cut(field, ": ")
		r.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	if json.Unmarshal(text, &got) != nil || answer.StatusCode != 200 || got.Access == "" {
		p.t.Fatalf("%s: %d %s\n%s", client, answer.StatusCode, text, p.stderr)
	}
	return got
}

// machine gets a token of a client for a resource, without any user.
func (p *openProvider) machine(resource, scope string) string {
	p.t.Helper()
	return p.asks("machine", url.Values{"grant_type": {"client_credentials"}, "resource": {resource}, "scope": {scope}}).Access
}

var formAction = regexp.MustCompile(`action="([^"]+)"`)

// login walks through the provider's pages as somebody in a browser does, and gives what the code was exchanged for.
func (p *openProvider) login(who string, query url.Values) tokens {
	p.t.Helper()
	const done = "http://127.0.0.1/done"
	jar, _ := cookiejar.New(nil)
	var code string
	browser := &http.Client{Jar: jar, Timeout: 10 * time.Second, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), done) {
			code = r.URL.Query().Get("code")
			return http.ErrUseLastResponse
		}
		return nil
	}}
	query.Set("client_id", "web")
	query.Set("response_type", "code")
	query.Set("redirect_uri", done)
	page := func(answer *http.Response, err error) string {
		if err != nil {
			p.t.Fatal(err)
		}
		defer answer.Body.Close()
		text, _ := io.ReadAll(answer.Body)
		if answer.StatusCode >= 400 {
			p.t.Fatalf("login: %d %s\n%s", answer.StatusCode, text, p.stderr)
		}
		return string(text)
	}
	text := page(browser.Get(p.issuer + "/auth?" + query.Encode()))
	for _, form := range []url.Values{{"prompt": {"login"}, "login": {who}, "password": {"any"}}, {"prompt": {"consent"}}} {
		action := formAction.FindStringSubmatch(text)
		if action == nil {
			p.t.Fatalf("no form in %s", text)
		}
		text = page(browser.PostForm(action[1], form))
	}
	if code == "" {
		p.t.Fatalf("no code came: %s", text)
	}
	return p.asks("web", url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {done}})
}

const apiResource, opaqueResource = "https://api.test", "https://opaque.test"

// behind starts a gateway that trusts the provider by its discovery document.
func (p *openProvider) behind(up string) *gateway {
	p.t.Helper()
	g := prepare(p.t, fmt.Sprintf(`upstreams: { up: { targets: [%q] } }
routes:
  - { id: api, match: { path: /api }, auth: { issuers: [op] }, forward: { claims: { X-User-Id: sub } }, to: up }
  - { id: read, match: { path: /read }, auth: { issuers: [op], require: { scopes: ["orders:read"] } }, to: up }
  - { id: loose, match: { path: /loose }, auth: { issuers: [loose] }, to: up }
  - { id: other, match: { path: /other }, auth: { issuers: [other] }, to: up }
`, up))
	const issuer = `%s: { issuer: %q, discovery: true, audiences: [%s], algorithms: [RS256, ES256, EdDSA], revocation: true %s },`
	g.replace("issuers: {", "issuers: {"+fmt.Sprintf(issuer, "op", p.issuer, apiResource, ", typ: at+jwt")+fmt.Sprintf(issuer, "loose", p.issuer, apiResource+", web", "")+fmt.Sprintf(issuer, "other", p.issuer, "https://other.test", ""))
	g.start()
	p.t.Cleanup(g.kill)
	return g
}

func TestRealProvider(t *testing.T) {
	p := newOpenProvider(t)
	up := newMirror(t)
	g := p.behind(up.url)
	token := p.machine(apiResource, "orders:read")
	if got := g.admits("by client credentials", "/api", token); len(got.sent("X-User-Id")) != 1 || got.sent("X-User-Id")[0] != "machine" {
		t.Errorf("%s", got.body)
	}
	g.admits("with the scope", "/read", token)
	g.refuses("without the scope", wantsScope, "/read", "Authorization: Bearer "+p.machine(apiResource, "orders:write"))
	g.refuses("for another resource", badToken, "/other", "Authorization: Bearer "+token)
	g.refuses("another resource's token", badToken, "/api", "Authorization: Bearer "+p.machine("https://other.test", "orders:read"))
	g.refuses("an opaque token", badToken, "/api", "Authorization: Bearer "+p.machine(opaqueResource, "orders:read"))

	user := p.login("carol", url.Values{"scope": {"openid orders:read"}, "resource": {apiResource}, "nonce": {"n-0S6_WzA2Mj"}})
	if got := g.admits("by a login", "/api", user.Access); len(got.sent("X-User-Id")) != 1 || got.sent("X-User-Id")[0] != "carol" {
		t.Errorf("%s", got.body)
	}
	if user.ID == "" {
		t.Fatal("no ID token")
	}
	before := up.count.Load()
	for _, path := range []string{"/api", "/loose", "/other"} { // case 43: on /loose neither typ nor audience stands in its way
		g.refuses("an ID token, "+path, badToken, path, "Authorization: Bearer "+user.ID)
	}
	without := p.login("dave", url.Values{"scope": {"openid"}, "resource": {apiResource}}) // nothing but at_hash tells what it is
	g.refuses("an ID token without a nonce", badToken, "/loose", "Authorization: Bearer "+without.ID)
	revoke := fmt.Sprintf(`{"issuer":"op","jti":%q}`, claimOf(t, token, "jti"))
	if got := speak(t, g.admin, strings.Replace(line("POST", "/api/v1/revocations", "Content-Type: application/json", fmt.Sprint("Content-Length: ", len(revoke))), "gw.test", g.admin, 1)+revoke); got.status/100 != 2 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	g.refuses("a revoked token", badToken, "/api", "Authorization: Bearer "+token)
	if up.count.Load() != before {
		t.Error("the upstream was asked")
	}
	g.admits("another one of the same client", "/api", p.machine(apiResource, "orders:read"))
	g.soundLog(token[len(token)-30:], user.ID[len(user.ID)-30:], user.Access[len(user.Access)-30:])
}

func claimOf(t *testing.T, token, name string) string {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	claims := object{}
	if err != nil || json.Unmarshal(text, &claims) != nil {
		t.Fatalf("%v: %s", err, text)
	}
	value, _ := claims[name].(string)
	return value
}

// A key that signs before anybody saw it is fetched by the first request that needs it; a key that is gone takes its
// tokens with it, those of the cache as well, as soon as the set is fetched.
func TestRealProviderRotatesKeys(t *testing.T) {
	t.Parallel()
	p := newOpenProvider(t)
	up := newMirror(t).url
	g := p.behind(up)
	first := p.machine(apiResource, "orders:read")
	g.admits("the first key", "/api", first)
	p.publishes("ES256-second", "RS256-first")
	second := p.machine(apiResource, "orders:read")
	g.admits("a key that was published a moment ago", "/api", second)
	g.admits("the key before it, still published", "/api", first)

	// Unknown key ids cause one fetch in 30 s: what follows is for a gateway that has that one left.
	g = p.behind(up)
	g.admits("known to a new gateway", "/api", second)
	g.admits("the older one, too", "/api", first)
	p.publishes("EdDSA-third", "ES256-second")
	third := p.machine(apiResource, "orders:read")
	g.admits("another algorithm", "/api", third)
	g.refuses("a key that is gone, its token cached", badToken, "/api", "Authorization: Bearer "+first)
	g.admits("a key that stayed", "/api", second)

	g = p.behind(up)
	g.admits("before the leak", "/api", third)
	p.publishes("RS256-fourth")                       // all others are revoked at once
	for _, path := range []string{"/api", "/loose"} { // each entry of issuers has a key set of its own
		g.admits("after the leak", path, p.machine(apiResource, "orders:read"))
	}
	for name, token := range map[string]string{"first": first, "second": second, "third": third} {
		g.refuses("revoked key: "+name, badToken, "/api", "Authorization: Bearer "+token)
		g.refuses("revoked key, loose: "+name, badToken, "/loose", "Authorization: Bearer "+token)
	}
}
