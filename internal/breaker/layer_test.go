package breaker

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// answer is a response of which only the status and one field are asked.
type answer struct {
	pipeline.Response
	status int
	later  string // Retry-After
}

func (a *answer) Status() int { return a.status }

func (a *answer) Header(string) []byte { return []byte(a.later) }

// upstream is what stands below the layer.
type upstream struct {
	status   int
	later    string
	err      error
	tries    int
	took     time.Duration
	panicked any
	asked    int
}

func (u *upstream) Serve(_ context.Context, x *pipeline.Exchange) error {
	u.asked++
	x.Attempt.Count += u.tries
	if u.took > 0 {
		time.Sleep(u.took)
	}
	if u.panicked != nil {
		panic(u.panicked)
	}
	x.Response.(*answer).status, x.Response.(*answer).later = u.status, u.later
	return u.err
}

// config opens at the first failure.
func config() Config {
	return Config{
		Window: units.Duration(10 * time.Second), Minimum: 1, FailureRate: 0.5, SlowRate: 0.8,
		Open: units.Duration(5 * time.Second), Probes: 1,
	}
}

func exchange() *pipeline.Exchange {
	x := new(pipeline.Exchange)
	x.Begin(nil, new(answer), nil)
	x.Start = time.Now()
	return x
}

func TestLayerJudges(t *testing.T) {
	wrapped := func(r pipeline.Refusal) error { return fmt.Errorf("%w: detail", r) }
	for _, c := range []struct {
		name string
		u    upstream
		want State
	}{
		{"200", upstream{status: 200, tries: 1}, Closed},
		{"404", upstream{status: 404, tries: 1}, Closed},
		{"429", upstream{status: 429, tries: 1}, Closed},
		{"500", upstream{status: 500, tries: 1}, Open},
		{"501", upstream{status: 501, tries: 1}, Closed},
		{"502", upstream{status: 502, tries: 1}, Open},
		{"503", upstream{status: 503, tries: 1}, Open},
		{"503 for a while", upstream{status: 503, later: "1", tries: 1}, Closed},
		{"504", upstream{status: 504, tries: 1}, Open},
		{"505", upstream{status: 505, tries: 1}, Closed},
		{"our own 503", upstream{status: 503, tries: 0}, Closed},
		{"reset", upstream{err: wrapped(pipeline.UpstreamFailed), tries: 1}, Open},
		{"time-out", upstream{err: pipeline.UpstreamTimeout, tries: 1}, Open},
		{"unknown outcome", upstream{err: pipeline.OutcomeUnknown, tries: 1}, Open},
		{"no target takes a connection", upstream{err: wrapped(pipeline.UpstreamFailed), tries: 0}, Open},
		{"connecting takes too long", upstream{err: wrapped(pipeline.UpstreamTimeout), tries: 0}, Open},
		{"bulkhead", upstream{err: wrapped(pipeline.Overloaded), tries: 0}, Closed},
		{"another breaker", upstream{err: pipeline.UpstreamOpen, tries: 0}, Closed},
		{"store", upstream{err: pipeline.StoreUnavailable, tries: 0}, Closed},
		{"client gone", upstream{err: wrapped(pipeline.ClientGone), tries: 1}, Closed},
		{"client too slow", upstream{err: pipeline.RequestTimeout, tries: 1}, Closed},
		{"body too large", upstream{err: pipeline.TooLarge, tries: 1}, Closed},
		{"our mistake", upstream{err: context.Canceled, tries: 1}, Closed},
	} {
		b := New("u", nil)
		handler := Layer(config(), b)(&c.u)
		if err := handler.Serve(t.Context(), exchange()); err != c.u.err {
			t.Errorf("%s: %v", c.name, err)
		}
		if got := b.State(time.Now()); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// A call whose deadline had passed before it began says nothing about the upstream.
func TestLayerWithoutTime(t *testing.T) {
	b := New("u", nil)
	handler := Layer(config(), b)(&upstream{err: pipeline.UpstreamTimeout, tries: 1})
	x := exchange()
	x.Deadline = time.Now().Add(-time.Second)
	_ = handler.Serve(t.Context(), x)
	if got := b.State(time.Now()); got != Closed {
		t.Error(got)
	}
}

// Attempts of an earlier call of the same exchange do not make this one a dispatch.
func TestLayerCountsItsOwnDispatches(t *testing.T) {
	b := New("u", nil)
	x := exchange()
	x.Attempt.Count = 1
	_ = Layer(config(), b)(&upstream{status: 503}).Serve(t.Context(), x)
	if got := b.State(time.Now()); got != Closed {
		t.Error(got)
	}
}

func TestLayerRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New("u", nil)
		u := &upstream{status: 500, tries: 1}
		handler := Layer(config(), b)(u)
		_ = handler.Serve(t.Context(), exchange())
		for _, c := range []struct {
			sleep time.Duration
			want  int
		}{{0, 5}, {time.Millisecond, 5}, {time.Second, 4}, {3990 * time.Millisecond, 1}} {
			time.Sleep(c.sleep)
			x := exchange()
			err := handler.Serve(t.Context(), x)
			if err != pipeline.UpstreamOpen || x.Problem.RetryAfter != c.want || x.Problem.Executed != pipeline.ExecutedNo {
				t.Errorf("%v, %+v, want %d", err, x.Problem, c.want)
			}
		}
		x := exchange()
		x.Effect = pipeline.EffectUnknown // an earlier attempt
		if _ = handler.Serve(t.Context(), x); x.Problem.Executed != pipeline.ExecutedUnsaid {
			t.Error("an earlier attempt may have been executed")
		}
		if u.asked != 1 {
			t.Errorf("the upstream was asked %d times", u.asked)
		}
		time.Sleep(time.Second)
		u.status = 200
		if err := handler.Serve(t.Context(), exchange()); err != nil || b.State(time.Now()) != Closed {
			t.Errorf("%v, %v", err, b.State(time.Now()))
		}
	})
}

