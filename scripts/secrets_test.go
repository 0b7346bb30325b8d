// Package scripts_test proves that the checks of CI can fail.
package scripts_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSecretsAreFound plants keys in a repository of its own: in a file, in the history only, and beside what is allowed.
func TestSecretsAreFound(t *testing.T) {
	key := "AKIA" + "Q6UKXMLCIP5WNZ3J" // made up, in two parts so that this file holds none
	config, err := os.ReadFile("../.gitleaks.toml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		c := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.test", "-c", "commit.gpgsign=false"}, args...)...)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	put := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	finds := func(what string, want bool) {
		t.Helper()
		out, err := exec.Command("./secrets", dir).CombinedOutput()
		if (err != nil) != want {
			t.Errorf("%s: %v: %s", what, err, out)
		}
		if strings.Contains(string(out), key) {
			t.Errorf("%s: the report shows the key: %s", what, out)
		}
	}
	git("init", "-q")
	put(".gitleaks.toml", string(config))
	put("e2e/a_test.go", "const secret = \"e2e-secret-0123456789-0123456789-0123456789\"\n")
	git("add", ".")
	git("commit", "-q", "-m", "clean")
	finds("a clean repository", false)
	put("e2e/a_test.go", "const secret = \"e2e-secret-0123456789-0123456789-0123456789\"\nconst aws = \""+key+"\"\n")
	finds("a key in the work tree, in an allowed file", true)
	git("commit", "-q", "-a", "-m", "oops")
	put("e2e/a_test.go", "const secret = \"e2e-secret-0123456789-0123456789-0123456789\"\n")
	git("commit", "-q", "-a", "-m", "gone")
	finds("a key that only history holds", true)
}
