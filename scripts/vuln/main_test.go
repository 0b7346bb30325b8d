package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func put(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const doctored = `{"id":"GO-9999-9999","modified":"2026-11-01T00:00:00Z","affected":[{"package":{"name":"stdlib","ecosystem":"Go"},
"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}],"ecosystem_specific":{"imports":[{"path":"strings","symbols":[%q]}]}}]}`

// TestScanFails runs the real govulncheck over a module that calls strings.Repeat, with an advisory that says it has a hole.
func TestScanFails(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "m", "go.mod"), "module example.test/m\n\ngo 1.26\n")
	put(t, filepath.Join(dir, "m", "main.go"), "package main\n\nimport \"strings\"\n\nfunc main() { println(strings.Repeat(\"a\", 2)) }\n")
	put(t, filepath.Join(dir, "none", "a.json"), fmt.Sprintf(doctored, "Title"))
	put(t, filepath.Join(dir, "hole", "a.json"), fmt.Sprintf(doctored, "Repeat"))
	nothing := put(t, filepath.Join(dir, "nothing.txt"), "# nothing\n")
	t.Setenv("ONCEGATE_VULNDB", filepath.Join(dir, "none"))
	if err := scan(filepath.Join(dir, "m"), filepath.Join(dir, "none"), nothing); err != nil {
		t.Errorf("a function that is not reached: %v", err)
	}
	t.Setenv("ONCEGATE_VULNDB", filepath.Join(dir, "hole"))
	if err := scan(filepath.Join(dir, "m"), filepath.Join(dir, "none"), nothing); err == nil || !strings.Contains(err.Error(), "1 advisories") {
		t.Errorf("the hole was not found: %v", err)
	}
	t.Setenv("ONCEGATE_VULNDB", filepath.Join(dir, "no-such-folder"))
	if err := scan(filepath.Join(dir, "m"), filepath.Join(dir, "none"), nothing); err == nil {
		t.Error("a database that was named and is not there is no error")
	}
}

func TestJudge(t *testing.T) {
	const stream = `{"config":{"db_last_modified":"2026-11-01T00:00:00Z"}} {"progress":{}} {"osv":{"id":"GO-1"}} {"osv":{"id":"GO-2"}}
		{"finding":{"osv":"GO-1","trace":[{"module":"m","version":"v1.0.0"}]}}
		{"finding":{"osv":"GO-2","fixed_version":"v1.1.0","trace":[{"module":"m","version":"v1.0.0","package":"m/p","receiver":"T","function":"F"},{"package":"main","function":"main"}]}}`
	f, err := read(strings.NewReader(stream))
	if err != nil || f.advisories != 2 || f.modified.Year() != 2026 {
		t.Fatal(f, err)
	}
	var out strings.Builder
	if err := f.judge(&out, nil); err == nil || !strings.Contains(out.String(), "GO-2 m@v1.0.0 (fixed in v1.1.0): m/p.T.F is reached from main.main") || strings.Contains(out.String(), "GO-1") {
		t.Errorf("%v: %s", err, out.String())
	}
	if err := f.judge(&out, map[string]string{"GO-2": "because"}); err != nil {
		t.Errorf("accepted, and still: %v", err)
	}
	for _, broken := range []string{"", "{", `{"progress":{}}`} { // an empty answer must not pass for a clean one
		if _, err := read(strings.NewReader(broken)); err == nil {
			t.Errorf("%q was taken", broken)
		}
	}
}

func TestAccepted(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	file := filepath.Join(t.TempDir(), "accepted.txt")
	put(t, file, "# why\nGO-1 2026-11-23 not reached in truth\n")
	if got, err := readAccepted(file, now); err != nil || got["GO-1"] != "not reached in truth" {
		t.Error(got, err)
	}
	for _, bad := range []string{"GO-1 2026-11-21 over\n", "GO-1 2026-12-01\n", "GO-1 soon it is harmless\n"} {
		put(t, file, bad)
		if _, err := readAccepted(file, now); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
