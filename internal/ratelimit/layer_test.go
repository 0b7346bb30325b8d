package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// rig is a layer over a handler that does what answer says.
type rig struct {
	handler pipeline.Handler
	now     *clock
	store   *Memory
	seen    *decisions
	answer  func(x *pipeline.Exchange) error
	calls   int
}

func newRig(keyed bool, limits ...*Limit) *rig {
	r := &rig{seen: &decisions{}, answer: func(*pipeline.Exchange) error { return nil }}
	r.store, r.now = newMemory(MemoryConfig{})
	r.handler = pipeline.Compose(r.end(), New(limits, LayerConfig{Keyed: keyed}, Deps{Store: r.store, Recorder: r.seen}))
	return r
}

func (r *rig) end() pipeline.Handler {
	return pipeline.HandlerFunc(func(_ context.Context, x *pipeline.Exchange) error { r.calls++; return r.answer(x) })
}

func (r *rig) serve(x *pipeline.Exchange) error { return r.handler.Serve(context.Background(), x) }

func (r *rig) wantDecisions(t *testing.T, want string) {
	t.Helper()
	if got := fmt.Sprint(r.seen.n); got != want {
		t.Errorf("decisions %s, want %s", got, want)
	}
}

func wantFields(t *testing.T, resp *fakeResponse, policy, rest string) {
	t.Helper()
	if got := resp.header["RateLimit-Policy"]; got != policy {
		t.Errorf("RateLimit-Policy: %s, want %s", got, policy)
	}
	if got := resp.header["RateLimit"]; got != rest {
		t.Errorf("RateLimit: %s, want %s", got, rest)
	}
}

func TestAnswerCarriesFields(t *testing.T) {
	r := newRig(false, limit(t, "per-client", "100/s", Config{Burst: 200}))
	r.answer = func(x *pipeline.Exchange) error {
		x.Response.Set("RateLimit", []byte(`"theirs";r=9`))
		return nil
	}
	x, _, resp := newExchange()
	if err := r.serve(x); err != nil {
		t.Fatal(err)
	}
	wantFields(t, resp, `"per-client";q=200;w=2`, `"per-client";r=199;t=1`)
	r.wantDecisions(t, "map[per-client allowed:1]")
}

func TestSeveralLimitsJoin(t *testing.T) {
	r := newRig(false, limit(t, "a", "1/s", Config{Burst: 9}), limit(t, "seen", "1/s", Config{Mode: "shadow"}),
		limit(t, "b", "1/10s", Config{Burst: 4, Cost: Cost{Base: 3}, By: By{"ip"}}), limit(t, "a", "1/s", Config{Burst: 9}))
	x, _, resp := newExchange()
	r.serve(x)
	wantFields(t, resp, `"a";q=9;w=9, "b";q=4;w=40`, `"a";r=8;t=1, "b";r=1;t=30`)
	r.wantDecisions(t, "map[a allowed:1 b allowed:1 seen allowed:1 seen near_limit:1]")
}

func TestRefusal(t *testing.T) {
	r := newRig(false, limit(t, "quick", "1/s", Config{Burst: 1}), limit(t, "patient", "1/20s", Config{Burst: 1}), limit(t, "wide", "1/s", Config{Burst: 5}))
	x, _, _ := newExchange()
	r.serve(x)
	x, _, resp := newExchange()
	r.now.advance(500 * time.Millisecond)
	if err := r.serve(x); err != pipeline.RateLimited {
		t.Fatalf("error %v", err)
	}
	if x.Problem.Policy != "patient" || x.Problem.RetryAfter < 20 || x.Problem.RetryAfter > 22 || x.Problem.Executed != pipeline.ExecutedNo {
		t.Errorf("problem %+v", x.Problem)
	}
	wantFields(t, resp, `"quick";q=1;w=1, "patient";q=1;w=20, "wide";q=5;w=5`, `"quick";r=0;t=1, "patient";r=0;t=20, "wide";r=4;t=1`)
	r.wantDecisions(t, "map[patient allowed:1 patient near_limit:1 patient refused:1 quick allowed:1 quick near_limit:1 quick refused:1 wide allowed:1]")
	if r.calls != 1 {
		t.Errorf("next was called %d times", r.calls)
	}
}

