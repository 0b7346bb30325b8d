package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// With state.encryption_key no answer lies on the disk in the clear, replays work after a restart, and with another key an
// answer counts as not kept.
func TestStoredAnswersAreSealed(t *testing.T) {
	const marked = "an-answer-nobody-else-may-read"
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, marked)
	})
	g := prepare(t, fmt.Sprintf(keyed, up.url))
	const key = "0123456789abcdef0123456789abcdef"
	g.replace("store: embedded,", "store: embedded, encryption_key: "+key+",")
	g.start()
	t.Cleanup(func() { g.kill() })
	send := func(status int, kind string) answer {
		return g.want(status, kind, "POST", "/w", "{}", "Authorization", g.token(), "Idempotency-Key", "sealed-1")
	}
	send(200, "")
	g.kill()
	if found := search(t, g.data, marked); found != "" {
		t.Errorf("the answer stands in %s", found)
	}
	g.start()
	if a := send(200, ""); a.body != marked || a.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("after a restart: %v %s", a.header, a.body)
	}
	g.kill()
	g.replace(key, strings.ToUpper(key))
	g.start()
	send(409, "result-unavailable")
	if n := up.count.Load(); n != 1 {
		t.Errorf("executed %d times", n)
	}
}

// search gives the first file below dir that holds text.
func search(t *testing.T, dir, text string) (found string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(data), text) {
			found = path
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
