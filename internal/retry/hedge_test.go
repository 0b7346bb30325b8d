package retry

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// racers is an upstream whose n-th call takes so long.
type racers struct {
	takes     []time.Duration
	steps     []step
	calls     atomic.Int32
	cancelled atomic.Int32
}

func (r *racers) Serve(ctx context.Context, x *pipeline.Exchange) error {
	n := int(r.calls.Add(1)) - 1
	x.Attempt.Count++
	select {
	case <-time.After(r.takes[min(n, len(r.takes)-1)]):
	case <-ctx.Done():
		r.cancelled.Add(1)
		return pipeline.ClientGone
	}
	s := answers(200)
	if n < len(r.steps) {
		s = r.steps[n]
	}
	x.Effect = s.effect
	if s.err != nil {
		return s.err
	}
	x.Response.SetStatus(s.status)
	x.Response.SetBody([]byte{byte('a' + n)})
	return nil
}

func hedging() Config {
	c := usual()
	c.Hedge = &HedgeConfig{After: units.Duration(50 * time.Millisecond)}
	return c
}

const ms = time.Millisecond

func TestHedges(t *testing.T) {
	for _, c := range []struct {
		name      string
		r         *racers
		cfg       Config
		method    string
		calls     int32
		cancelled int32
		body      string
		took      time.Duration
	}{
		{"quick: none", &racers{takes: []time.Duration{40 * ms}}, hedging(), "GET", 1, 0, "a", 40 * ms},
		{"slow: the second wins", &racers{takes: []time.Duration{time.Second, 20 * ms}}, hedging(), "GET", 2, 1, "b", 70 * ms},
		{"slow: the first wins", &racers{takes: []time.Duration{80 * ms, time.Second}}, hedging(), "GET", 2, 1, "a", 80 * ms},
		{"the second fails", &racers{takes: []time.Duration{100 * ms, 10 * ms}, steps: []step{answers(200), answers(503)}}, hedging(), "GET", 2, 0, "a", 100 * ms},
		{"writes never", &racers{takes: []time.Duration{time.Second}}, hedging(), "POST", 1, 0, "a", time.Second},
		{"no budget", &racers{takes: []time.Duration{time.Second}}, func() Config { c := hedging(); c.Budget, c.Floor = 0, 0; return c }(), "GET", 1, 0, "a", time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			m, began := pipeline.NewMemory(c.method, "/x"), time.Now()
			err := New("u", c.cfg, Deps{State: NewState()})(c.r).Serve(context.Background(), &m.Exchange)
			took := time.Since(began)
			m.Finish(pipeline.End{})
			synctest.Wait()
			if err != nil || string(m.Sent.Body()) != c.body || took != c.took || c.r.calls.Load() != c.calls || c.r.cancelled.Load() != c.cancelled {
				t.Errorf("%s: %v, body %q after %v, %d calls, %d cancelled", c.name, err, m.Sent.Body(), took, c.r.calls.Load(), c.r.cancelled.Load())
			}
		})
	}
}

// A race that is lost by both is tried again like any call.
func TestARaceThatIsLostIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &racers{takes: []time.Duration{100 * ms, 10 * ms, ms}, steps: []step{reset, answers(503)}}
		m := pipeline.NewMemory("GET", "/x")
		if err := New("u", hedging(), Deps{State: NewState()})(r).Serve(context.Background(), &m.Exchange); err != nil || string(m.Sent.Body()) != "c" || r.calls.Load() != 3 {
			t.Errorf("%v, %q, %d calls", err, m.Sent.Body(), r.calls.Load())
		}
	})
}

func TestAClientThatLeavesEndsARace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &racers{takes: []time.Duration{time.Hour}}
		m := pipeline.NewMemory("GET", "/x")
		m.Leave()
		began := time.Now()
		err := New("u", hedging(), Deps{State: NewState()})(r).Serve(context.Background(), &m.Exchange)
		if !errors.Is(err, pipeline.ClientGone) || time.Since(began) > time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		synctest.Wait()
		if r.cancelled.Load() != 2 {
			t.Errorf("%d calls cancelled", r.cancelled.Load())
		}
	})
}

// A panic below is the exchange's error, not the process's end.
func TestAPanicInARace(t *testing.T) {
	next := pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange) error { panic("x") })
	m := pipeline.NewMemory("GET", "/x")
	if err := New("u", hedging(), Deps{State: NewState()})(next).Serve(context.Background(), &m.Exchange); pipeline.KindOf(err) != pipeline.Internal {
		t.Errorf("%v", err)
	}
}

// Both calls of a race are announced, and what was counted before it stays counted.
func TestARaceIsAnnouncedAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := hedging()
		cfg.Announce = true
		var mu sync.Mutex
		var seen []string
		r := &racers{takes: []time.Duration{time.Second, 20 * ms}}
		next := pipeline.HandlerFunc(func(ctx context.Context, x *pipeline.Exchange) error {
			mu.Lock()
			for _, f := range x.Outgoing.Fields() {
				seen = append(seen, f.Name+"="+string(f.Value))
			}
			mu.Unlock()
			return r.Serve(ctx, x)
		})
		m := pipeline.NewMemory("GET", "/x")
		m.Deadline = time.Now().Add(time.Second)
		m.Attempt.Count, m.Attempt.Duration = 3, time.Minute // another upstream failed before
		if err := New("u", cfg, Deps{State: NewState()})(next).Serve(context.Background(), &m.Exchange); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(seen, " "); got != "X-Request-Attempt=1 X-Request-Timeout=1000 X-Request-Attempt=2 X-Request-Timeout=950" {
			t.Errorf("announced %s", got)
		}
		if a := m.Attempt; a.Count != 5 || a.Duration < time.Minute || a.Retried != "hedge" || a.Once {
			t.Errorf("%+v", a)
		}
		synctest.Wait()
	})
}

// What either call may have done stands when both fail.
func TestTheEffectOfARaceIsThatOfBoth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := hedging()
		cfg.Attempts = 1
		r := &racers{takes: []time.Duration{60 * ms, 20 * ms}, steps: []step{reset, refused}}
		m := pipeline.NewMemory("GET", "/x")
		err := New("u", cfg, Deps{State: NewState()})(r).Serve(context.Background(), &m.Exchange)
		if pipeline.KindOf(err) != pipeline.UpstreamFailed || m.Effect != pipeline.EffectUnknown {
			t.Errorf("%v, %v", err, m.Effect)
		}
	})
}
