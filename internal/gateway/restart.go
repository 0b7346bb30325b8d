package gateway

import (
	"slices"
	"strings"

	"github.com/oncegate/oncegate/internal/config"
)

// RestartError says which keys of a new document can't take effect while the gateway runs.
type RestartError struct{ Keys []string }

// Error names all of them.
func (e *RestartError) Error() string {
	return "restart the gateway to change " + strings.Join(e.Keys, ", ")
}

// live are the keys of listen and admin that are read when they are needed, so that a reload changes them. A dot at the end
// takes all keys below.
var live = []string{"listen.drain.", "listen.limits.body", "listen.limits.failed_tokens_per_ip", "listen.addresses", "listen.addresses.", "listen.proxy_status", "admin.token", "state.encryption_key", "state.previous_keys"}

// fixed lists the changed keys of what is bound to the process: its ports, their connections, and its store.
func fixed(old, doc *config.Document) []string {
	var keys []string
	bound := func(d *config.Document) *config.Document {
		return &config.Document{Listen: d.Listen, Admin: d.Admin, State: d.State}
	}
	for _, change := range config.Diff(bound(old), bound(doc)) {
		takes := func(key string) bool {
			return key == change.Path || strings.HasSuffix(key, ".") && strings.HasPrefix(change.Path, key)
		}
		if !slices.ContainsFunc(live, takes) {
			keys = append(keys, change.Path)
		}
	}
	return keys
}
