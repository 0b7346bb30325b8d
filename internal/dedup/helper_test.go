package dedup_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/memory"
	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// config is what the document gives when nothing is said.
func config() dedup.Config {
	return dedup.Config{
		Key: "optional", Methods: []string{"POST", "PATCH"}, Client: "subject",
		Keep:      dedup.Keep{Answer: units.Duration(24 * time.Hour), Key: units.Duration(72 * time.Hour)},
		MaxAnswer: 1 << 10, FingerprintHeaders: []string{"Content-Type"}, ForwardKey: "derived", OnStoreFailure: "deny",
	}
}

// flaky passes calls on unless it is told to fail.
type flaky struct {
	dedup.Store
	mu                     sync.Mutex
	begin, finish, release error
	outcome                record.Outcome // what Finish says instead of asking the store
	begins, finishes       int
	ghost                  bool // a failing Begin claims all the same
}

func (f *flaky) set(change func(*flaky)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *flaky) Begin(ctx context.Context, key record.Key, c record.Claim) (record.Found, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.begins++
	if err := errors.Join(f.begin, ctx.Err()); err != nil && !f.ghost {
		return record.Found{}, err
	}
	found, err := f.Store.Begin(ctx, key, c)
	return found, errors.Join(f.begin, err)
}

func (f *flaky) Finish(ctx context.Context, key record.Key, token record.Token, r record.Result) (record.Outcome, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.finishes++
	if f.finish != nil || ctx.Err() != nil {
		return 0, errors.Join(f.finish, ctx.Err())
	}
	if f.outcome != 0 {
		return f.outcome, nil
	}
	return f.Store.Finish(ctx, key, token, r)
}

func (f *flaky) Release(ctx context.Context, key record.Key, token record.Token) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.release != nil || ctx.Err() != nil {
		return false, errors.Join(f.release, ctx.Err())
	}
	return f.Store.Release(ctx, key, token)
}

// rig is a route with dedup over a scripted upstream.
type rig struct {
	t        *testing.T
	now      atomic.Int64
	store    *flaky
	records  *dedup.Records
	handler  pipeline.Handler
	upstream pipeline.HandlerFunc // what the next call does
	calls    atomic.Int32
	admitted bool
	mu       sync.Mutex
	counted  map[string]int
}

func (r *rig) Dedup(_, result string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counted[result]++
}

func (r *rig) ShortKey(route string)  { r.Dedup(route, "short key") }
func (r *rig) LateRetry(route string) { r.Dedup(route, "late retry") }

func (r *rig) clock() time.Time { return time.Unix(0, r.now.Load()) }

func (r *rig) advance(d time.Duration) { r.now.Add(int64(d)) }

func newRig(t *testing.T, change ...func(*dedup.Config)) *rig {
	t.Helper()
	r := &rig{t: t, admitted: true, counted: map[string]int{}, upstream: answers(201, `{"id":1}`, "Content-Type", "application/json")}
	r.now.Store(time.Unix(1_700_000_000, 0).UnixNano())
	r.store = &flaky{Store: memory.New(memory.Options{Now: r.clock})}
	r.records = dedup.NewRecords(r.store, dedup.Deps{Secrets: dedup.FixedSecret([32]byte{1})})
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = r.records.Close(ctx)
	})
	r.handler = r.route("orders", change...)
	return r
}

// route makes another route over the same records and upstream.
func (r *rig) route(upstream string, change ...func(*dedup.Config)) pipeline.Handler {
	r.t.Helper()
	cfg := config()
	for _, f := range change {
		f(&cfg)
	}
	layer, err := dedup.New(cfg, dedup.Facts{Route: "r", Upstream: upstream, MaxBody: 1 << 16}, r.records, r.admits, r)
	if err != nil {
		r.t.Fatal(err)
	}
	return layer(pipeline.HandlerFunc(func(ctx context.Context, x *pipeline.Exchange) error {
		r.calls.Add(1)
		x.Attempt.Count++
		return r.upstream(ctx, x)
	}))
}

func (r *rig) admits(*pipeline.Exchange) (time.Duration, bool) {
	return 2500 * time.Millisecond, r.admitted
}

// answers is an upstream that answers.
func answers(status int, body string, fields ...string) pipeline.HandlerFunc {
	return func(_ context.Context, x *pipeline.Exchange) error {
		x.Effect = pipeline.EffectDone
		x.Response.SetStatus(status)
		for i := 0; i < len(fields); i += 2 {
			x.Response.Add(fields[i], []byte(fields[i+1]))
		}
		x.Response.SetBody([]byte(body))
		return nil
	}
}

