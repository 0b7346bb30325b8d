package dedup_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/pipeline"
)

func TestExecutedThenReplayed(t *testing.T) {
	r := newRig(t)
	r.upstream = answers(201, `{"id":1}`, "Content-Type", "application/json", "Location", "/orders/1", "Link", "<a>", "Link", "<b>", "X-Order", "1",
		"Set-Cookie", "s=1", "Retry-After", "3", "Date", "now", "Etag", `"e"`, "Access-Control-Allow-Origin", "*")
	first := r.serve(post(), executed)
	if first.Replayed || string(first.Sent.Header("Set-Cookie")) != "s=1" {
		t.Error("the first answer must be the upstream's own")
	}
	again := r.serve(post(func(m *pipeline.Memory) { m.ID = []byte("request-2") }), replayed)
	for name, value := range map[string]string{
		"Content-Type": "application/json", "Location": "/orders/1", "Link": "<a>|<b>", "ETag": `"e"`, "Idempotent-Replayed": "true",
		"Idempotency-Original-Request-Id": "request-1", "Set-Cookie": "", "Retry-After": "", "Date": "", "X-Order": "", "Access-Control-Allow-Origin": "",
	} {
		if got := strings.Join(again.Sent.Values(name), "|"); got != value {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
	if !again.Replayed || again.Effect != pipeline.EffectNone {
		t.Error("a replay must say that it is one")
	}
	r.count(dedup.ResultExecuted, 1)
	r.count(dedup.ResultReplayed, 1)
}

func TestKeepHeaders(t *testing.T) {
	r := newRig(t, func(c *dedup.Config) { c.KeepHeaders = []string{"X-Order", "Set-Cookie"} })
	r.upstream = answers(201, `{"id":1}`, "x-order", "7", "Set-Cookie", "s=1")
	r.serve(post(), executed)
	m := r.serve(post(), replayed)
	if string(m.Sent.Header("X-Order")) != "7" || m.Sent.Header("Set-Cookie") != nil {
		t.Errorf("X-Order %q, Set-Cookie %q", m.Sent.Header("X-Order"), m.Sent.Header("Set-Cookie"))
	}
}

func TestWhatIsNotProtectedPasses(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct{ method, key, said string }{
		{"GET", "k", "ignored"}, {"PUT", `"`, "ignored"}, {"GET", "", ""}, {"POST", "", ""},
	} {
		fresh := func() *pipeline.Memory {
			m := pipeline.NewMemory(c.method, "/orders").WithBody([]byte("x"))
			if c.key != "" {
				m.WithHeader("Idempotency-Key", c.key)
			}
			return m
		}
		before := r.calls.Load()
		m := r.serve(fresh(), want{status: 201, said: c.said, calls: before + 1})
		if m.Keyed || len(m.Outgoing.Fields()) != 0 {
			t.Errorf("%s was touched", c.method)
		}
		m = fresh()
		m.Deferred = pipeline.RateLimited
		r.serve(m, want{kind: pipeline.RateLimited, calls: before + 1})
	}
	if r.store.begins != 0 {
		t.Error("the store was asked")
	}
	r.count(dedup.ResultIgnored, 2)
}

func TestKeySyntax(t *testing.T) {
	r := newRig(t, func(c *dedup.Config) { c.Key = "required" })
	keyless := func(keys ...string) *pipeline.Memory {
		m := pipeline.NewMemory("POST", "/orders").WithBody([]byte("x"))
		m.Client.Identity = "a"
		for _, k := range keys {
			m.WithHeader("idempotency-key", k)
		}
		return m
	}
	refused := want{executed: pipeline.ExecutedNo, same: pipeline.No, nu: pipeline.Yes}
	for name, c := range map[string]struct {
		m    *pipeline.Memory
		kind pipeline.Refusal
	}{
		"none":        {keyless(), pipeline.KeyMissing},
		"empty":       {keyless(""), pipeline.KeyInvalid},
		"empty text":  {keyless(`""`), pipeline.KeyInvalid},
		"two fields":  {keyless("k", "k"), pipeline.KeyInvalid},
		"list":        {keyless(`"a", "b"`), pipeline.KeyInvalid},
		"parameter":   {keyless(`"a";x=1`), pipeline.KeyInvalid},
		"too long":    {keyless(strings.Repeat("a", 256)), pipeline.KeyInvalid},
		"not visible": {keyless("a\x01"), pipeline.KeyInvalid},
	} {
		w := refused
		w.kind = c.kind
		t.Log(name)
		r.serve(c.m, w)
		if got := string(c.m.Sent.Header("Link")); !strings.HasSuffix(got, `>; rel="describedby"`) {
			t.Errorf("%s: Link %q", name, got)
		}
		c.m.Deferred = pipeline.RateLimited
		if err := r.handler.Serve(context.Background(), &c.m.Exchange); err != pipeline.RateLimited {
			t.Errorf("%s with a spent limit: %v", name, err)
		}
	}
	if r.calls.Load() != 0 || r.store.begins != 0 {
		t.Error("a bad key went on")
	}
	r.count(dedup.ResultMissing, 1)
	r.count(dedup.ResultInvalid, 7)
}

func TestQuotedAndBareKeysAreTheSame(t *testing.T) { // edge case 38
	r := newRig(t)
	key := func(k string) *pipeline.Memory {
		m := pipeline.NewMemory("POST", "/orders").WithHeader("Idempotency-Key", k)
		m.Client.Identity = "a"
		return m
	}
	r.serve(key("abc"), executed)
	r.serve(key(`"abc"`), replayed)
	r.serve(key("abC"), executed.after(2))
}

// TestAnotherRequest: the same key for anything else is 422 in every state, and nothing is sent (edge cases 2, 33).
func TestAnotherRequest(t *testing.T) {
	r := newRig(t, func(c *dedup.Config) { c.FingerprintHeaders = []string{"Content-Type", "X-Version"} })
	others := func() map[string]*pipeline.Memory {
		base := func(method, target, body, kind string) *pipeline.Memory {
			m := pipeline.NewMemory(method, target).WithHeader("Idempotency-Key", "k1").WithHeader("Content-Type", kind).WithBody([]byte(body))
			m.Client.Identity = "iss|ann"
			return m
		}
		return map[string]*pipeline.Memory{
			"body":        base("POST", "/orders?x=1", `{"a":2}`, "application/json"),
			"no body":     base("POST", "/orders?x=1", "", "application/json"),
			"path":        base("POST", "/refunds?x=1", `{"a":1}`, "application/json"),
			"query":       base("POST", "/orders?x=1&dry=1", `{"a":1}`, "application/json"),
			"no query":    base("POST", "/orders", `{"a":1}`, "application/json"),
			"bare query":  base("POST", "/orders?", `{"a":1}`, "application/json"),
			"method":      base("PATCH", "/orders?x=1", `{"a":1}`, "application/json"),
			"type":        base("POST", "/orders?x=1", `{"a":1}`, "text/json"),
			"second type": base("POST", "/orders?x=1", `{"a":1}`, "application/json").WithHeader("content-type", "application/json"),
			"field":       base("POST", "/orders?x=1", `{"a":1}`, "application/json").WithHeader("X-Version", "2"),
		}
	}
	all := func(state string) {
		for name, m := range others() {
			t.Logf("%s: other %s", state, name)
			r.serve(m, mismatch)
			if m.Problem.OriginalStatus != 0 || m.Problem.Location != "" {
				t.Errorf("%s: a mismatch tells of the first request", name)
			}
		}
	}
	r.upstream = func(ctx context.Context, x *pipeline.Exchange) error {
		all("in flight")
		return answers(201, `{"id":1}`)(ctx, x)
	}
	r.serve(post(), executed)
	all("completed")
	r.advance(24 * time.Hour)
	all("sealed")
	if r.calls.Load() != 1 {
		t.Error("another request was sent")
	}
	r.advance(72 * time.Hour)
	r.upstream = fails(pipeline.UpstreamFailed, pipeline.EffectUnknown)
	r.serve(post(), undecided.with(502))
	all("unknown")
}

// TestSameRequest: what may differ between attempts of one client (edge cases 29, 30, 36).
func TestSameRequest(t *testing.T) {
	r := newRig(t)
	r.serve(post(), executed)
	for name, change := range map[string]func(*pipeline.Memory){
		"token":      func(m *pipeline.Memory) { m.WithHeader("Authorization", "Bearer fresh") },
		"address":    func(m *pipeline.Memory) { m.ClientIP = m.ClientIP.Next() },
		"trace":      func(m *pipeline.Memory) { m.WithHeader("Traceparent", "00-1-2-3") },
		"request id": func(m *pipeline.Memory) { m.ID = []byte("another") },
		"host":       func(m *pipeline.Memory) { m.WithHost("other.example.com") },
		"subject":    func(m *pipeline.Memory) { m.Client.Subject = "ann again" },
		"chunked":    func(m *pipeline.Memory) { m.WithChunkedBody([]byte(`{"a":1}`)) },
	} {
		t.Log(name)
		r.serve(post(change), replayed)
	}
}

// TestWhoseKeyItIs: records of two clients, or two scopes, never meet (edge cases 31, 51).
func TestWhoseKeyItIs(t *testing.T) {
	r := newRig(t)
	r.serve(post(), executed)
	r.serve(post(func(m *pipeline.Memory) { m.Client.Identity = "iss|bob" }), executed.after(2))
	r.serveOn(r.route("refunds"), post(), executed.after(3))
	scoped := r.route("refunds", func(c *dedup.Config) { c.Scope = "orders" })
	r.serveOn(scoped, post(), replayed.after(3))

	anonymous := post(func(m *pipeline.Memory) { m.Client = pipeline.Client{} })
	r.serve(anonymous, want{kind: pipeline.BadRequest, executed: pipeline.ExecutedNo, same: pipeline.Yes, nu: pipeline.No, calls: 3})
	r.count(dedup.ResultRefused, 1)
}

func TestClientHeader(t *testing.T) {
	r := newRig(t, func(c *dedup.Config) { c.Client = "header:X-Tenant" })
	tenant := func(identity string, values ...string) *pipeline.Memory {
		return post(func(m *pipeline.Memory) {
			m.Client.Identity = identity
			for _, v := range values {
				m.WithHeader("x-tenant", v)
			}
		})
	}
	r.serve(tenant("", "acme"), executed)
	r.serve(tenant("", "acme"), replayed)
	r.serve(tenant("", "globex"), executed.after(2))
	r.serve(tenant("iss|eve", "acme"), executed.after(3)) // naming another tenant does not give his answers
	bad := want{kind: pipeline.BadRequest, executed: pipeline.ExecutedNo, same: pipeline.Yes, nu: pipeline.No, calls: 3}
	for _, m := range []*pipeline.Memory{tenant(""), tenant("", ""), tenant("", "acme", "acme"), tenant("iss|ann")} {
		r.serve(m, bad)
	}
	spent := tenant("")
	spent.Deferred = pipeline.RateLimited
	r.serve(spent, want{kind: pipeline.RateLimited})
}

func TestNewRefusesWhatHasNoOwner(t *testing.T) {
	records := dedup.NewRecords(nil, dedup.Deps{Secrets: dedup.FixedSecret([32]byte{})})
	defer records.Close(context.Background())
	for _, client := range []string{"subject", "header:", "token"} {
		cfg := config()
		cfg.Client = client
		if _, err := dedup.New(cfg, dedup.Facts{Anonymous: true}, records, nil, nil); err == nil || !strings.Contains(err.Error(), "client") {
			t.Errorf("client %s on an anonymous route: %v", client, err)
		}
	}
	cfg := config()
	cfg.Client = "header:X-Tenant"
	if _, err := dedup.New(cfg, dedup.Facts{Anonymous: true}, records, nil, nil); err != nil {
		t.Error(err)
	}
}

func TestForwardedKey(t *testing.T) {
	forwarded := func(mode string, change ...func(*pipeline.Memory)) *pipeline.Memory {
		r := newRig(t, func(c *dedup.Config) { c.ForwardKey = mode })
		return r.serve(post(change...), executed)
	}
	one, two := forwarded("derived").Outgoing.Fields(), forwarded("derived").Outgoing.Fields()
	if len(one) != 2 || one[0].Name != "Idempotency-Key" || len(one[0].Value) != 43 || string(one[0].Value) != string(two[0].Value) {
		t.Errorf("derived: %q and %q", one, two)
	}
	bob := forwarded("derived", func(m *pipeline.Memory) { m.Client.Identity = "bob" }).Outgoing.Fields()
	if string(bob[0].Value) == string(one[0].Value) {
		t.Error("two clients collide at the upstream")
	}
	if f := forwarded("as_sent").Outgoing.Fields(); len(f) != 1 || f[0].Name == "Idempotency-Key" {
		t.Errorf("as_sent: %q", f)
	}
	if f := forwarded("none").Outgoing.Fields(); len(f) != 2 || f[0].Value != nil {
		t.Errorf("none: %q", f)
	}
	crowded := post()
	for _, name := range strings.Split(strings.Repeat("a", 24), "") {
		crowded.Outgoing.Set(name+strings.Repeat("b", len(crowded.Outgoing.Fields())), []byte("1"))
	}
	r := newRig(t)
	r.serve(crowded, want{kind: pipeline.Internal})
	if r.calls.Load() != 0 || r.store.begins != 0 {
		t.Error("sent without its key")
	}
}

// TestStorm: of many at once one executes and the rest is told so (edge case 1).
func TestStorm(t *testing.T) {
	r := newRig(t)
	running, finish := make(chan struct{}), make(chan struct{})
	r.upstream = func(ctx context.Context, x *pipeline.Exchange) error {
		close(running)
		<-finish
		return answers(201, `{"id":1}`)(ctx, x)
	}
	var won, told atomic.Int32
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			m := post()
			switch err := r.handler.Serve(context.Background(), &m.Exchange); {
			case err == nil && string(m.Sent.Header("Idempotency-Status")) == "executed":
				won.Add(1)
			case errors.Is(err, pipeline.InProgress):
				if told.Add(1) == 63 {
					close(finish)
				}
			default:
				t.Error(err)
			}
		})
	}
	<-running
	all.Wait()
	if won.Load() != 1 || told.Load() != 63 || r.calls.Load() != 1 {
		t.Errorf("%d executed, %d were told", won.Load(), told.Load())
	}
	r.serve(post(), replayed)
}

