package dedup_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// TestClientLeaves: the answer is awaited and stored (edge cases 40, 41).
func TestClientLeaves(t *testing.T) {
	r := newRig(t)
	m := post()
	r.upstream = func(ctx context.Context, x *pipeline.Exchange) error {
		m.Leave()
		if !x.Keyed || ctx.Err() != nil {
			t.Error("the client's leaving stops the work")
		}
		return answers(201, `{"id":1}`)(ctx, x)
	}
	r.serve(m, executed)
	r.serve(post(), replayed)
	if r.calls.Load() != 1 {
		t.Errorf("%d dispatches", r.calls.Load())
	}
}

// TestGatewayStops: a call that the gateway no longer waits for is told and stored as unknown; one that ended at that very
// moment is stored.
func TestGatewayStops(t *testing.T) {
	for end, c := range map[string]struct {
		serve        func(context.Context, *pipeline.Exchange) error
		first, again want
	}{
		"cut": {func(ctx context.Context, x *pipeline.Exchange) error {
			x.Effect = pipeline.EffectUnknown
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Second):
				t.Error("the call is not told that the gateway stops")
			}
			return fmt.Errorf("%w: %v", pipeline.Draining, ctx.Err())
		}, undecided.with(502).after(1), undecided.after(1)},
		"answered": {answers(201, `{"id":1}`), executed, replayed},
	} {
		t.Log(end)
		r := newRig(t)
		ctx, stop := context.WithCancel(context.Background())
		r.upstream = func(ctx context.Context, x *pipeline.Exchange) error {
			stop()
			return c.serve(ctx, x)
		}
		m := post()
		r.judge(m, r.handler.Serve(ctx, &m.Exchange), c.first)
		r.serve(post(), c.again)
	}
}

// TestCutAnswersFreeNothing: a status that would free the key does so only when its answer came whole.
func TestCutAnswersFreeNothing(t *testing.T) {
	for _, status := range []int{401, 408, 425, 429, 503} {
		r := newRig(t, func(c *dedup.Config) { c.ReleaseOn = []int{503} })
		r.upstream = func(_ context.Context, x *pipeline.Exchange) error {
			x.Effect = pipeline.EffectDone
			x.Response.SetStatus(status)
			x.Response.Set("Location", []byte("/l"))
			x.Response.SetStream(io.NopCloser(io.MultiReader(strings.NewReader("half"), broken{io.ErrUnexpectedEOF})), 100)
			return nil
		}
		m := r.serve(post(), notKept.with(502).after(1))
		if m.Problem.OriginalStatus != status || string(m.Sent.Header("Location")) != "/l" {
			t.Errorf("%d: %+v, Location %q", status, m.Problem, m.Sent.Header("Location"))
		}
		m = r.serve(post(), notKept.after(1))
		if m.Problem.OriginalStatus != status || string(m.Sent.Header("Location")) != "/l" {
			t.Errorf("%d again: %+v, Location %q", status, m.Problem, m.Sent.Header("Location"))
		}
	}
}

// TestUpstreamsDoNotSpeakForUs: an upstream that replays by itself doesn't make our answer say so.
func TestUpstreamsDoNotSpeakForUs(t *testing.T) {
	marked := func(ctx context.Context, x *pipeline.Exchange) error {
		for _, name := range []string{"Idempotency-Status", "Idempotent-Replayed", "Idempotency-Original-Request-Id"} {
			x.Response.Set(name, []byte("theirs"))
		}
		x.Response.Set("X-Theirs", []byte("1"))
		return answers(201, `{"id":1}`)(ctx, x)
	}
	r := newRig(t)
	r.upstream = marked
	for what, m := range map[string]*pipeline.Memory{
		"executed":   r.serve(post(), executed),
		"replayed":   r.serve(post(), replayed),
		"no key":     r.serve(pipeline.NewMemory("POST", "/orders"), want{status: 201}),
		"other verb": r.serve(pipeline.NewMemory("GET", "/orders"), want{status: 201}),
	} {
		m.Sent.EachField(func(name, value []byte) {
			if string(value) == "theirs" {
				t.Errorf("%s: %s is the upstream's", what, name)
			}
		})
		if what == "no key" && string(m.Sent.Header("X-Theirs")) != "1" {
			t.Errorf("%s: %v", what, m.Sent)
		}
	}
}