// fails is an upstream that fails, with what it may have done.
func fails(err error, effect pipeline.Effect) pipeline.HandlerFunc {
	return func(_ context.Context, x *pipeline.Exchange) error {
		x.Effect = effect
		x.Response.Reset()
		return err
	}
}

// post is a keyed write of ann's; change may make it another one.
func post(change ...func(*pipeline.Memory)) *pipeline.Memory {
	m := pipeline.NewMemory("POST", "/orders?x=1").WithHeader("Idempotency-Key", "k1").WithHeader("Content-Type", "application/json").WithBody([]byte(`{"a":1}`))
	m.Client = pipeline.Client{Identity: "iss|ann", Subject: "ann"}
	m.Deadline = m.Start.Add(10 * time.Second)
	m.ID = []byte("request-1")
	for _, f := range change {
		f(m)
	}
	return m
}

// want is what an exchange must look like. Zero values are not looked at, except the kind.
type want struct {
	kind     pipeline.Refusal
	status   int
	said     string // Idempotency-Status
	body     string
	executed pipeline.Executed
	same, nu pipeline.Answer
	retry    int
	calls    int32 // of the upstream so far
}

// serve sends m through the route and judges it.
func (r *rig) serve(m *pipeline.Memory, w want) *pipeline.Memory {
	r.t.Helper()
	return r.serveOn(r.handler, m, w)
}

func (r *rig) serveOn(h pipeline.Handler, m *pipeline.Memory, w want) *pipeline.Memory {
	r.t.Helper()
	err := h.Serve(context.Background(), &m.Exchange)
	r.judge(m, err, w)
	return m
}

func (r *rig) judge(m *pipeline.Memory, err error, w want) {
	t, p := r.t, &m.Problem
	t.Helper()
	if got := pipeline.KindOf(err); got != w.kind {
		t.Errorf("kind %v (%v), want %v", got, err, w.kind)
	}
	if got := string(m.Sent.Header("Idempotency-Status")); got != w.said {
		t.Errorf("Idempotency-Status %q, want %q", got, w.said)
	}
	if err == nil && w.status != 0 && m.Sent.Status() != w.status || err != nil && p.Status != w.status {
		t.Errorf("status %d, problem's %d, want %d", m.Sent.Status(), p.Status, w.status)
	}
	if w.body != "" && string(m.Sent.Body()) != w.body {
		t.Errorf("body %q, want %q", m.Sent.Body(), w.body)
	}
	if p.Executed != w.executed || p.SameKey != w.same || p.NewKey != w.nu || p.RetryAfter != w.retry {
		t.Errorf("executed %q, same key %d, new key %d, retry after %d; want %q %d %d %d",
			p.Executed, p.SameKey, p.NewKey, p.RetryAfter, w.executed, w.same, w.nu, w.retry)
	}
	if err != nil && w.executed != 0 && string(m.Sent.Header("Cache-Control")) != "no-store" {
		t.Error("a problem may be cached")
	}
	if w.calls != 0 && r.calls.Load() != w.calls {
		t.Errorf("the upstream was called %d times, want %d", r.calls.Load(), w.calls)
	}
}

// The answers that many tests expect.
var (
	executed   = want{status: 201, said: "executed", body: `{"id":1}`, calls: 1}
	replayed   = want{status: 201, said: "replayed", body: `{"id":1}`, calls: 1}
	mismatch   = want{kind: pipeline.KeyReused, executed: pipeline.ExecutedNo, same: pipeline.No, nu: pipeline.Yes}
	undecided  = want{kind: pipeline.OutcomeUnknown, executed: pipeline.ExecutedUnknown, same: pipeline.Yes, nu: pipeline.No}
	notKept    = want{kind: pipeline.ResultUnavailable, executed: pipeline.ExecutedYes, same: pipeline.Yes, nu: pipeline.No}
	inProgress = want{kind: pipeline.InProgress, executed: pipeline.ExecutedInProgress, same: pipeline.Yes, nu: pipeline.No, retry: 5}
)

func (w want) after(calls int32) want {
	w.calls = calls
	return w
}

func (w want) with(status int) want {
	w.status = status
	return w
}

func (r *rig) count(word string, n int) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counted[word] != n {
		r.t.Errorf("%s was counted %d times, want %d: %v", word, r.counted[word], n, r.counted)
	}
}
