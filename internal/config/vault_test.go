package config

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/vault"
	"github.com/oncegate/oncegate/internal/vault/vaulttest"
)

const (
	vaultSecret = "kept-in-the-vault-0123456789-0123456789-0123456789"
	withVault   = `version: 1
vaults: { main: { address: "@ADDRESS@", token: "${TOKEN}" } }
issuers: { main: { issuer: x, audiences: [a], secret: "${vault:main/app/jwt#key}", algorithms: [HS256] } }
upstreams: { up: { targets: ["${vault:main/app/jwt#url}"] } }
routes:
  - { id: a, match: { path: /a }, auth: { issuers: [main] }, to: up }
`
)

func vaultEnv(name string) (string, bool) {
	value, ok := map[string]string{"TOKEN": "root"}[name]
	return value, ok
}

func vaultDocument(t *testing.T) (*vaulttest.Server, string) {
	t.Helper()
	s := vaulttest.New()
	s.Put("secret/app/jwt", map[string]any{"key": vaultSecret, "url": "http://127.0.0.1:4711", "n": 5})
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	return s, strings.Replace(withVault, "@ADDRESS@", h.URL, 1)
}

func fromVault(text string) (*Result, error) {
	return parse("f", []byte(text), Sources{Env: vaultEnv, Vaults: vault.NewPool()})
}

func TestSecretsFromAVault(t *testing.T) {
	s, text := vaultDocument(t)
	result, err := fromVault(text)
	if err != nil {
		t.Fatal(err)
	}
	doc := result.Document
	if doc.Issuers["main"].Secret.Reveal() != vaultSecret || doc.Upstreams["up"].Targets[0].URL != "http://127.0.0.1:4711" {
		t.Errorf("%+v", doc.Issuers)
	}
	if n := s.Seen("GET "); n != 1 {
		t.Errorf("one secret was asked for %d times", n)
	}
	shown := string(Print(doc))
	mustNotContain(t, shown, vaultSecret, "4711", "root") // the URL, too: it came from the vault
	mustContain(t, shown, `- url: "[redacted]"`)
	s.Put("secret/app/jwt", map[string]any{"key": vaultSecret + "x", "url": "http://127.0.0.1:4712"})
	next, err := fromVault(text)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, c := range Diff(doc, next.Document) {
		lines = append(lines, c.String())
	}
	if got := strings.Join(lines, "; "); got != "issuers.main.secret: changed; upstreams.up.targets[0].url: changed" {
		t.Error(got)
	}
}

func TestReferencesThatFail(t *testing.T) {
	s, text := vaultDocument(t)
	const ref, place = "${vault:main/app/jwt#key}", "f:3:55: issuers.main.secret: "
	for _, c := range []struct{ old, new, want string }{
		{ref, "${vault:main/app/jwt#none}", place + "can't read ${vault:main/app/jwt#none}: the secret has no such field"},
		{ref, "${vault:main/app/jwt#n}", place + "can't read ${vault:main/app/jwt#n}: the field is not a text"},
		{ref, "${vault:main/app/none#key}", place + "can't read ${vault:main/app/none#key}: there is no such secret (404)"},
		{ref, "${vault:mian/app/jwt#key}", place + `unknown vault "mian" (did you mean "main"?)`},
		{ref, "${vault:main/app/jwt}", place + "a secret of a vault is written ${vault:NAME/path/to/secret#field}"},
		{ref, "${vault:main/../sys#key}", place + "a secret of a vault is written"},
		{"${TOKEN}", "nonsense-token", place + "can't read ${vault:main/app/jwt#key}: permission denied (403)"},
		{"${TOKEN}", ref, "f:2:61: vaults.main.token: what a vault is asked with can't come from a vault"},
	} {
		_, err := fromVault(change(t, text, c.old, c.new))
		if err == nil {
			t.Errorf("%s: no problem", c.new)
			continue
		}
		mustContain(t, err.Error(), c.want)
		mustNotContain(t, err.Error(), vaultSecret, "nonsense-token")
	}
	s.Put("secret/app/jwt", map[string]any{"key": "too-short-hunter2", "url": "http://127.0.0.1:1"})
	_, err := fromVault(text)
	mustContain(t, err.Error(), place+"the secret is 17 bytes long")
	mustNotContain(t, err.Error(), "hunter2")
}

// TestVaultWithProblems: what is wrong with the vault is said there, once; nobody is asked.
func TestVaultWithProblems(t *testing.T) {
	s, text := vaultDocument(t)
	_, err := fromVault(change(t, text, `token: "${TOKEN}"`, `tokn: x`))
	found := err.Error()
	if found != `f:2:54: vaults.main.tokn: unknown key "tokn" (did you mean "token"?)` {
		t.Errorf("the mistake and its consequences:\n%s", found)
	}
	if s.Seen("") != 0 {
		t.Error("the vault was asked")
	}
	_, err = Parse("f", []byte(text), vaultEnv)
	mustContain(t, err.Error(), "no vault can be asked here")
}

