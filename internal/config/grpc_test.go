package config

import (
	"strings"
	"testing"
)

// Keyed writes go to upstreams of every protocol; their status checks are HTTP.
func TestKeyedCalls(t *testing.T) {
	const document = `version: 1
issuers: { main: { issuer: https://id.test/, audiences: [api], jwks: https://id.test/k, algorithms: [ES256] } }
upstreams: { rpc: { targets: [grpc://127.0.0.1:1] }, secure: { targets: [grpcs://127.0.0.1:2] }, clear: { targets: [h2c://127.0.0.1:3] }, web: { targets: [http://127.0.0.1:4] } }
routes:
  - { id: a, match: { path: /a }, auth: { issuers: [main] }, dedup: { key: required }, to: rpc }
  - { id: b, match: { path: /b }, auth: { issuers: [main] }, dedup: {}, to: { split: [{ upstream: secure, weight: 1 }, { upstream: clear, weight: 1 }] } }
  - { id: c, match: { path: /c }, auth: { issuers: [main] }, dedup: {}, fallback: [{ on: [open], upstream: secure }], to: web }
  - { id: d, match: { path: /d }, auth: { issuers: [main] }, dedup: { status_check: { url: "http://web/x/{key}" } }, to: rpc }
`
	parseGood(t, document)
	for _, name := range []string{"rpc", "secure"} {
		found := linesOf(problemsOf(t, strings.Replace(document, "http://web/x", "http://"+name+"/x", 1)))
		if !strings.Contains(found, "routes[3].dedup.status_check.url: asks upstream "+name+" over HTTP, and its targets speak gRPC") || strings.Count(found, "\n") > 1 {
			t.Errorf("%s: %s", name, found)
		}
	}
	parseGood(t, strings.Replace(document, "http://web/x", "http://clear/x", 1))
	parseGood(t, strings.Replace(document, "http://web/x", "http://rpc:9000/x", 1)) // a host of that name
}
