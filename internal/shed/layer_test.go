package shed

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

func fixed(inFlight int) Config {
	return Config{InFlight: inFlight, High: 0.9, Normal: 0.75, Low: 0.5}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		high, normal, low units.Share
		want              string // paths
	}{
		{0.9, 0.75, 0.5, ""},
		{1, 1, 1, ""},
		{0.5, 0.5, 0.5, ""},
		{0.7, 0.75, 0.5, "shedding.normal"},
		{0.9, 0.4, 0.5, "shedding.low"},
		{0.1, 0.2, 0.3, "shedding.normal shedding.low"},
	} {
		p := units.NewProblems()
		cfg := Config{High: c.high, Normal: c.normal, Low: c.low}
		cfg.Validate(p.Key("shedding"))
		var paths []string
		for _, found := range p.List() {
			paths = append(paths, found.Path)
		}
		if got := strings.Join(paths, " "); got != c.want {
			t.Errorf("%v %v %v: problems at %q, want %q", c.high, c.normal, c.low, got, c.want)
		}
	}
}

func TestNothingToBoundIsNoLayer(t *testing.T) {
	s := New(nil)
	if s.Layer(fixed(0), Normal) != nil {
		t.Error("a layer without a bound")
	}
	if s.Layer(fixed(1), Normal) == nil || s.Layer(adaptive(0), Normal) == nil {
		t.Error("no layer")
	}
}

// heard is a recorder.
type heard struct {
	mu     sync.Mutex
	shed   map[string]int
	bounds []int
}

func (h *heard) Shed(priority string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.shed == nil {
		h.shed = map[string]int{}
	}
	h.shed[priority]++
}

func (h *heard) Bound(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bounds = append(h.bounds, n)
}

var ok = pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange) error { return nil })

// hold serves requests without ending them until one is refused; the others are returned.
func hold(t *testing.T, s *Shedder, cfg Config, priority string) []*pipeline.Memory {
	t.Helper()
	h := pipeline.Compose(ok, s.Layer(cfg, priority))
	for held := []*pipeline.Memory(nil); ; {
		m := pipeline.NewMemory("GET", "/")
		if err := h.Serve(t.Context(), &m.Exchange); err != nil {
			m.Finish(pipeline.End{})
			return held
		}
		if held = append(held, m); len(held) > 100_000 {
			t.Fatal("nobody is refused")
		}
	}
}

func finish(held ...*pipeline.Memory) {
	for _, m := range held {
		m.Finish(pipeline.End{})
	}
}

func TestClassesFillTheirShares(t *testing.T) {
	for _, c := range []struct {
		inFlight                    int
		critical, high, normal, low int
	}{
		{100, 100, 90, 75, 50},
		{10, 10, 9, 8, 5}, // 7 of 7.5 leave room
		{2, 2, 2, 2, 1},
		{1, 1, 1, 1, 1}, // an idle process takes anybody
		{1000, 1000, 900, 750, 500},
	} {
		s := New(nil)
		var all []*pipeline.Memory
		// From the least to the most important: each finds what the ones before it left.
		for _, class := range []struct {
			priority string
			up       int
		}{{Low, c.low}, {"", c.normal}, {Normal, c.normal}, {High, c.high}, {Critical, c.critical}, {Low, c.critical}} {
			all = append(all, hold(t, s, fixed(c.inFlight), class.priority)...)
			if len(all) != class.up {
				t.Errorf("in_flight %d: %s filled up to %d, want %d", c.inFlight, class.priority, len(all), class.up)
			}
		}
		// A place that got free is not for a class whose share is still full.
		finish(all[0])
		got := hold(t, s, fixed(c.inFlight), Low)
		if c.critical-1 >= c.low && len(got) != 0 {
			t.Errorf("in_flight %d: low got a place above its share", c.inFlight)
		}
		finish(append(got, all[1:]...)...)
		if got := s.Snapshot(); got.InFlight != 0 {
			t.Errorf("in_flight %d: %d left", c.inFlight, got.InFlight)
		}
	}
}

func TestRefusal(t *testing.T) {
	rec := new(heard)
	s := New(rec)
	held := hold(t, s, fixed(1), Critical)
	defer func() { finish(held...) }()
	reached := false
	h := pipeline.Compose(pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange) error { reached = true; return nil }), s.Layer(fixed(1), Low))
	for _, key := range []bool{false, true} {
		m := pipeline.NewMemory("POST", "/")
		if key {
			m.WithHeader("Idempotency-Key", "k")
		}
		err := h.Serve(t.Context(), &m.Exchange)
		p := m.Problem
		if err != pipeline.Overloaded || err.(pipeline.Refusal).Status() != 503 || reached {
			t.Fatalf("%v, reached %v", err, reached)
		}
		if p.RetryAfter < 1 || p.RetryAfter > 3 || p.Executed != pipeline.ExecutedNo {
			t.Errorf("problem %+v", p)
		}
		// Another key could execute what an earlier request with this one has done already.
		if want := map[bool]pipeline.Answer{false: pipeline.Unsaid, true: pipeline.No}[key]; p.NewKey != want {
			t.Errorf("keyed %v: new key %v", key, p.NewKey)
		}
		m.Finish(pipeline.End{})
	}
	if rec.shed[Low] != 2 || rec.shed[Critical] != 1 || len(rec.bounds) != 0 {
		t.Errorf("heard %+v %v", rec.shed, rec.bounds)
	}
	if got := s.Snapshot().InFlight; got != 1 {
		t.Errorf("refused requests count: %d", got)
	}
}