func TestVaultThatIsDown(t *testing.T) {
	s, text := vaultDocument(t)
	s.Answer(func(w http.ResponseWriter) bool { w.WriteHeader(503); return true })
	many := change(t, text, `audiences: [a]`, `audiences: ["${vault:main/b#x}", "${vault:main/c#x}"]`)
	_, err := fromVault(many)
	if lines := strings.Count(err.Error(), "sealed or in maintenance (503)"); lines != 4 || s.Seen("") != 1 {
		t.Errorf("%d problems, %d calls:\n%s", lines, s.Seen(""), err)
	}
}

func TestOffline(t *testing.T) {
	s, text := vaultDocument(t)
	text = change(t, text, "match: { path: /a }", `match: { path: "${vault:main/x#path}" }, timeout: "${vault:main/x#t}"`)
	result, err := parse("f", []byte(text), Sources{Env: vaultEnv, Offline: true})
	if err != nil || s.Seen("") != 0 {
		t.Fatal(err)
	}
	mustNotContain(t, string(Print(result.Document)), "offline-")
	_, err = parse("f", []byte(change(t, text, "to: up", "to: pu")), Sources{Env: vaultEnv, Offline: true})
	mustContain(t, err.Error(), `unknown upstream "pu"`)
	_, err = parse("f", []byte(change(t, text, "vault:main/x#t", "vault:mian/x#t")), Sources{Env: vaultEnv, Offline: true})
	mustContain(t, err.Error(), `unknown vault "mian"`)
}

func TestChangesOutside(t *testing.T) {
	s, text := vaultDocument(t)
	file := filepath.Join(t.TempDir(), "id")
	if err := os.WriteFile(file, []byte("api\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	result, err := fromVault(change(t, text, "audiences: [a]", `audiences: ["${file:`+file+`}"]`))
	if err != nil {
		t.Fatal(err)
	}
	o := result.Document.Outside()
	if len(o.Files()) != 1 || o.Files()[file] == (digest{}) || len(o.Vaults()) != 1 {
		t.Errorf("%v %v", o.Files(), o.Vaults())
	}
	wants := func(what string, want bool) {
		t.Helper()
		if got, err := o.Changed(t.Context(), "main"); err != nil || got != want {
			t.Errorf("%s: changed is %v, %v", what, got, err)
		}
	}
	wants("nothing", false)
	s.Put("secret/app/jwt", map[string]any{"key": vaultSecret, "url": "http://127.0.0.1:4711", "more": "x"})
	wants("a field that nobody takes", false)
	s.Put("secret/app/jwt", map[string]any{"key": vaultSecret, "url": "http://127.0.0.1:4712"})
	wants("a field", true)
	s.Delete("secret/app/jwt")
	if _, err := o.Changed(t.Context(), "main"); err == nil {
		t.Error("a deleted secret is no error")
	}
	mustNotContain(t, err2text(o.Changed(t.Context(), "main")), vaultSecret)

	// What could not be read counts as changed when it can: the reload that it made fail is tried again.
	s.Answer(func(w http.ResponseWriter) bool { w.WriteHeader(503); return true })
	_, err = fromVault(text)
	o = err.(*Error).Outside
	if _, err := o.Changed(t.Context(), "main"); err == nil {
		t.Error("a vault that is down is no error")
	}
	s.Answer(nil)
	s.Put("secret/app/jwt", map[string]any{"key": vaultSecret, "url": "http://127.0.0.1:4711"})
	wants("the vault is back", true)
}

func err2text(_ bool, err error) string { return err.Error() }

func TestPlainSecretsAreWarned(t *testing.T) {
	_, text := vaultDocument(t)
	result, err := fromVault(text)
	if err != nil || len(result.Warnings) != 0 {
		t.Fatal(err, result.Warnings)
	}
	text = change(t, text, "${vault:main/app/jwt#key}", vaultSecret)
	text = change(t, text, "${TOKEN}", "${NO_SUCH:-root}")
	result, err = fromVault(change(t, text, "issuers: { main:", "admin: { token: an-admin-token }\nissuers: { main:"))
	if err != nil {
		t.Fatal(err)
	}
	found := linesOf(result.Warnings)
	mustContain(t, found, "f:2:61: vaults.main.token: the secret is the default of a variable", "f:3:17: admin.token: the secret stands in the document", "f:4:55: issuers.main.secret: the secret stands")
	mustNotContain(t, found, vaultSecret, "an-admin-token")
}
