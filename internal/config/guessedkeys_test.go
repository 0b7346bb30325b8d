package config

import (
	"fmt"
	"strings"
	"testing"
)

// The contract's own example is a document; whoever writes it is told, at the hash.
func TestGuessedKeysAreWarned(t *testing.T) {
	const (
		document = `version: 1
api_keys:
  partners: { header: X-Api-Key, keys: [{ id: acme, sha256: %s, scopes: [orders:read], claims: { plan: gold } }] }
upstreams: { up: { targets: ["http://127.0.0.1:1"] } }
routes:
  - { id: a, match: { path: /a }, auth: { api_keys: [partners] }, to: up }
`
		ofTest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
		fine   = "f00d086d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00"
		where  = "gateway.yaml:3:%d: api_keys.partners.keys[0].sha256%s: is the hash of a key that anybody guesses: 9f86d081..."
	)
	for digest, want := range map[string]string{
		fine: "", ofTest: fmt.Sprintf(where, 61, ""), "[" + fine + ", " + ofTest + "]": fmt.Sprintf(where, 128, "[1]"), "[" + ofTest + "]": fmt.Sprintf(where, 62, "[0]"),
	} {
		var told []string
		for _, w := range parseGood(t, fmt.Sprintf(document, digest)).Warnings {
			if strings.Contains(w.Path, "api_keys") {
				told = append(told, w.String())
			}
		}
		if got := strings.Join(told, "\n"); want == "" && got != "" || !strings.HasPrefix(got, want) || len(told) > 1 {
			t.Errorf("%s: %q, wanted %q", digest, got, want)
		}
	}
}