func TestBodyIsReadBeforeTheClaim(t *testing.T) { // edge cases 41, 42
	r := newRig(t)
	r.serve(post(func(m *pipeline.Memory) { m.WithBody(make([]byte, 1<<16+1)) }), want{kind: pipeline.TooLarge})
	r.serve(post(func(m *pipeline.Memory) { m.WithBodyError(pipeline.ClientGone) }), want{kind: pipeline.ClientGone})
	if r.calls.Load() != 0 || r.store.begins != 0 {
		t.Error("claimed before the body was there")
	}
}

func TestIgnored(t *testing.T) {
	end := pipeline.HandlerFunc(answers(200, "ok"))
	r := newRig(t)
	h := dedup.Ignored("r", r)(end)
	for key, said := range map[string]string{"": "", "k": "ignored", `"broken`: "ignored"} {
		m := pipeline.NewMemory("POST", "/")
		if key != "" {
			m.WithHeader("Idempotency-Key", key)
		}
		if err := h.Serve(context.Background(), &m.Exchange); err != nil || string(m.Sent.Header("Idempotency-Status")) != said {
			t.Errorf("key %q: %q, %v", key, m.Sent.Header("Idempotency-Status"), err)
		}
	}
	r.count(dedup.ResultIgnored, 2)
}

