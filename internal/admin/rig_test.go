package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/auth"
	"github.com/oncegate/oncegate/internal/config"
	"github.com/oncegate/oncegate/internal/gateway"
	"github.com/oncegate/oncegate/internal/observe"
	"github.com/oncegate/oncegate/internal/pipeline"
)

const (
	adminToken = "an-admin-token-of-this-test"
	rigHead    = `version: 1
admin: { address: "ops.test:9901", token: %q }
issuers:
  main: { issuer: "https://id.test/", audiences: [api], secret: "0123456789-0123456789-0123456789-0123456789", algorithms: [HS256] }
  other: { issuer: "https://other.test/", audiences: [api], secret: "9876543210-9876543210-9876543210-9876543210", algorithms: [HS256] }
`
	inMemory  = "state: { store: memory }\n"
	rigRoutes = inMemory + `upstreams: { up: { targets: [@UP@] } }
defaults: { auth: { issuers: [main, other] } }
routes:
  - { id: w, match: { path: /w/** }, dedup: { key: required, keep: { answer: 1h, key: 2h } }, to: up }
  - { id: open, match: { path: /open/** }, auth: none, dedup: { key: required, client: "header:X-Client", scope: shared }, to: up }
`
)

// rig is an admin port on a gateway in this process, in front of an upstream that answers, dies or waits.
type rig struct {
	t       *testing.T
	server  *Server
	gateway *gateway.Gateway
	log     *bytes.Buffer
	release chan struct{} // lets what runs below /w/wait end
	arrived chan struct{}
}

func (r *rig) upstream(w http.ResponseWriter, q *http.Request) {
	_, _ = io.Copy(io.Discard, q.Body)
	switch {
	case strings.HasSuffix(q.URL.Path, "/die"):
		c, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			c.Close()
		}
		return
	case strings.HasSuffix(q.URL.Path, "/wait"):
		r.arrived <- struct{}{}
		<-r.release
	}
	w.Header().Set("Location", "/made/1")
	w.WriteHeader(201)
	_, _ = io.WriteString(w, "made")
}

func (r *rig) document(routes string) *config.Document {
	r.t.Helper()
	result, err := config.Parse("test.yaml", []byte(fmt.Sprintf(rigHead, adminToken)+routes), func(string) (string, bool) { return "", false })
	if err != nil {
		r.t.Fatal(err)
	}
	return result.Document
}

func newRig(t *testing.T, routes string) *rig {
	t.Helper()
	r := &rig{t: t, log: &bytes.Buffer{}, release: make(chan struct{}), arrived: make(chan struct{}, 8)}
	up := httptest.NewServer(http.HandlerFunc(r.upstream))
	t.Cleanup(up.Close)
	logger := slog.New(slog.NewJSONHandler(r.log, nil))
	metrics := observe.NewMetrics(observe.BuildInfo{Version: "v9.8.7"})
	doc := r.document(strings.ReplaceAll(routes, "@UP@", fmt.Sprintf("%q", up.URL)))
	g, err := gateway.New(doc, gateway.NewState(metrics, observe.New(metrics, nil, slog.New(slog.DiscardHandler)), slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	r.gateway = g
	r.server = New(doc.Admin, g, gateway.NewReloader(gateway.Look("nowhere.yaml"), g, logger), logger)
	return r
}

// write sends a keyed write through the gateway. who is a subject, or "X-Client name".
func (r *rig) write(issuer, who, path, key string) (*pipeline.Memory, pipeline.Refusal) {
	r.t.Helper()
	m := pipeline.NewMemory("POST", path).WithHeader("Idempotency-Key", key).WithBody([]byte("{}"))
	if issuer == "" {
		m.WithHeader("X-Client", who)
	} else {
		signed, err := auth.Sign(r.gateway.Snapshot().Document.Issuers[issuer], map[string]any{"sub": who}, time.Now())
		if err != nil {
			r.t.Fatal(err)
		}
		m.WithHeader("Authorization", "Bearer "+signed)
	}
	err := r.gateway.Serve(r.t.Context(), &m.Exchange)
	m.Finish(pipeline.End{Status: m.Sent.Status(), Kind: pipeline.KindOf(err), At: time.Now()})
	return m, pipeline.KindOf(err)
}

// wrote wants what a write ends with; kind 0 is an answer.
func (r *rig) wrote(kind pipeline.Refusal, issuer, who, path, key string) *pipeline.Memory {
	r.t.Helper()
	m, got := r.write(issuer, who, path, key)
	if got != kind {
		r.t.Fatalf("%s writes %s %s: %v, wanted %v", who, path, key, got, kind)
	}
	return m
}

type adminReply struct {
	*http.Response
	body string
}

func (r *rig) send(method, path, body string, fields ...string) adminReply {
	r.t.Helper()
	q, err := http.NewRequest(method, path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	q.Host = "127.0.0.1:9901"
	q.Header.Set("Authorization", "Bearer "+adminToken)
	for i := 0; i < len(fields); i += 2 {
		if q.Header.Set(fields[i], fields[i+1]); fields[i] == "Host" {
			q.Host = fields[i+1]
		}
	}
	got, err := r.server.app.Test(q, 10_000)
	if err != nil {
		r.t.Fatal(err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return adminReply{got, string(text)}
}

// asks wants a status, and reads the answer into to when to is not nil.
func (r *rig) asks(status int, to any, method, path, body string, fields ...string) adminReply {
	r.t.Helper()
	got := r.send(method, path, body, fields...)
	if got.StatusCode != status {
		r.t.Errorf("%s %s %s: %d, wanted %d: %s", method, path, body, got.StatusCode, status, got.body)
	}
	if to != nil {
		if err := json.Unmarshal([]byte(got.body), to); err != nil {
			r.t.Errorf("%s %s: %v: %s", method, path, err, got.body)
		}
	}
	return got
}

// refuses wants a problem of a kind.
func (r *rig) refuses(status int, kind, method, path, body string, fields ...string) adminReply {
	r.t.Helper()
	got := r.asks(status, nil, method, path, body, fields...)
	if !strings.Contains(got.body, `"urn:oncegate:problem:`+kind+`"`) || got.Header.Get("Content-Type") != "application/problem+json" || got.Header.Get("Cache-Control") != "no-store" {
		r.t.Errorf("%s %s %s: wanted %s: %v %s", method, path, body, kind, got.Header, got.body)
	}
	return got
}

type seen struct {
	ID          string
	Ref         string `json:"operation_ref"`
	State       string
	Executed    string
	Route       string
	Attempt     int
	Status      int `json:"original_status"`
	Location    string
	RequestID   string     `json:"original_request_id"`
	FirstSeen   time.Time  `json:"first_seen"`
	LeaseUntil  *time.Time `json:"lease_until"`
	AnswerUntil *time.Time `json:"answer_until"`
	KeyUntil    time.Time  `json:"key_until"`
}

func (r *rig) list(query string) (all []seen) {
	r.t.Helper()
	got := r.asks(200, &all, "GET", "/api/v1/executions"+query, "")
	if all == nil || got.Header.Get("Content-Type") != "application/json" || got.Header.Get("Cache-Control") != "no-store" {
		r.t.Errorf("%s: not a list: %v %s", query, got.Header, got.body)
	}
	return all
}

// one wants exactly one execution.
func (r *rig) one(query string) seen {
	r.t.Helper()
	all := r.list(query)
	if len(all) != 1 {
		r.t.Fatalf("%s: %+v", query, all)
	}
	return all[0]
}