func TestRetriesAreSpread(t *testing.T) {
	s := New(nil)
	held := hold(t, s, fixed(1), Critical)
	h := pipeline.Compose(ok, s.Layer(fixed(1), Low))
	seen := map[int]bool{}
	for range 200 {
		m := pipeline.NewMemory("GET", "/")
		_ = h.Serve(t.Context(), &m.Exchange)
		seen[m.Problem.RetryAfter] = true
	}
	if len(seen) != 3 {
		t.Errorf("clients come back after %v s", seen)
	}
	finish(held...)
}

// Edge case 34: a place comes back exactly once, whatever becomes of the request, and not before the last byte.
func TestPlacesComeBack(t *testing.T) {
	for _, cfg := range []Config{fixed(1), adaptive(1)} {
		for name, end := range map[string]pipeline.HandlerFunc{
			"answer":  ok,
			"error":   func(context.Context, *pipeline.Exchange) error { return fmt.Errorf("%w: x", pipeline.UpstreamFailed) },
			"refusal": func(context.Context, *pipeline.Exchange) error { return pipeline.Forbidden },
			"panic":   func(context.Context, *pipeline.Exchange) error { panic("x") },
			"stream": func(_ context.Context, x *pipeline.Exchange) error {
				x.Response.SetStream(nil, -1)
				return nil
			},
		} {
			s := New(nil)
			h := pipeline.Compose(end, s.Layer(cfg, Critical))
			for range 3 {
				m := pipeline.NewMemory("GET", "/")
				func() {
					defer func() { _ = recover() }()
					if err := h.Serve(t.Context(), &m.Exchange); errors.Is(err, pipeline.Overloaded) {
						t.Errorf("%s: the place is lost", name)
					}
				}()
				if got := s.Snapshot(); got.InFlight != 1 || got.Waiting != 0 {
					t.Errorf("%s: before the last byte %+v", name, got)
				}
				m.Finish(pipeline.End{})
				if got := s.Snapshot(); got.InFlight != 0 || got.Waiting != 0 {
					t.Errorf("%s: after the last byte %+v", name, got)
				}
			}
		}
	}
}

// Edge case 40: a reload changes the bound and loses nothing.
func TestReloadKeepsWhatIsInFlight(t *testing.T) {
	s := New(nil)
	before := hold(t, s, fixed(10), Critical)
	if got := hold(t, s, fixed(4), Critical); len(got) != 0 {
		t.Errorf("%d let in above the new bound", len(got))
	}
	more := hold(t, s, fixed(12), Critical)
	if len(before) != 10 || len(more) != 2 {
		t.Errorf("%d, then %d more", len(before), len(more))
	}
	learning := hold(t, s, adaptive(13), Critical)
	if len(learning) != 1 {
		t.Errorf("%d more with a learned bound", len(learning))
	}
	finish(append(append(before, more...), learning...)...)
	if got := s.Snapshot(); got.InFlight != 0 || got.Waiting != 0 {
		t.Errorf("left: %+v", got)
	}
}

// Answers that are still being sent do not wait for anything: they leave the learned bound to others.
func TestStreamsOnlyFillInFlight(t *testing.T) {
	s := New(nil)
	cfg := adaptive(500)
	s.Layer(cfg, Critical)
	s.mu.Lock()
	s.learner.bound = 20
	s.publish(500)
	s.mu.Unlock()
	streams := hold(t, s, cfg, Critical) // ok answers at once, the bodies go on
	if len(streams) != 500 {
		t.Errorf("%d streams", len(streams))
	}
	finish(streams...)
}

func TestNeverMoreThanTheBoundAtOnce(t *testing.T) {
	for _, cfg := range []Config{fixed(20), adaptive(20)} {
		s := New(nil)
		var inside, refused atomic.Int64
		var wg sync.WaitGroup
		end := pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange) error {
			if n := inside.Add(1); n > 20 {
				t.Errorf("%d at once", n)
			}
			time.Sleep(50 * time.Microsecond)
			inside.Add(-1)
			return nil
		})
		for _, priority := range []string{Critical, High, Normal, Low} {
			h := pipeline.Compose(end, s.Layer(cfg, priority))
			for range 16 {
				wg.Go(func() { refused.Add(serves(h, 100)) })
			}
		}
		wg.Wait()
		if got := s.Snapshot(); got.InFlight != 0 || got.Waiting != 0 || refused.Load() == 0 {
			t.Errorf("left %+v, refused %d", got, refused.Load())
		}
	}
}

