package e2e

import (
	"fmt"
	"testing"
)

const guardedWrites = `upstreams: { up: { targets: [%q] } }
routes: [ { id: w, match: { path: /w }, auth: { issuers: [main], require: { scopes: ["w"] } }, dedup: { key: required }, to: up } ]
`

// A stored answer is for those who may still ask: a client that lost its scope, or whose token is over, gets no replay.
func TestEdge32ReplaysAreAuthorisedAgain(t *testing.T) {
	up := serve(t, ok)
	g := begin(t, fmt.Sprintf(guardedWrites, up.url))
	may := g.token("-scope", "w")
	g.want(200, "", "POST", "/w", "x", "Authorization", may, "Idempotency-Key", "k")
	g.want(403, "forbidden", "POST", "/w", "x", "Authorization", g.token("-scope", "r"), "Idempotency-Key", "k")
	g.want(401, "unauthenticated", "POST", "/w", "x", "Authorization", g.token("-scope", "w", "-ttl", "1h", "-claim", "nbf=99999999999"), "Idempotency-Key", "k")
	g.want(401, "unauthenticated", "POST", "/w", "x", "Idempotency-Key", "k")
	if a := g.want(200, "", "POST", "/w", "x", "Authorization", g.token("-scope", "w"), "Idempotency-Key", "k"); a.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("with a fresh token: %v", a.header)
	}
	if n := up.count.Load(); n != 1 {
		t.Errorf("executed %d times", n)
	}
}