// Its own refusals are never counted (edge case 16): however many come, the open time does not grow.
func TestLayerDoesNotCountItsRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New("u", nil)
		u := &upstream{status: 500, tries: 1}
		handler := Layer(config(), b)(u)
		_ = handler.Serve(t.Context(), exchange())
		for range 499 {
			time.Sleep(10 * time.Millisecond)
			_ = handler.Serve(t.Context(), exchange())
		}
		if b.State(time.Now()) != Open || u.asked != 1 {
			t.Errorf("%v, asked %d", b.State(time.Now()), u.asked)
		}
		time.Sleep(10 * time.Millisecond)
		if got := b.State(time.Now()); got != HalfOpen {
			t.Error(got)
		}
	})
}

func TestLayerMeasuresSlowCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, cfg := New("u", nil), config()
		cfg.Slow = units.Duration(time.Second)
		u := &upstream{status: 200, tries: 1, took: time.Second}
		handler := Layer(cfg, b)(u)
		_ = handler.Serve(t.Context(), exchange())
		if got := b.State(time.Now()); got != Closed {
			t.Error(got)
		}
		u.took += 30 * time.Second
		_ = handler.Serve(t.Context(), exchange())
		if got := b.State(time.Now()); got != Open {
			t.Error(got)
		}
	})
}

// A panic counts as a failure, gives the permit back and goes on.
func TestLayerPanic(t *testing.T) {
	b := New("u", nil)
	handler := Layer(config(), b)(&upstream{panicked: "boom", tries: 1})
	func() {
		defer func() {
			if got := recover(); got != "boom" {
				t.Errorf("recovered %v", got)
			}
		}()
		_ = handler.Serve(t.Context(), exchange())
	}()
	if got := b.State(time.Now()); got != Open {
		t.Error(got)
	}
}

