package retry

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// called is a call that the upstream answers; code "" is none, body makes it more than trailers.
type called struct {
	code, body, pushback string
	status               int
	err                  error
}

func (c called) Serve(_ context.Context, x *pipeline.Exchange) error {
	x.Attempt.Count++
	x.Effect = pipeline.EffectDone
	x.Response.SetStatus(max(c.status, 200))
	if c.code != "" {
		x.Response.Set("Grpc-Status", []byte(c.code))
	}
	if c.pushback != "" {
		x.Response.Set("Grpc-Retry-Pushback-Ms", []byte(c.pushback))
	}
	if c.body != "" {
		x.Trailers = &pipeline.Trailers{}
		if c.code == "" {
			x.Trailers.Add("grpc-status", "14")
		}
		x.Response.SetStream(io.NopCloser(strings.NewReader(c.body)), -1)
	}
	return c.err
}

func callOf(s step) pipeline.Handler { return &script{steps: []step{s}} }

// What of gRPC is tried again: what was not processed, and, where POST may be repeated, a head that says UNAVAILABLE and is all.
func TestWhatOfGRPCIsTriedAgain(t *testing.T) {
	for _, c := range []struct {
		name     string
		upstream pipeline.Handler
		methods  []string
		on       []string
		part     bool // of the body is not in memory
		keyed    bool
		calls    int
	}{
		{name: "no connection", upstream: callOf(refused), calls: 3},
		{name: "no connection, keyed", upstream: callOf(refused), keyed: true, calls: 3},
		{name: "unavailable", upstream: called{code: "14"}, calls: 1},
		{name: "unavailable, POST", upstream: called{code: "14"}, methods: []string{"POST"}, calls: 3},
		{name: "unavailable, keyed", upstream: called{code: "14"}, methods: []string{"POST"}, keyed: true, calls: 1},
		{name: "unavailable, a part is gone", upstream: called{code: "14"}, methods: []string{"POST"}, part: true, calls: 1},
		{name: "unavailable, not asked for", upstream: called{code: "14"}, methods: []string{"POST"}, on: []string{"connect", "500"}, calls: 1},
		{name: "behind a body", upstream: called{body: "b"}, methods: []string{"POST"}, calls: 1},
		{name: "behind a head", upstream: called{code: "14", body: "b"}, methods: []string{"POST"}, calls: 1},
		{name: "an answer that was lost", upstream: called{code: "14", err: pipeline.UpstreamFailed}, methods: []string{"POST"}, calls: 1},
		{name: "done", upstream: called{code: "0"}, methods: []string{"POST"}, calls: 1},
		{name: "other codes", upstream: called{code: "13"}, methods: []string{"POST"}, on: []string{"500", "503"}, calls: 1},
		{name: "exhausted", upstream: called{code: "8"}, methods: []string{"POST"}, on: []string{"429", "503"}, calls: 1},
		{name: "HTTP 503 of a proxy", upstream: called{status: 503}, methods: []string{"POST"}, calls: 3},
		{name: "reset", upstream: callOf(reset), methods: []string{"POST"}, on: []string{"reset"}, calls: 1},
		{name: "silent", upstream: callOf(silent), methods: []string{"POST"}, on: []string{"timeout"}, calls: 1},
	} {
		cfg := usual()
		cfg.Methods, cfg.On = c.methods, c.on
		m, _, err := callThrough(t, cfg, c.upstream, func(m *pipeline.Memory) {
			m.Keyed = c.keyed
			if !c.part {
				_, _ = m.Request.Buffer(100)
			}
		})
		if m.Attempt.Count != c.calls {
			t.Errorf("%s: %d calls, want %d; %v", c.name, m.Attempt.Count, c.calls, err)
		}
	}
}

func callThrough(t *testing.T, cfg Config, upstream pipeline.Handler, change func(*pipeline.Memory)) (m *pipeline.Memory, took time.Duration, err error) {
	t.Helper()
	m = pipeline.NewMemory("POST", "/a.B/C").WithHeader("Content-Type", "application/grpc").WithChunkedBody([]byte("message"))
	m.HTTP2 = true
	rec := &told{}
	synctest.Test(t, func(*testing.T) {
		m.Start = time.Now()
		m.Deadline = m.Start.Add(10 * time.Second)
		change(m)
		err = New("u", cfg, Deps{State: NewState(), Recorder: rec})(upstream).Serve(context.Background(), &m.Exchange)
		took = time.Since(m.Start)
	})
	m.Problem.Policy = strings.Join(rec.refused, " ")
	return m, took, err
}

// The server says when to come again, or that nobody should.
func TestPushback(t *testing.T) {
	for said, c := range map[string]struct {
		calls   int
		least   time.Duration
		most    time.Duration
		refused string
	}{
		"700":             {3, 1400 * time.Millisecond, 1600 * time.Millisecond, ""},
		"0":               {3, 0, 100 * time.Millisecond, ""},
		"-1":              {1, 0, 0, "pushback"},
		"soon":            {1, 0, 0, "pushback"},
		"":                {3, 0, 100 * time.Millisecond, ""},
		"99999":           {1, 0, 0, "deadline"},
		"1e3":             {1, 0, 0, "pushback"},
		"999999999999999": {1, 0, 0, "pushback"},
	} {
		cfg := usual()
		cfg.Methods = []string{"POST"}
		m, took, err := callThrough(t, cfg, called{code: "14", pushback: said}, func(m *pipeline.Memory) { _, _ = m.Request.Buffer(100) })
		if err != nil || m.Attempt.Count != c.calls || took < c.least || took > c.most || m.Problem.Policy != c.refused {
			t.Errorf("%q: %d calls in %v, refused %q, %v", said, m.Attempt.Count, took, m.Problem.Policy, err)
		}
	}
	// Of other requests it is a field like any other.
	m := request("GET")
	synctest.Test(t, func(*testing.T) {
		_ = New("u", usual(), Deps{State: NewState()})(called{status: 503, pushback: "-1"}).Serve(context.Background(), &m.Exchange)
	})
	if m.Attempt.Count != 3 {
		t.Error(m.Attempt.Count)
	}
}
