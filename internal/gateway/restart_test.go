package gateway

import (
	"slices"
	"strings"
	"testing"
)

func TestKeysThatNeedARestart(t *testing.T) {
	old := parse(t, base)
	for _, c := range []struct {
		from, to string
		keys     []string
	}{
		{"8080", "8080", nil},
		{"8080", "8081", []string{"listen.address"}},
		{"headers: 50", "headers: 50, body: 1MiB", nil},
		{"headers: 50", "headers: 60, body: 1MiB", []string{"listen.limits.headers"}},
		{"10.0.0.0/8", "10.0.0.0/9", []string{"listen.trusted_proxies"}},
		{"limits:", "drain: { notice: 1s, timeout: 2s }, limits:", nil},
		{"limits:", "tls: { certificates: [{ cert: a, key: b }] }, limits:", []string{"listen.tls"}},
		{"limits:", "addresses: { deny: [10.0.0.0/8] }, limits:", nil},
		{"store: memory", "store: embedded, path: x", []string{"state.store", "state.path"}},
		{"store: memory", "store: memory, encryption_key: sesame-sesame-0123456789-0123456789", nil},
		{"state:", "admin: { address: \"127.0.0.1:1\", token: a-long-admin-token-0123456789 }\nstate:", []string{"admin.address"}},
		{"state:", "admin: { token: a-long-admin-token-0123456789 }\nstate:", nil},
		{"auth: none", "auth: none, timeout: 1s", nil},
	} {
		if got := fixed(old, parse(t, strings.Replace(base, c.from, c.to, 1))); !slices.Equal(got, c.keys) {
			t.Errorf("%s: %v, wanted %v", c.to, got, c.keys)
		}
	}
}

func TestRestartNamesEveryKeyAndChangesNothing(t *testing.T) {
	r, g := newReloader(t)
	before := g.Snapshot()
	writeFile(t, r.path, strings.NewReplacer("8080", "8081", "headers: 50", "headers: 60", "path: /a", "path: /b").Replace(base))
	err := r.Reload()
	if err == nil || err.Error() != "restart the gateway to change listen.address, listen.limits.headers" || g.Snapshot() != before {
		t.Errorf("%v", err)
	}
	list := r.Problems()
	if len(list) != 2 || list[0].Path != "listen.address" || list[1].Path != "listen.limits.headers" || list[0].File != r.path {
		t.Errorf("%v", list)
	}
	writeFile(t, r.path, base)
	if err := r.Reload(); err != nil || len(r.Problems()) != 0 {
		t.Errorf("%v, %v", err, r.Problems())
	}
}