// slowBody is a client that needs a while for its body.
type slowBody struct {
	*pipeline.MemoryRequest
	takes time.Duration
}

func (s slowBody) Buffer(max int64) ([]byte, error) {
	time.Sleep(s.takes)
	return s.MemoryRequest.Buffer(max)
}

func TestSlowUploadDoesNotCountAgainstTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		m := post()
		m.Request = slowBody{m.Got, 9 * time.Second}
		before := m.Deadline
		r.serve(m, executed)
		if got := m.Deadline.Sub(before); got != 9*time.Second {
			t.Errorf("the deadline moved by %v", got)
		}
	})
}

// quiet is a request without an allocation of its own.
type quiet struct{ *pipeline.MemoryRequest }

var get = []byte("GET")

func (quiet) Method() []byte { return get }

func (quiet) Header(string) []byte { return nil }

func TestUnprotectedCostsNothing(t *testing.T) {
	records := dedup.NewRecords(nil, dedup.Deps{Secrets: dedup.FixedSecret([32]byte{})})
	defer records.Close(context.Background())
	layer, err := dedup.New(config(), dedup.Facts{Route: "r", Upstream: "u"}, records, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	end := pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange) error { return nil })
	m := pipeline.NewMemory("GET", "/")
	m.Request = quiet{m.Got}
	for name, h := range map[string]pipeline.Handler{"protected route": layer(end), "other route": dedup.Ignored("r", nil)(end)} {
		if n := testing.AllocsPerRun(200, func() { _ = h.Serve(context.Background(), &m.Exchange) }); n != 0 {
			t.Errorf("%s: a GET costs %v allocations", name, n)
		}
	}
}