// serves makes n requests one after the other and counts those that are refused.
func serves(h pipeline.Handler, n int) (refused int64) {
	for range n {
		m := pipeline.NewMemory("GET", "/")
		if h.Serve(context.Background(), &m.Exchange) != nil {
			refused++
		}
		m.Finish(pipeline.End{})
	}
	return refused
}

// One class alone, so that what is inside is what it may fill.
func TestAClassAloneNeverExceedsItsShare(t *testing.T) {
	for _, config := range []func(int) Config{fixed, adaptive} {
		for priority, most := range map[string]int64{Critical: 20, High: 18, Normal: 15, Low: 10} {
			s := New(nil)
			var inside, top atomic.Int64
			h := pipeline.Compose(pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange) error {
				n := inside.Add(1)
				for old := top.Load(); n > old && !top.CompareAndSwap(old, n); old = top.Load() {
				}
				time.Sleep(100 * time.Microsecond)
				inside.Add(-1)
				return nil
			}), s.Layer(config(20), priority))
			var wg sync.WaitGroup
			for range 64 {
				wg.Go(func() { serves(h, 30) })
			}
			wg.Wait()
			if top.Load() > most {
				t.Errorf("%s: %d at once, want at most %d", priority, top.Load(), most)
			}
		}
	}
}

// Only what the upstream was asked speaks of it; time-outs do when they took longer than usual.
func TestWhatIsSampled(t *testing.T) {
	for name, c := range map[string]struct {
		effect pipeline.Effect
		count  int
		status int
		err    error
		took   time.Duration
		want   int64
	}{
		"answer":                    {pipeline.EffectDone, 1, 200, nil, 50 * time.Millisecond, 1},
		"upstream's 500":            {pipeline.EffectDone, 1, 500, nil, 50 * time.Millisecond, 1},
		"replay or local answer":    {pipeline.EffectNone, 0, 200, nil, 50 * time.Millisecond, 0},
		"refused below":             {pipeline.EffectNone, 0, 0, pipeline.RateLimited, 50 * time.Millisecond, 0},
		"not sent":                  {pipeline.EffectNone, 1, 0, pipeline.UpstreamFailed, 50 * time.Millisecond, 0},
		"broken off":                {pipeline.EffectUnknown, 1, 0, pipeline.UpstreamFailed, 50 * time.Millisecond, 0},
		"tunnel":                    {pipeline.EffectDone, 1, 101, nil, 50 * time.Millisecond, 0},
		"time-out":                  {pipeline.EffectUnknown, 1, 0, fmt.Errorf("%w: x", pipeline.UpstreamTimeout), 50 * time.Millisecond, 1},
		"time-out below the normal": {pipeline.EffectUnknown, 1, 0, pipeline.UpstreamTimeout, 5 * time.Millisecond, 0},
		"time-out of the connect":   {pipeline.EffectNone, 1, 0, pipeline.UpstreamTimeout, 50 * time.Millisecond, 0},
		"client left":               {pipeline.EffectUnknown, 1, 0, pipeline.ClientGone, 50 * time.Millisecond, 0},
	} {
		s := New(nil)
		h := pipeline.Compose(pipeline.HandlerFunc(func(_ context.Context, x *pipeline.Exchange) error {
			x.Response.SetStatus(c.status)
			x.Effect, x.Attempt.Count, x.Attempt.Duration = c.effect, c.count, c.took
			return c.err
		}), s.Layer(adaptive(0), Normal))
		s.until.Store(math.MaxInt64) // the window stays open
		s.profile("r").baseline.Store(int64(10 * time.Millisecond))
		m := pipeline.NewMemory("GET", "/")
		m.Route = "r"
		_ = h.Serve(t.Context(), &m.Exchange)
		m.Finish(pipeline.End{})
		p := s.profile("r")
		if got := p.count.Load(); got != c.want || p.sum.Load() != c.want*int64(c.took) {
			t.Errorf("%s: %d samples of %v", name, got, time.Duration(p.sum.Load()))
		}
	}
}

func TestProfilesHaveACap(t *testing.T) {
	s := New(nil)
	for i := range maxProfiles + 100 {
		s.profile(fmt.Sprint(i))
	}
	if n := len(s.profiles); n > maxProfiles+1 {
		t.Errorf("%d profiles", n)
	}
	if s.profile("another") != s.profile("and another") {
		t.Error("routes past the cap do not share")
	}
}

func TestBoundIsHeardWhenItChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := new(heard)
		s := New(rec)
		s.Layer(adaptive(300), Normal)
		s.Layer(adaptive(300), High)
		if len(rec.bounds) != 1 || rec.bounds[0] != 300 || s.Snapshot().Bound != 300 {
			t.Errorf("heard %v", rec.bounds)
		}
		s.Layer(adaptive(100), High)
		if len(rec.bounds) != 2 || rec.bounds[1] != 100 {
			t.Errorf("after a reload: %v", rec.bounds)
		}
	})
}
