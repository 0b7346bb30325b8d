package admin

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/auth"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/redistest"
)

const revocableRoutes = inMemory + `upstreams: { up: { targets: [@UP@] } }
api_keys: { partners: { keys: [{ id: acme, sha256: "2f3b7a6a2bb0d8a1a4fa8d0d9e4a6b6f5c7d8e9f00112233445566778899aabb" }] } }
defaults: { auth: { issuers: [main] } }
routes:
  - { id: w, match: { path: /w/** }, dedup: { key: required, keep: { answer: 1h, key: 2h } }, to: up }
`

// What is revoked on the admin port is refused at the next request; the log has no subject, no token id.
func TestRevocations(t *testing.T) {
	r := newRig(t, revocableRoutes)
	r.refuses(400, "bad-request", "POST", "/api/v1/revocations", `{"issuer":"main","sub":"alice-of-nowhere"}`) // revocation is off
	for _, body := range []string{"", "{}", `{"issuer":"main"}`, `{"issuer":"main","jti":"1","sub":"a"}`, `{"issuer":"main","everything":true}`} {
		r.refuses(400, "bad-request", "POST", "/api/v1/revocations", body)
	}
	r.refuses(404, "not-found", "POST", "/api/v1/revocations", `{"issuer":"nobody","jti":"1"}`)
	if text := r.log.String(); strings.Contains(text, "alice-of-nowhere") || strings.Count(text, `"change":"revoke"`) != 7 {
		t.Error(text)
	}
	doc := r.gateway.Snapshot().Document
	next := *doc
	next.Issuers = map[string]auth.IssuerConfig{}
	for name, i := range doc.Issuers {
		i.Revocation = true
		next.Issuers[name] = i
	}
	if err := r.gateway.Apply(&next); err != nil {
		t.Fatal(err)
	}
	r.wrote(0, "main", "bob", "/w/a", "k-1")
	r.asks(200, nil, "POST", "/api/v1/revocations", `{"issuer":"main","sub":"bob"}`)
	r.wrote(pipeline.Unauthenticated, "main", "bob", "/w/a", "k-2")
	r.wrote(0, "main", "carol", "/w/a", "k-3")
	r.asks(200, nil, "POST", "/api/v1/revocations", `{"issuer":"https://id.test/","sub":"carol"}`) // the iss of the token does, too
	r.wrote(pipeline.Unauthenticated, "main", "carol", "/w/a", "k-4")
	r.refuses(404, "not-found", "POST", "/api/v1/revocations", `{"issuer":"https://id.test","sub":"carol"}`)
}

// While Redis is down a revocation takes effect here, and the answer says that it does nowhere else; later all are told.
func TestRevocationsOfAFleet(t *testing.T) {
	redis := redistest.Start(t)
	routes := strings.Replace(revocableRoutes, inMemory, fmt.Sprintf("state: { store: memory, redis: { addresses: [%q] } }\n", redis.Addr), 1)
	newGateway := func() *rig {
		r := newRig(t, routes)
		next := *r.gateway.Snapshot().Document
		main := next.Issuers["main"]
		main.Revocation = true
		next.Issuers = map[string]auth.IssuerConfig{"main": main}
		if err := r.gateway.Apply(&next); err != nil {
			t.Fatal(err)
		}
		return r
	}
	r, other := newGateway(), newGateway()
	soon := time.Now().Unix() + 29 // tokens of this test are young
	r.asks(200, nil, "POST", "/api/v1/revocations", fmt.Sprintf(`{"issuer":"main","sub":"bob","before":%d}`, soon))
	redis.Kill()
	var said struct{ Result string }
	if got := r.refuses(503, "store-unavailable", "POST", "/api/v1/revocations", fmt.Sprintf(`{"issuer":"main","sub":"carol","before":%d}`, soon)); json.Unmarshal([]byte(got.body), &said) != nil || said.Result != "revoked_here" {
		t.Error(got.body)
	}
	if text := r.log.String(); strings.Contains(text, "carol") || !strings.Contains(text, `"shared":false`) {
		t.Error(text)
	}
	r.wrote(pipeline.Unauthenticated, "main", "carol", "/w/a", "k-1")
	redis.Restart()
	for _, who := range []string{"bob", "carol"} {
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if _, kind := other.write("main", who, "/w/"+who, "k-2"); kind == pipeline.Unauthenticated {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s is never refused elsewhere", who)
			}
		}
	}
}
