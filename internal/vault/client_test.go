package vault

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/units"
	"github.com/oncegate/oncegate/internal/vault/vaulttest"
)

func started(t *testing.T) (*vaulttest.Server, Config) {
	t.Helper()
	s := vaulttest.New()
	s.Put("secret/app/jwt", map[string]any{"key": "a secret text", "n": 5, "none": nil, "list": []string{"x"}})
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	return s, Config{Address: h.URL, Mount: "secret", Timeout: units.Duration(time.Second), Refresh: units.Duration(time.Minute), Token: "root"}
}

// get reads one field with a new client.
func get(t *testing.T, cfg Config, path, field string) (string, error) {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := c.Read(t.Context(), path)
	if err != nil {
		return "", err
	}
	return secret.Text(field)
}

func fails(t *testing.T, words string, cfg Config, path, field string) error {
	t.Helper()
	_, err := get(t, cfg, path, field)
	if err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("%s#%s: %v, wanted %q", path, field, err, words)
	}
	if err != nil && (strings.Contains(err.Error(), "a secret text") || strings.Contains(err.Error(), "wrong-token")) {
		t.Errorf("the error tells: %v", err)
	}
	return err
}

func TestRead(t *testing.T) {
	s, cfg := started(t)
	if text, err := get(t, cfg, "app/jwt", "key"); err != nil || text != "a secret text" {
		t.Error(text, err)
	}
	fails(t, "no such field", cfg, "app/jwt", "other")
	for _, field := range []string{"n", "none", "list"} {
		fails(t, "not a text", cfg, "app/jwt", field)
	}
	fails(t, "no such secret (404)", cfg, "app/other", "key")
	s.Put("team/kv/app", map[string]any{"key": "here"})
	s.Put("ns/secret/app", map[string]any{"key": "there"})
	deep := cfg
	deep.Mount = "team/kv"
	if text, err := get(t, deep, "app", "key"); err != nil || text != "here" {
		t.Error(text, err)
	}
	deep = cfg
	deep.Namespace = "ns"
	if text, err := get(t, deep, "app", "key"); err != nil || text != "there" {
		t.Error(text, err)
	}
	s.Delete("secret/app/jwt")
	fails(t, "newest version is deleted", cfg, "app/jwt", "key")
	wrong := cfg
	wrong.Token = "wrong-token"
	if err := fails(t, "permission denied (403)", wrong, "app/jwt", "key"); Unavailable(err) {
		t.Error("a refusal passes for an outage")
	}
}

func TestServersThatFail(t *testing.T) {
	s, cfg := started(t)
	says := func(status int, body string) func(http.ResponseWriter) bool {
		return func(w http.ResponseWriter) bool {
			w.Header().Set("Location", "/v1/secret/data/app/jwt")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
			return true
		}
	}
	for _, c := range []struct {
		status int
		body   string
		words  string
		down   bool
	}{
		{503, `{"sealed":true}`, "sealed", true},
		{500, "a secret text", "answers 500", true},
		{429, "", "answers 429", true},
		{307, "", "not followed", false},
		{200, "", "not what was expected", false},
		{200, "a secret text", "not what was expected", false},
		{200, `{"data":{"data":null}}`, "holds no secret", false},
		{200, `{"data":{"key":"a secret text"}}`, "holds no secret", false}, // version 1 of the engine
		{200, `{"data":{"data":["a secret text"]}}`, "not what was expected", false},
		{200, strings.Repeat("x", maxAnswer+1), "larger than 1 MiB", false},
	} {
		s.Answer(says(c.status, c.body))
		if err := fails(t, c.words, cfg, "app/jwt", "key"); Unavailable(err) != c.down {
			t.Errorf("%d: down is not %v", c.status, c.down)
		}
	}
	s.Answer(func(w http.ResponseWriter) bool { time.Sleep(150 * time.Millisecond); return true })
	slow := cfg
	slow.Timeout = units.Duration(30 * time.Millisecond)
	if err := fails(t, "can't be asked", slow, "app/jwt", "key"); !Unavailable(err) {
		t.Errorf("%v is no outage", err)
	}
	s.Answer(nil)
	gone := cfg
	gone.Address = "http://127.0.0.1:1"
	if err := fails(t, "can't be asked", gone, "app/jwt", "key"); !Unavailable(err) {
		t.Errorf("%v is no outage", err)
	}
}

