package dedup_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// TestEveryStatus: which answers are kept, which free the key, which are unknown (edge cases 45, 46).
func TestEveryStatus(t *testing.T) {
	frees := map[int]bool{401: true, 407: true, 408: true, 421: true, 425: true, 429: true}
	for status := 200; status < 600; status++ {
		r := newRig(t)
		r.upstream = answers(status, "b")
		first := want{status: status, said: "executed", body: "b", calls: 1}
		switch {
		case status == 502 || status == 504:
			r.serve(post(), undecided.with(status).after(1))
			r.serve(post(), undecided.after(1))
			r.count(dedup.ResultUnknown, 2)
		case frees[status]:
			r.serve(post(), first)
			r.upstream = answers(201, `{"id":1}`)
			r.serve(post(), executed.after(2))
			r.count(dedup.ResultReleased, 1)
		default:
			r.serve(post(), first)
			first.said = "replayed"
			r.serve(post(), first)
		}
		if t.Failed() {
			t.Fatalf("status %d", status)
		}
	}
}

func TestReleaseOn(t *testing.T) {
	r := newRig(t, func(c *dedup.Config) { c.ReleaseOn = []int{503} })
	r.upstream = answers(503, "later", "Retry-After", "9")
	m := r.serve(post(), want{status: 503, said: "executed", body: "later", calls: 1})
	if string(m.Sent.Header("Retry-After")) != "9" {
		t.Error("the upstream's own answer was changed")
	}
	r.upstream = answers(201, `{"id":1}`)
	r.serve(post(), executed.after(2))
	r.serve(post(), replayed.after(2))
}

// TestEveryFailure: what the upstream may have done decides (edge cases 8-10, 12).
func TestEveryFailure(t *testing.T) {
	free := want{executed: pipeline.ExecutedNo, same: pipeline.Yes, nu: pipeline.Yes}
	for name, c := range map[string]struct {
		err    error
		effect pipeline.Effect
		first  want
		then   want
	}{
		"refused":        {pipeline.UpstreamFailed, pipeline.EffectNone, free, executed},
		"no time":        {pipeline.UpstreamTimeout, pipeline.EffectNone, free, executed},
		"breaker":        {pipeline.UpstreamOpen, pipeline.EffectNone, free, executed},
		"bulkhead":       {pipeline.Overloaded, pipeline.EffectNone, free, executed},
		"unheard of":     {errors.New("x"), pipeline.EffectNone, free, executed},
		"reset":          {pipeline.UpstreamFailed, pipeline.EffectUnknown, undecided.with(502), undecided},
		"silence":        {pipeline.UpstreamTimeout, pipeline.EffectUnknown, undecided.with(504), undecided},
		"unheard of too": {errors.New("x"), pipeline.EffectUnknown, undecided.with(502), undecided},
		"lost answer":    {pipeline.UpstreamFailed, pipeline.EffectDone, notKept.with(502), notKept},
		"slow answer":    {pipeline.UpstreamTimeout, pipeline.EffectDone, notKept.with(504), notKept},
	} {
		t.Log(name)
		r := newRig(t)
		cause := fmt.Errorf("target: %w", c.err)
		r.upstream = fails(cause, c.effect)
		if c.first.kind == 0 {
			c.first.kind = pipeline.KindOf(c.err)
		}
		m := post()
		err := r.handler.Serve(context.Background(), &m.Exchange)
		r.judge(m, err, c.first.after(1))
		if !errors.Is(err, cause) {
			t.Errorf("the cause is lost to the log: %v", err)
		}
		if ref := m.Problem.OperationRef; (ref == "") != (c.effect == pipeline.EffectNone) {
			t.Errorf("operation_ref %q", ref)
		}
		r.upstream = answers(201, `{"id":1}`)
		if c.then.kind == 0 {
			c.then.calls = 2
		} else {
			c.then.calls = 1
		}
		r.serve(post(), c.then)
	}
}

func TestTheBreakersRetryAfterIsNotTheUnknowns(t *testing.T) {
	r := newRig(t)
	r.upstream = func(_ context.Context, x *pipeline.Exchange) error {
		x.Effect, x.Problem.RetryAfter, x.Problem.Policy = pipeline.EffectUnknown, 7, "p"
		return pipeline.UpstreamFailed
	}
	m := r.serve(post(), undecided.with(502))
	if m.Problem.Policy != "" {
		t.Error("members of another problem are left")
	}
}

func TestOperationRef(t *testing.T) {
	r := newRig(t)
	r.upstream = fails(pipeline.UpstreamFailed, pipeline.EffectUnknown)
	first := r.serve(post(), undecided.with(502)).Problem.OperationRef
	again := r.serve(post(), undecided).Problem.OperationRef
	other := r.serve(post(func(m *pipeline.Memory) { m.WithBody([]byte("x")) }), mismatch).Problem.OperationRef
	if len(first) != 43 || again != first || other != first {
		t.Errorf("%q, %q, %q", first, again, other)
	}
	up := post()
	_ = r.handler.Serve(context.Background(), &up.Exchange)
	if string(up.Outgoing.Fields()[0].Value) == first {
		t.Error("the upstream learns the reference")
	}
}

