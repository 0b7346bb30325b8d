package gateway

import (
	"fmt"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/auth"
	"github.com/oncegate/oncegate/internal/config"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/redistest"
)

const revocableText = `issuers:
  main: { issuer: "https://id.test/", audiences: [api], secret: "0123456789-0123456789-0123456789-0123456789", algorithms: [HS256], revocation: %t }
  plain: { issuer: "https://plain.test/", audiences: [api], secret: "9876543210-9876543210-9876543210-9876543210", algorithms: [HS256] }
upstreams: { up: { targets: ["@UP@"] } }
routes:
  - { id: a, match: { path: /a }, auth: { issuers: [main] }, to: up }
  - { id: b, match: { path: /b }, auth: { issuers: [plain] }, to: up }
`

// token is a fresh one of an issuer.
func token(t *testing.T, g *Gateway, issuer string, claims map[string]any) string {
	t.Helper()
	signed, err := auth.Sign(g.Snapshot().Document.Issuers[issuer], claims, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// with asks with a token and tells how it ended.
func with(t *testing.T, g *Gateway, path, token string) pipeline.Refusal {
	t.Helper()
	m := pipeline.NewMemory("GET", path).WithHeader("Authorization", "Bearer "+token)
	err := g.Serve(t.Context(), &m.Exchange)
	m.Finish(pipeline.End{Status: m.Sent.Status(), Kind: pipeline.KindOf(err), At: time.Now()})
	return pipeline.KindOf(err)
}

func passes(t *testing.T, g *Gateway, path, token string, want pipeline.Refusal) {
	t.Helper()
	if got := with(t, g, path, token); got != want {
		t.Fatalf("%s: %v, wanted %v", path, got, want)
	}
}

// turns waits until a token is answered so, and says how long that took.
func turns(t *testing.T, g *Gateway, path, token string, want pipeline.Refusal) time.Duration {
	t.Helper()
	began := time.Now()
	for with(t, g, path, token) != want {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("%s: never %v", path, want)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(began)
}

func revokesAt(t *testing.T, g *Gateway, r auth.Revocation) {
	t.Helper()
	r.Issuer = "main"
	if err := g.Snapshot().Authority.Revoke(t.Context(), r, time.Now()); err != nil {
		t.Fatal(err)
	}
}

// What is revoked at one gateway is refused there at once, at the other within two seconds, and at one that starts later from
// its first request; also over reloads.
func TestRevocationsOfAFleet(t *testing.T) {
	redis := redistest.Start(t)
	url := service(t, hello)
	doc := func() *config.Document { return withRedis(t, url, fmt.Sprintf(revocableText, true), redis, "oncegate") }
	a, b := open(t, doc()), open(t, doc())
	one, two := token(t, a, "main", map[string]any{"sub": "alice", "jti": "1"}), token(t, a, "main", map[string]any{"sub": "bob"})
	for _, g := range []*Gateway{a, b} {
		passes(t, g, "/a", one, 0)
		passes(t, g, "/a", two, 0)
	}
	revokesAt(t, a, auth.Revocation{JTI: "1"})
	passes(t, a, "/a", one, pipeline.Unauthenticated)
	took := turns(t, b, "/a", one, pipeline.Unauthenticated)
	t.Logf("the other gateway knew after %v", took)
	passes(t, b, "/a", two, 0)
	for range 3 {
		if err := b.Apply(doc()); err != nil {
			t.Fatal(err)
		}
		passes(t, b, "/a", one, pipeline.Unauthenticated)
	}
	revokesAt(t, b, auth.Revocation{Sub: "bob", Before: time.Now().Add(time.Second)})
	passes(t, b, "/a", two, pipeline.Unauthenticated)
	turns(t, a, "/a", two, pipeline.Unauthenticated)
	late := open(t, doc())
	passes(t, late, "/a", one, pipeline.Unauthenticated)
	passes(t, late, "/a", two, pipeline.Unauthenticated)
	passes(t, late, "/a", token(t, a, "main", map[string]any{"sub": "carol"}), 0)
}

// Case 48: Redis is down. Within the grace all goes on by what is known; beyond it issuers with revocation are answered 503,
// others are not touched; and it heals, with what was revoked meanwhile.
func TestCase48RedisIsDown(t *testing.T) {
	redis := redistest.Start(t)
	url := service(t, hello)
	doc := withRedis(t, url, fmt.Sprintf(revocableText, true), redis, "oncegate")
	doc.State.Redis.RevocationGrace = 5e9
	a, b := open(t, doc), open(t, doc)
	one, two := token(t, a, "main", map[string]any{"sub": "alice", "jti": "1"}), token(t, a, "main", map[string]any{"sub": "bob", "jti": "2"})
	plain := token(t, a, "plain", map[string]any{"sub": "alice", "jti": "1"})
	redis.Kill()
	if err := a.Snapshot().Authority.Revoke(t.Context(), auth.Revocation{Issuer: "main", JTI: "1"}, time.Now()); err == nil {
		t.Error("told nobody, and said nothing")
	}
	passes(t, a, "/a", one, pipeline.Unauthenticated)
	passes(t, b, "/a", one, 0)
	turns(t, a, "/a", two, pipeline.AuthUnavailable)
	turns(t, b, "/a", two, pipeline.AuthUnavailable)
	passes(t, a, "/b", plain, 0)
	begins := open(t, doc)
	passes(t, begins, "/a", two, pipeline.AuthUnavailable)
	passes(t, begins, "/b", plain, 0)
	redis.Restart()
	turns(t, b, "/a", one, pipeline.Unauthenticated)
	turns(t, begins, "/a", one, pipeline.Unauthenticated)
	turns(t, begins, "/a", two, 0)
}

// A reload may be the first that asks for revocations, and they stay when a later one does not.
func TestReloadTurnsRevocationsOn(t *testing.T) {
	redis := redistest.Start(t)
	url := service(t, hello)
	off, on := withRedis(t, url, fmt.Sprintf(revocableText, false), redis, "oncegate"), withRedis(t, url, fmt.Sprintf(revocableText, true), redis, "oncegate")
	a, b := open(t, off), open(t, on)
	one := token(t, a, "main", map[string]any{"sub": "alice", "jti": "1"})
	revokesAt(t, b, auth.Revocation{JTI: "1"})
	passes(t, a, "/a", one, 0)
	for _, step := range []struct {
		doc  *config.Document
		want pipeline.Refusal
	}{{on, pipeline.Unauthenticated}, {off, 0}, {on, pipeline.Unauthenticated}} {
		if err := a.Apply(step.doc); err != nil {
			t.Fatal(err)
		}
		passes(t, a, "/a", one, step.want)
	}
}