// A body that breaks off counts once for one call, and only where the head had been good.
func TestLayerBrokenBody(t *testing.T) {
	for _, c := range []struct {
		status         int
		broken         bool
		calls, failed_ int
	}{{200, true, 1, 1}, {200, false, 1, 0}, {404, true, 1, 1}, {503, true, 1, 1}} {
		b, cfg := New("u", nil), config()
		cfg.Minimum = 100
		x := exchange()
		_ = Layer(cfg, b)(&upstream{status: c.status, tries: 1}).Serve(t.Context(), x)
		x.Attempt.Broken = c.broken
		x.Finish(pipeline.End{At: time.Now()})
		if shot := b.Snapshot(time.Now()); shot.Calls != c.calls || shot.Failed != c.failed_ {
			t.Errorf("%+v: %+v", c, shot)
		}
	}
}

// The layers of two snapshots share a breaker: what one opened, the other refuses.
func TestLayersShareTheBreaker(t *testing.T) {
	b := New("u", nil)
	_ = Layer(config(), b)(&upstream{status: 500, tries: 1}).Serve(t.Context(), exchange())
	if err := Layer(config(), b)(&upstream{status: 200, tries: 1}).Serve(t.Context(), exchange()); err != pipeline.UpstreamOpen {
		t.Error(err)
	}
}

func TestNothingIsAllocated(t *testing.T) {
	b, s, now := New("u", nil), defaults(), time.Now()
	if n := testing.AllocsPerRun(100, func() {
		p, _, _ := b.Acquire(&s, now)
		p.Done(Success, time.Millisecond, now)
	}); n != 0 {
		t.Errorf("acquire and report: %v", n)
	}
	u := &upstream{status: 200, tries: 1}
	handler, x, a := Layer(config(), b)(u), new(pipeline.Exchange), new(answer)
	if n := testing.AllocsPerRun(100, func() {
		x.Begin(nil, a, nil)
		_ = handler.Serve(context.Background(), x)
		x.Finish(pipeline.End{At: now})
	}); n != 0 {
		t.Errorf("layer: %v", n)
	}
	u.status = 500
	if n := testing.AllocsPerRun(100, func() {
		x.Begin(nil, a, nil)
		_ = handler.Serve(context.Background(), x)
	}); n != 0 {
		t.Errorf("refused: %v", n)
	}
}

func BenchmarkAcquireDone(b *testing.B) {
	breaker, s, now := New("u", nil), defaults(), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Microsecond)
		p, _, _ := breaker.Acquire(&s, now)
		p.Done(Success, time.Millisecond, now)
	}
}

func BenchmarkAcquireDoneParallel(b *testing.B) {
	breaker, s := New("u", nil), defaults()
	b.RunParallel(func(pb *testing.PB) {
		now := time.Now()
		for pb.Next() {
			p, _, _ := breaker.Acquire(&s, now)
			p.Done(Success, time.Millisecond, now)
		}
	})
}

func BenchmarkRefused(b *testing.B) {
	for _, state := range []State{Open, HalfOpen} {
		b.Run(state.String(), func(b *testing.B) {
			breaker, s, now := New("u", nil), defaults(), time.Now()
			s.Probes = maxProbes
			breaker.machine.enter(state, 0)
			for range maxProbes {
				_, _, _ = breaker.Acquire(&s, now)
			}
			b.ReportAllocs()
			for b.Loop() {
				_, _, _ = breaker.Acquire(&s, now)
			}
		})
	}
}

func BenchmarkLayer(b *testing.B) {
	handler := Layer(config(), New("u", nil))(&upstream{status: 200, tries: 1})
	x, a := new(pipeline.Exchange), new(answer)
	x.Begin(nil, a, nil)
	b.ReportAllocs()
	for b.Loop() {
		_ = handler.Serve(context.Background(), x)
		x.Finish(pipeline.End{})
	}
}