func TestLogins(t *testing.T) {
	s, cfg := started(t)
	jwt := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(jwt, []byte("service-account\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Token = ""
	s.Login("team/approle", map[string]string{"role_id": "r", "secret_id": "s"}, 3600)
	s.Login("kubernetes", map[string]string{"role": "gateway", "jwt": "service-account"}, 3600)
	byRole, byPod := cfg, cfg
	byRole.AppRole = &AppRole{RoleID: "r", SecretID: "s", Mount: "team/approle"}
	byPod.Kubernetes = &Kubernetes{Role: "gateway", JWTFile: jwt, Mount: "kubernetes"}
	for _, one := range []Config{byRole, byPod} {
		if text, err := get(t, one, "app/jwt", "key"); err != nil || text != "a secret text" {
			t.Error(text, err)
		}
	}
	bad := byRole
	bad.AppRole = &AppRole{RoleID: "r", SecretID: "wrong-token", Mount: "team/approle"}
	fails(t, "login: the vault answers 400", bad, "app/jwt", "key")
	byPod.Kubernetes = &Kubernetes{Role: "gateway", JWTFile: jwt + ".none", Mount: "kubernetes"}
	fails(t, "login: ", byPod, "app/jwt", "key")
}

// TestLoginsAreKept: one login serves many reads and reloads, is done again before its lease ends, and once when the server forgot it.
func TestLoginsAreKept(t *testing.T) {
	s, cfg := started(t)
	cfg.Token, cfg.AppRole = "", &AppRole{RoleID: "r", SecretID: "s", Mount: "approle"}
	s.Login("approle", map[string]string{"role_id": "r", "secret_id": "s"}, 3600)
	pool := NewPool()
	read := func(logins int) {
		t.Helper()
		c, err := pool.Client("main", cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(t.Context(), "app/jwt"); err != nil {
			t.Error(err)
		}
		if n := s.Seen("POST auth/approle/login"); n != logins {
			t.Errorf("%d logins, wanted %d", n, logins)
		}
	}
	read(1)
	read(1)
	s.Revoke()
	read(2)
	c, _ := pool.Client("main", cfg)
	c.until = time.Now()
	read(3)
	cfg.Namespace = "other"
	if other, _ := pool.Client("main", cfg); other == c {
		t.Error("other settings, the same client")
	}
}

func TestRenewal(t *testing.T) {
	s, cfg := started(t)
	renew := func(token string, times int) {
		t.Helper()
		cfg.Token = units.Secret(token)
		c, _ := New(cfg)
		for range 2 {
			if err := c.Renew(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if n := s.Seen("POST auth/token/renew-self"); n != times {
			t.Errorf("%s: %d renewals, wanted %d", token, n, times)
		}
	}
	renew("root", 1) // refused once: it is not asked again
	s.Revoke("periodic")
	renew("periodic", 3)
	s.Answer(func(w http.ResponseWriter) bool { w.WriteHeader(503); return true })
	c, _ := New(cfg)
	if err := c.Renew(context.Background()); err == nil || c.fixed {
		t.Error("an outage is no answer about the token")
	}
}

func TestOwnRoots(t *testing.T) {
	s, cfg := started(t)
	h := httptest.NewTLSServer(s)
	defer h.Close()
	cfg.Address = h.URL
	fails(t, "can't be asked", cfg, "app/jwt", "key")
	cfg.CA = filepath.Join(t.TempDir(), "ca.pem")
	if _, err := New(cfg); err == nil {
		t.Error("roots that are not there")
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw})
	if err := os.WriteFile(cfg.CA, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if text, err := get(t, cfg, "app/jwt", "key"); err != nil || text != "a secret text" {
		t.Error(text, err)
	}
}

func TestParseRef(t *testing.T) {
	for text, want := range map[string]string{
		"main/app#key": "main app key", "main/a/b c/d#k": "", "main/a/b/d#k.l": "main a/b/d k.l", "main/a#k#l": "main a k#l",
		"": "", "main": "", "main#k": "", "main/#k": "", "main/a": "", "main/a#": "", "/a#k": "", "main//a#k": "", "main/a/#k": "",
		"main/../sys/seal#k": "", "main/a/..#k": "", "main/./a#k": "", "main/a%2f..#k": "", "main/a?version=1#k": "", "main/a#k\n": "", `main/a\b#k`: "",
	} {
		ref, err := ParseRef(text)
		if got := strings.TrimSpace(fmt.Sprint(ref.Vault, " ", ref.Path, " ", ref.Field)); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
		if err == nil && ref.String() != "${vault:"+text+"}" {
			t.Errorf("%q became %s", text, ref)
		}
	}
}

func TestValidate(t *testing.T) {
	good := Config{Address: "https://vault.example.com:8200", Mount: "secret", Token: "t"}
	for name, c := range map[string]struct {
		change func(*Config)
		at     string
	}{
		"fine":            {func(*Config) {}, ""},
		"loopback":        {func(c *Config) { c.Address = "http://127.0.0.1:8200/" }, ""},
		"plain":           {func(c *Config) { c.Address = "http://vault.example.com" }, "main.address"},
		"path":            {func(c *Config) { c.Address = "https://vault.example.com/v1" }, "main.address"},
		"user":            {func(c *Config) { c.Address = "https://u:p@vault.example.com" }, "main.address"},
		"no URL":          {func(c *Config) { c.Address = "vault" }, "main.address"},
		"mount":           {func(c *Config) { c.Mount = "../sys" }, "main.mount"},
		"no login":        {func(c *Config) { c.Token = "" }, "main.token"},
		"two logins":      {func(c *Config) { c.AppRole = &AppRole{Mount: "approle"} }, "main.token"},
		"approle":         {func(c *Config) { c.Token, c.AppRole = "", &AppRole{Mount: "approle"} }, ""},
		"mount of method": {func(c *Config) { c.Token, c.Kubernetes = "", &Kubernetes{Mount: "/k"} }, "main.kubernetes.mount"},
		"header":          {func(c *Config) { c.Token = "a\nb" }, "main"},
	} {
		cfg, p := good, units.NewProblems()
		c.change(&cfg)
		cfg.Validate(p.Key("main"))
		list := p.List()
		if c.at == "" && len(list) > 0 || c.at != "" && (len(list) != 1 || list[0].Path != c.at) {
			t.Errorf("%s: %v, wanted %q", name, list, c.at)
		}
	}
}