// Retry-After is rounded up, at least 1, never before t of a single token, and obeying it is rewarded (edge case 37).
func TestRetryAfter(t *testing.T) {
	for rate, want := range map[string]int{"1000/s": 1, "1/s": 1, "2/3s": 2, "1/10s": 10, "1/m": 60, "5000/h": 1, "100/h": 36, "7/h": 515} {
		r := newRig(false, limit(t, "x", rate, Config{Burst: 1}))
		x, _, _ := newExchange()
		r.serve(x)
		x, _, _ = newExchange()
		most := want
		if want > 10 {
			most += want / 10
		}
		if err := r.serve(x); err != pipeline.RateLimited || x.Problem.RetryAfter < want || x.Problem.RetryAfter > most {
			t.Errorf("%s: %v, Retry-After %d, want %d to %d", rate, err, x.Problem.RetryAfter, want, most)
		}
		r.now.advance(time.Duration(x.Problem.RetryAfter) * time.Second)
		if x, _, _ = newExchange(); r.serve(x) != nil {
			t.Errorf("%s: refused although it obeyed", rate)
		}
	}
}

func TestLaterRefusalCarriesFields(t *testing.T) {
	r := newRig(true, limit(t, "x", "1/s", Config{Burst: 3}))
	r.answer = func(*pipeline.Exchange) error { return pipeline.UpstreamOpen }
	x, _, resp := newExchange()
	if err := r.serve(x); err != pipeline.UpstreamOpen {
		t.Fatal(err)
	}
	wantFields(t, resp, `"x";q=3;w=3`, `"x";r=2;t=1`)
	if x.Problem != (pipeline.Problem{}) {
		t.Errorf("problem of another layer was changed: %+v", x.Problem)
	}
}

func TestFullBucketHasNoTime(t *testing.T) {
	c := Charge{Limit: limit(t, "x", "1/s", Config{Burst: 3}), Level: 3}
	if got := string(c.appendMember(nil, Draft10)); got != `"x";r=3` {
		t.Error(got)
	}
	c.Level = -1e-9 // rounding may leave a hair of debt
	if got := string(c.appendMember(nil, Draft10)); got != `"x";r=0;t=4` {
		t.Error(got)
	}
}

func TestOnlyShadowsAreSilent(t *testing.T) {
	r := newRig(false, limit(t, "x", "1/s", Config{Burst: 1, Mode: "shadow", OnMissing: "reject"}))
	for range 3 {
		x, _, resp := newExchange()
		x.Client = pipeline.Client{}
		if err := r.serve(x); err != nil || len(resp.header) > 0 {
			t.Fatalf("%v, %v", err, resp.header)
		}
	}
	r.wantDecisions(t, "map[x allowed:1 x near_limit:1 x shadow_refused:2]")
}

func keyedExchange() (*pipeline.Exchange, *fakeRequest, *fakeResponse) {
	x, req, resp := newExchange()
	req.method, req.header["idempotency-key"] = "POST", "k1"
	return x, req, resp
}