// TestFixedAnswers: a fallback's answer is not the upstream's.
func TestFixedAnswers(t *testing.T) {
	fixed := func(effect pipeline.Effect) pipeline.HandlerFunc {
		return func(ctx context.Context, x *pipeline.Exchange) error {
			err := answers(200, "fixed")(ctx, x)
			x.Effect = effect
			return err
		}
	}
	r := newRig(t)
	r.upstream = fixed(pipeline.EffectNone)
	r.serve(post(), want{status: 200, body: "fixed", calls: 1})
	r.upstream = fixed(pipeline.EffectUnknown)
	m := r.serve(post(), undecided.with(502).after(2))
	if len(m.Sent.Body()) != 0 {
		t.Error("a fixed answer hides an unknown outcome")
	}
	r.serve(post(), undecided.after(2))
}

func streams(status int, contentType, body string, n int64, err error) pipeline.HandlerFunc {
	return func(_ context.Context, x *pipeline.Exchange) error {
		x.Effect = pipeline.EffectDone
		x.Response.SetStatus(status)
		x.Response.Set("Content-Type", []byte(contentType))
		x.Response.Set("Location", []byte("/orders/1"))
		x.Response.SetStream(io.NopCloser(io.MultiReader(strings.NewReader(body), broken{err})), n)
		return nil
	}
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) {
	if b.err == nil {
		return 0, io.EOF
	}
	return 0, b.err
}

// TestStreams: what is not kept is sealed before its first byte goes on (edge cases 43, 44).
func TestStreams(t *testing.T) {
	big, fits := strings.Repeat("a", 1<<10+1), strings.Repeat("a", 1<<10)
	for name, c := range map[string]struct {
		upstream pipeline.HandlerFunc
		body     string
		kept     bool
	}{
		"small stream":       {streams(200, "text/plain", "hello", -1, nil), "hello", true},
		"at the limit":       {streams(200, "text/plain", fits, int64(len(fits)), nil), fits, true},
		"above the limit":    {streams(200, "text/plain", big, int64(len(big)), nil), big, false},
		"of unknown length":  {streams(200, "text/plain", big, -1, nil), big, false},
		"events":             {streams(200, "Text/Event-Stream; charset=utf-8", "data: 1\n\n", -1, nil), "data: 1\n\n", false},
		"switched protocols": {streams(101, "", "raw", -1, nil), "raw", false},
		"big and in memory":  {answers(200, big, "Location", "/orders/1"), big, false},
	} {
		t.Log(name)
		r := newRig(t)
		r.upstream = c.upstream
		m := post()
		err := r.handler.Serve(context.Background(), &m.Exchange)
		if c.kept == m.Sent.Streaming() && name != "big and in memory" {
			t.Error("kept whole or streamed, but the wrong one")
		}
		if !c.kept {
			w := notKept
			w.calls = 1
			again := r.serve(post(), w) // sealed while the first still streams
			if again.Problem.OriginalStatus != m.Sent.Status() || again.Problem.Location != "/orders/1" {
				t.Errorf("original status %d, location %q", again.Problem.OriginalStatus, again.Problem.Location)
			}
		}
		r.judge(m, err, want{said: "executed", body: c.body, calls: 1})
		if c.kept {
			r.serve(post(), want{status: 200, said: "replayed", body: c.body, calls: 1})
		}
	}
}

func TestAnswerThatBreaksOff(t *testing.T) {
	for cause, status := range map[error]int{io.ErrUnexpectedEOF: 502, pipeline.UpstreamTimeout: 504} {
		r := newRig(t)
		r.upstream = streams(201, "text/plain", "half", -1, cause)
		m := post()
		err := r.handler.Serve(context.Background(), &m.Exchange)
		r.judge(m, err, notKept.with(status).after(1))
		if m.Problem.OriginalStatus != 201 || len(m.Sent.Body()) != 0 || m.Sent.StreamClosed() != 1 || !errors.Is(err, cause) {
			t.Errorf("%+v, body %q, %v", m.Problem, m.Sent.Body(), err)
		}
		again := r.serve(post(), notKept.after(1))
		if again.Problem.OriginalStatus != 201 {
			t.Errorf("%+v", again.Problem)
		}
	}
}

// TestWhileRunning: duplicates, the end of the lease, and the late truth (edge cases 4, 5, 7).
func TestWhileRunning(t *testing.T) {
	r := newRig(t)
	r.upstream = func(ctx context.Context, x *pipeline.Exchange) error {
		if !x.Keyed {
			t.Error("the claim is not marked")
		}
		m := r.serve(post(), inProgress)
		if m.Problem.OperationRef == "" {
			t.Error("no reference")
		}
		r.advance(24500 * time.Millisecond) // 10 s of the request and 15 s to store
		w := inProgress
		w.retry = 1
		r.serve(post(), w)
		r.advance(time.Second)
		r.serve(post(), undecided)
		r.serve(post(), undecided)
		return answers(201, `{"id":1}`)(ctx, x)
	}
	r.serve(post(), executed)
	r.serve(post(), replayed)
	r.count(dedup.ResultInProgress, 2)
}

