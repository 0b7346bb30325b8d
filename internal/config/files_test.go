package config

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Files that the document names are read where a start would read them, and every mistake has its place.
func TestFilesOfTheDocument(t *testing.T) {
	junk := filepath.Join(t.TempDir(), "junk.pem")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := `version: 1
listen: { tls: { certificates: [{ cert: /no/such.crt, key: /no/such.key }] } }
issuers:
  far: { issuer: i, audiences: [a], keys: [/no/such.pem, ` + junk + `], algorithms: [ES256] }
upstreams:
  up: { targets: ["https://up.test"], tls: { ca: ` + junk + ` } }
  other: { targets: ["https://up.test"], tls: { ca: /no/such.ca } }
routes: [ { id: a, match: { path: /a }, auth: none, to: up } ]
state: { store: redis, redis: { addresses: ["127.0.0.1:6379"], tls: { ca: /no/redis.ca } } }
`
	result, err := Parse("f", []byte(text), testEnv)
	if err != nil {
		t.Fatal(err)
	}
	problems := result.Files()
	if problems == nil {
		t.Fatal("no problem was found")
	}
	want := []string{
		"f:2:33: listen.tls.certificates[0]: can't load /no/such.crt with /no/such.key: no such file or directory",
		"f:4:44: issuers.far.keys[0]: key file /no/such.pem: no such file or directory",
		"f:4:58: issuers.far.keys[1]: key file " + junk + ": neither PEM nor a JSON key set",
		"f:6:50: upstreams.up.tls.ca: " + junk + " holds no certificate in PEM form",
		"f:7:53: upstreams.other.tls.ca: can't read /no/such.ca: no such file or directory",
		"f:9:75: state.redis.tls.ca: can't read /no/redis.ca: no such file or directory",
	}
	if got := strings.Split(problems.Error(), "\n"); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwanted\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	good := strings.NewReplacer("listen:", "#", "keys: [/no/such.pem, "+junk+"]", "jwks: https://id.test/", ", tls: { ca: "+junk+" }", "", ", tls: { ca: /no/such.ca }", "", ", tls: { ca: /no/redis.ca }", "").Replace(text)
	if result, err = Parse("f", []byte(good), testEnv); err != nil {
		t.Fatal(err)
	}
	if err := result.Files(); err != nil {
		t.Error(err)
	}
}

// A flag that the file has not would be off for ever, in silence.
func TestFlagsOfTheDocument(t *testing.T) {
	file := filepath.Join(t.TempDir(), "flags.yaml")
	if err := os.WriteFile(file, []byte("new-checkout: { on: true }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	check := func(file, flag, want string) {
		t.Helper()
		result, err := Parse("f", []byte(`version: 1
flags: { file: `+file+` }
upstreams: { a: { targets: ["http://up.test"] }, b: { targets: ["http://up.test"] } }
routes: [ { id: a, match: { path: /a }, auth: none, to: { split: [{ upstream: a }, { upstream: b, when: { flag: `+flag+` } }] } } ]
`), testEnv)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := result.Files(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("got %q, wanted %q", got, want)
		}
	}
	check(file, "new-checkout", "")
	check(file, "new-chekout", `f:4:113: routes[0].to.split[1].when.flag: unknown flag "new-chekout" (did you mean "new-checkout"?)`)
	check("/no/flags.yaml", "new-checkout", "f:2:16: flags.file: stat /no/flags.yaml: no such file or directory")
}

// What the key files say of themselves is told like every other warning; what can't work is a problem.
func TestDoubtsOfTheDocument(t *testing.T) {
	public := func(name string) string {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		name = filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	one, two := public("one.pem"), public("two.pem")
	const document = `version: 1
issuers:
  far: { issuer: i, audiences: [a], keys: [%s], algorithms: [RS256%s] }
  near: { issuer: j, audiences: [a], secret: "${NEAR}", algorithms: [HS256] }
upstreams: { up: { targets: ["http://up.test"] } }
routes: [ { id: a, match: { path: /a }, auth: { issuers: [far] }, to: up } ]
state: { path: /tmp/never }
`
	judge := func(keys, more, near string) (string, string) {
		t.Helper()
		result, err := Parse("f", fmt.Appendf(nil, document, keys, more), func(string) (string, bool) { return near, true })
		if err != nil {
			t.Fatal(err)
		}
		problems := ""
		if err := result.Files(); err != nil {
			problems = err.Error()
		}
		return problems, linesOf(result.Warnings)
	}
	sound := "kR7vQ2mX9pL4wZ8nB5tY1cF6hJ3gD0sA"
	if problems, told := judge(one, "", sound); problems+told != "" {
		t.Errorf("nothing is wrong: %s%s", problems, told)
	}
	problems, told := judge(one, ", PS256", strings.Repeat("01234567", 4))
	if want := "f:3:43: issuers.far.keys: no key takes PS256"; problems != "" || !strings.Contains(told, want) {
		t.Errorf("%q lacks %q", problems+told, want)
	}
	if want := "f:4:46: issuers.near.secret: the secret repeats itself"; !strings.Contains(told, want) || strings.Contains(told, "0123456701") {
		t.Errorf("%q lacks %q", told, want)
	}
	if problems, _ := judge(one+", "+two, "", sound); !strings.Contains(problems, "f:3:43: issuers.far.keys: key files "+one+" and "+two+": two keys for RS256 have no kid") {
		t.Errorf("two keys of a kind: %q", problems)
	}
}

// CAs that nobody is asked for are no mistake: an operator turns the asking off and on again.
func TestIdleCAsAreWarned(t *testing.T) {
	const pair = "listen:\n  tls: { certificates: [{ cert: a, key: b }], client_ca: ca.pem, client_auth: %s }\n"
	for how, want := range map[string]string{
		"none": "gateway.yaml:3:58: listen.tls.client_ca: does nothing without client_auth: optional or require", "optional": "", "require": "",
	} {
		result := parseGood(t, change(t, change(t, base(t), "store: memory", "store: embedded"), "listen:\n", fmt.Sprintf(pair, how)))
		if got := linesOf(result.Warnings); got != want {
			t.Errorf("%s: %q, want %q", how, got, want)
		}
	}
}
