package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/config"
	"github.com/oncegate/oncegate/internal/observe"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/redistest"
)

// document parses a document whose upstream is url.
func document(t *testing.T, url, text string) *config.Document {
	t.Helper()
	full := "version: 1\nstate: { store: memory }\n" + strings.ReplaceAll(text, "@UP@", url)
	result, err := config.Parse("test.yaml", []byte(full), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	return result.Document
}

// withRedis parses a document whose shared limits are counted in a Redis.
func withRedis(t *testing.T, url, text string, redis *redistest.Server, prefix string) *config.Document {
	t.Helper()
	full := fmt.Sprintf("version: 1\nstate: { store: memory, redis: { addresses: [%q], prefix: %s } }\n", redis.Addr, prefix) + strings.ReplaceAll(text, "@UP@", url)
	result, err := config.Parse("test.yaml", []byte(full), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	return result.Document
}

// open is a running gateway without ports.
func open(t *testing.T, doc *config.Document) *Gateway {
	t.Helper()
	metrics := observe.NewMetrics(observe.BuildInfo{})
	logger := slog.New(slog.DiscardHandler)
	g, err := New(doc, NewState(metrics, observe.New(metrics, nil, logger), logger))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func ask(t *testing.T, g *Gateway, method, target string) (*pipeline.Memory, error) {
	t.Helper()
	m := pipeline.NewMemory(method, target)
	err := g.Serve(t.Context(), &m.Exchange)
	m.Finish(pipeline.End{Status: m.Sent.Status(), Kind: pipeline.KindOf(err), At: time.Now()})
	return m, err
}

func want(t *testing.T, g *Gateway, method, target string, kind pipeline.Refusal) *pipeline.Memory {
	t.Helper()
	m, err := ask(t, g, method, target)
	if pipeline.KindOf(err) != kind {
		t.Fatalf("%s %s: %v, wanted %v", method, target, err, kind)
	}
	return m
}

func service(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

const oneRoute = `upstreams: { up: { targets: ["@UP@"], breaker: { minimum: 2, window: 10s, open: 10m } } }
rate_limits: { few: { rate: %s, burst: 2, by: ip } }
routes: [ { id: a, match: { path: %s }, auth: none, rate_limits: [few], to: up } ]
`

func TestServeAndRefuse(t *testing.T) {
	g := open(t, document(t, service(t, hello), fmt.Sprintf(oneRoute, "1/h", "/a")))
	m := want(t, g, "GET", "/a", 0)
	if body, _ := m.Sent.ReadBody(); string(body) != "hello" || m.Route != "a" || m.Effect != pipeline.EffectDone {
		t.Errorf("%q, route %q, effect %v", body, m.Route, m.Effect)
	}
	want(t, g, "GET", "/b", pipeline.NotFound)
	m = want(t, g, "OPTIONS", "/b", pipeline.NotFound)
	if m.Route != "" {
		t.Errorf("an unrouted request has route %q", m.Route)
	}
}

func TestApplyKeepsBucketsAndBreakers(t *testing.T) {
	var healthy atomic.Bool
	url := service(t, func(w http.ResponseWriter, r *http.Request) {
		if !healthy.Load() {
			w.WriteHeader(500)
			return
		}
		hello(w, r)
	})
	const two = `upstreams: { up: { targets: ["@UP@"], breaker: { minimum: 2, window: 10s, open: 10m } } }
rate_limits: { few: { rate: %s, burst: 3, by: ip } }
routes: [ { id: a, match: { path: /a }, auth: none, rate_limits: [few], to: up }, { id: b, match: { path: /b }, auth: none, to: up } ]
`
	g := open(t, document(t, url, fmt.Sprintf(two, "1/h")))
	want(t, g, "GET", "/a", 0)
	want(t, g, "GET", "/a", 0)
	want(t, g, "GET", "/a", pipeline.UpstreamOpen)
	want(t, g, "GET", "/a", pipeline.RateLimited)
	healthy.Store(true)
	if err := g.Apply(document(t, url, fmt.Sprintf(two, "2/h"))); err != nil {
		t.Fatal(err)
	}
	want(t, g, "GET", "/a", pipeline.RateLimited)
	want(t, g, "GET", "/b", pipeline.UpstreamOpen)
}

func TestApplyRefusedChangesNothing(t *testing.T) {
	url := service(t, hello)
	g := open(t, document(t, url, fmt.Sprintf(oneRoute, "100/s", "/a")))
	before := g.Snapshot()
	moved := document(t, url, "listen: { address: 127.0.0.1:1 }\n"+fmt.Sprintf(oneRoute, "100/s", "/b"))
	if err := g.Apply(moved); err == nil || !strings.Contains(err.Error(), "listen.address") || !strings.Contains(err.Error(), "restart") {
		t.Errorf("a moved port: %v", err)
	}
	if g.Snapshot() != before {
		t.Error("the snapshot changed")
	}
	want(t, g, "GET", "/a", 0)
}

// A request that runs while the configuration changes ends on the one that it began with.
func TestRequestStaysWithItsSnapshot(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	url := service(t, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		hello(w, r)
	})
	g := open(t, document(t, url, fmt.Sprintf(oneRoute, "100/s", "/a")))
	done := make(chan error, 1)
	m := pipeline.NewMemory("GET", "/a")
	go func() {
		err := g.Serve(context.Background(), &m.Exchange)
		if body, readErr := m.Sent.ReadBody(); err == nil && (readErr != nil || string(body) != "hello") {
			err = errors.Join(fmt.Errorf("body %q", body), readErr)
		}
		done <- err
	}()
	<-arrived
	if err := g.Apply(document(t, "http://127.0.0.1:1", fmt.Sprintf(oneRoute, "100/s", "/b"))); err != nil {
		t.Fatal(err)
	}
	want(t, g, "GET", "/a", pipeline.NotFound)
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A field that one route fills can't be sent by a client on any route.
func TestGuardedFieldsAreStrippedEverywhere(t *testing.T) {
	saw := make(chan string, 1)
	url := service(t, func(w http.ResponseWriter, r *http.Request) {
		saw <- fmt.Sprint(r.Header["X-User-Id"], r.Header["X_user_id"], r.Header["X-Other"])
		hello(w, r)
	})
	g := open(t, document(t, url, `issuers: { main: { issuer: i, audiences: [a], secret: a-secret-of-this-test-alone-7431950862, algorithms: [HS256] } }
upstreams: { up: { targets: ["@UP@"] } }
routes:
  - { id: a, match: { path: /a }, auth: { issuers: [main] }, forward: { claims: { X-User-Id: sub } }, to: up }
  - { id: open, match: { path: /open }, auth: none, to: up }
`))
	m := pipeline.NewMemory("GET", "/open").WithHeader("X-User-Id", "root").WithHeader("x-user-id", "root").WithHeader("X-Other", "kept")
	if err := g.Serve(t.Context(), &m.Exchange); err != nil {
		t.Fatal(err)
	}
	if seen := <-saw; seen != "[] [] [kept]" {
		t.Errorf("the upstream saw %s", seen)
	}
}