func TestLeaseWithoutADeadline(t *testing.T) {
	r := newRig(t)
	r.upstream = func(ctx context.Context, x *pipeline.Exchange) error {
		r.advance(74 * time.Second)
		w := inProgress
		w.retry = 1
		r.serve(post(), w)
		r.advance(time.Second)
		r.serve(post(), undecided)
		return answers(201, `{"id":1}`)(ctx, x)
	}
	r.serve(post(func(m *pipeline.Memory) { m.Deadline = time.Time{} }), executed)
}

func TestRetention(t *testing.T) { // edge cases 47, 48
	r := newRig(t)
	r.serve(post(), executed)
	r.advance(24*time.Hour - 1)
	r.serve(post(), replayed)
	r.advance(1)
	m := r.serve(post(), notKept.after(1))
	if m.Problem.OriginalStatus != 201 {
		t.Errorf("%+v", m.Problem)
	}
	r.advance(48 * time.Hour)
	r.serve(post(), executed.after(2))
}

// TestRefusalsFromAbove: a spent limit or an open breaker claims nothing, and a stored answer is told all the same.
func TestRefusalsFromAbove(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*rig, *pipeline.Memory)
		miss   want
	}{
		"limit": {func(_ *rig, m *pipeline.Memory) { m.Deferred = pipeline.RateLimited },
			want{kind: pipeline.RateLimited, executed: pipeline.ExecutedNo, same: pipeline.Yes, nu: pipeline.Yes}},
		"breaker": {func(r *rig, _ *pipeline.Memory) { r.admitted = false },
			want{kind: pipeline.UpstreamOpen, executed: pipeline.ExecutedNo, same: pipeline.Yes, nu: pipeline.Yes, retry: 3}},
	} {
		t.Log(name)
		r := newRig(t)
		refusing := func(change ...func(*pipeline.Memory)) *pipeline.Memory {
			m := post(change...)
			c.change(r, m)
			return m
		}
		m := r.serve(refusing(), c.miss)
		r.serve(refusing(), c.miss)
		if r.calls.Load() != 0 || m.Problem.OperationRef != "" {
			t.Error("something was begun")
		}
		r.admitted = true
		r.upstream = func(ctx context.Context, x *pipeline.Exchange) error {
			r.serve(refusing(), inProgress)
			r.admitted = true
			return answers(201, `{"id":1}`)(ctx, x)
		}
		r.serve(post(), executed)
		m = r.serve(refusing(), replayed)
		if !m.Replayed {
			t.Error("the limiter can't know that it was a replay")
		}
		r.serve(refusing(func(m *pipeline.Memory) { m.WithBody(nil) }), mismatch)
		r.advance(24 * time.Hour)
		r.serve(refusing(), notKept.after(1))
		r.advance(48 * time.Hour)
		r.serve(refusing(), c.miss)
	}
}

func TestPanics(t *testing.T) {
	for name, c := range map[string]struct {
		before func(*pipeline.Exchange)
		said   pipeline.Executed
		then   want
	}{
		"before sending": {func(x *pipeline.Exchange) { x.Attempt.Count = 0 }, pipeline.ExecutedNo, executed.after(2)},
		"while sending":  {func(*pipeline.Exchange) {}, pipeline.ExecutedUnknown, undecided.after(1)},
		"after sending":  {func(x *pipeline.Exchange) { x.Effect = pipeline.EffectUnknown }, pipeline.ExecutedUnknown, undecided.after(1)},
		"with an answer": {func(x *pipeline.Exchange) { x.Effect = pipeline.EffectDone }, pipeline.ExecutedUnknown, undecided.after(1)},
	} {
		t.Log(name)
		r := newRig(t)
		r.upstream = func(_ context.Context, x *pipeline.Exchange) error {
			c.before(x)
			panic("broken")
		}
		m := post()
		func() {
			defer func() {
				if recover() != "broken" {
					t.Error("the panic was swallowed")
				}
			}()
			_ = r.handler.Serve(context.Background(), &m.Exchange)
		}()
		if m.Problem.Executed != c.said || m.Problem.Status != 0 {
			t.Errorf("%+v", m.Problem)
		}
		r.upstream = answers(201, `{"id":1}`)
		r.serve(post(), c.then)
	}
}

// TestNothingIsBorrowed: the request's buffers are used again for something else (edge case 39).
func TestNothingIsBorrowed(t *testing.T) {
	r := newRig(t)
	body, id := []byte(`{"a":1}`), []byte("request-1")
	var answer []byte
	r.upstream = func(ctx context.Context, x *pipeline.Exchange) error {
		err := answers(201, `{"id":1}`)(ctx, x)
		answer, _, _ = x.Response.Buffer(100)
		return err
	}
	r.serve(post(func(m *pipeline.Memory) { m.WithBody(body); m.ID = id }), executed)
	clear(body)
	clear(id)
	clear(answer)
	m := r.serve(post(), replayed)
	if got := string(m.Sent.Header("Idempotency-Original-Request-Id")); got != "request-1" {
		t.Errorf("original request id %q", got)
	}
}
