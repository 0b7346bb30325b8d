package vault

import (
	"net/url"
	"path"
	"strings"
	"testing"
)

// FuzzRef: no reference leads out of its mount, however a server or a proxy reads the path.
func FuzzRef(f *testing.F) {
	for _, seed := range []string{"main/app#key", "main/a/../b#k", "main/%2e%2e/x#k", "main/a\u2025/b#k", "m/a;b#c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ref, err := ParseRef(text)
		if err != nil {
			return
		}
		sent := "/v1/secret/data/" + escape(ref.Path)
		u, err := url.Parse("http://127.0.0.1" + sent)
		if err != nil || u.RawQuery != "" || u.Fragment != "" || path.Clean(sent) != sent || !strings.HasPrefix(path.Clean(u.Path), "/v1/secret/data/") {
			t.Errorf("%q is sent as %q", text, sent)
		}
	})
}