func TestDeferredRefusal(t *testing.T) {
	r := newRig(true, limit(t, "x", "1/s", Config{Burst: 1}))
	x, _, _ := newExchange()
	r.serve(x)

	// Nothing to replay: dedup returns what it finds on the exchange.
	x, _, resp := keyedExchange()
	r.answer = func(x *pipeline.Exchange) error { return x.Deferred }
	err := r.serve(x)
	want := pipeline.Problem{Policy: "x", RetryAfter: 1, Executed: pipeline.ExecutedNo}
	if err != pipeline.RateLimited || x.Problem != want {
		t.Errorf("%v, %+v", err, x.Problem)
	}
	wantFields(t, resp, `"x";q=1;w=1`, `"x";r=0;t=1`)

	// A replay: the answer goes out, nothing of the refusal is left.
	x, _, resp = keyedExchange()
	r.answer = func(x *pipeline.Exchange) error { x.Replayed = true; return nil }
	if err := r.serve(x); err != nil || x.Deferred != nil || x.Problem != (pipeline.Problem{}) {
		t.Errorf("%v, %v, %+v", err, x.Deferred, x.Problem)
	}
	wantFields(t, resp, `"x";q=1;w=1`, `"x";r=0;t=1`)

	// Dedup's own refusal keeps its own members.
	x, _, _ = keyedExchange()
	r.answer = func(x *pipeline.Exchange) error {
		x.Problem.RetryAfter, x.Problem.Executed = 1, pipeline.ExecutedInProgress
		return pipeline.InProgress
	}
	if err := r.serve(x); err != pipeline.InProgress || x.Problem.Policy != "" || x.Problem.RetryAfter != 1 || x.Problem.Executed != pipeline.ExecutedInProgress {
		t.Errorf("%v, %+v", err, x.Problem)
	}
	r.wantDecisions(t, "map[x allowed:1 x near_limit:1 x refused:2]")

	// So does its bound on replays, though it is of the same kind.
	x, _, _ = keyedExchange()
	replays := pipeline.Problem{Policy: "replays", RetryAfter: 1, Executed: pipeline.ExecutedYes}
	r.answer = func(x *pipeline.Exchange) error { x.Deferred, x.Problem = nil, replays; return pipeline.RateLimited }
	if err := r.serve(x); err != pipeline.RateLimited || x.Problem != replays {
		t.Errorf("%v, %+v", err, x.Problem)
	}
}

func TestNotDeferred(t *testing.T) {
	for name, c := range map[string]struct {
		keyed  bool
		method string
		key    string
	}{
		"route without dedup": {false, "POST", "k"},
		"no key":              {true, "POST", ""},
		"safe method":         {true, "GET", "k"},
	} {
		r := newRig(c.keyed, limit(t, "x", "1/s", Config{Burst: 1}))
		for range 2 {
			x, req, _ := newExchange()
			if req.method = c.method; c.key != "" {
				req.header["Idempotency-Key"] = c.key
			}
			r.serve(x)
		}
		if r.calls != 1 {
			t.Errorf("%s: next was called %d times", name, r.calls)
		}
	}
}

func TestReplayCostsNothing(t *testing.T) {
	r := newRig(true, limit(t, "x", "1/s", Config{Burst: 5}), limit(t, "seen", "1/s", Config{Burst: 5, Mode: "shadow"}))
	r.answer = func(x *pipeline.Exchange) error { x.Replayed = true; return nil }
	for range 20 {
		x, _, resp := keyedExchange()
		if err := r.serve(x); err != nil {
			t.Fatal(err)
		}
		wantFields(t, resp, `"x";q=5;w=5`, `"x";r=5`)
	}
	r.wantDecisions(t, "map[seen allowed:20 seen returned:20 x allowed:20 x returned:20]")
}

type brokenStore struct{}

func (brokenStore) Take(context.Context, []Charge) (bool, error) { return true, errors.New("down") }
func (brokenStore) Settle(context.Context, []Charge)             {}

func TestBrokenStoreFailsClosed(t *testing.T) {
	next := pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange) error { t.Error("passed"); return nil })
	h := New([]*Limit{limit(t, "x", "1/s", Config{})}, LayerConfig{Keyed: true}, Deps{Store: brokenStore{}})(next)
	x, _, _ := newExchange()
	if err := h.Serve(context.Background(), x); pipeline.KindOf(err) != pipeline.StoreUnavailable {
		t.Errorf("error %v", err)
	}
}

func TestNoLimitsNoLayer(t *testing.T) {
	if New(nil, LayerConfig{Keyed: true}, Deps{Store: NewMemory(MemoryConfig{})}) != nil {
		t.Error("a layer without limits")
	}
}
