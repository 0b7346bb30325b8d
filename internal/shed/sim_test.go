package shed

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// farm is an upstream with so many servers and one queue in front of them (M/M/c). A request that its client gave up is
// worked on all the same.
type farm struct {
	mu      sync.Mutex
	rnd     *rand.Rand
	mean    time.Duration
	free    []time.Time // of each server
	timeout time.Duration
}

func newFarm(servers int, mean time.Duration) *farm {
	return &farm{rnd: rand.New(rand.NewPCG(1, 2)), mean: mean, free: make([]time.Time, servers), timeout: time.Minute}
}

// set changes the upstream while it is in use.
func (f *farm) set(change func(*farm)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *farm) arrive() (took, timeout time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	first := 0
	for i, at := range f.free {
		if at.Before(f.free[first]) {
			first = i
		}
	}
	now := time.Now()
	start := now
	if f.free[first].After(now) {
		start = f.free[first]
	}
	f.free[first] = start.Add(time.Duration(f.rnd.ExpFloat64() * float64(f.mean)))
	return f.free[first].Sub(now), f.timeout
}

// Serve does what the upstream's end does to an exchange.
func (f *farm) Serve(_ context.Context, x *pipeline.Exchange) error {
	took, timeout := f.arrive()
	x.Attempt.Count++
	if took > timeout {
		time.Sleep(timeout)
		x.Attempt.Duration, x.Effect = timeout, pipeline.EffectUnknown
		return pipeline.UpstreamTimeout
	}
	time.Sleep(took)
	x.Attempt.Duration, x.Attempt.At, x.Effect = took, time.Now(), pipeline.EffectDone
	return nil
}

// blank is a message of which nothing matters.
type (
	blankRequest  struct{ pipeline.Request }
	blankResponse struct{ pipeline.Response }
)

func (blankRequest) Header(string) []byte { return nil }
func (blankResponse) Status() int         { return 200 }

// tally counts what became of the requests of a load.
type tally struct {
	mu                  sync.Mutex
	offered, good, shed int
}

func (t *tally) take() (offered, good, shed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	offered, good, shed = t.offered, t.good, t.shed
	t.offered, t.good, t.shed = 0, 0, 0
	return offered, good, shed
}

// world is one simulated process with its clients.
type world struct {
	t  *testing.T
	s  *Shedder
	wg sync.WaitGroup
}

func simulate(t *testing.T, f func(w *world)) {
	t.Helper()
	if testing.Short() || raceEnabled {
		t.Skip("minutes of simulated load")
	}
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, s: New(nil)}
		f(w)
		w.wg.Wait()
		if got := w.s.Snapshot(); got.InFlight != 0 || got.Waiting != 0 {
			t.Errorf("places are lost: %+v", got)
		}
	})
}

// load is a stream of requests, as many a second, whatever becomes of them (an open loop), until stopped.
type load struct {
	tally
	stop func()
}

func (w *world) load(route, priority string, cfg Config, perSecond float64, end pipeline.Handler) *load {
	layer := w.s.Layer(cfg, priority)
	h := pipeline.Compose(end, layer)
	l := &load{}
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	rnd := rand.New(rand.NewPCG(3, uint64(perSecond)))
	w.wg.Go(func() {
		for next := time.Now(); ctx.Err() == nil; {
			next = next.Add(time.Duration(rnd.ExpFloat64() / perSecond * float64(time.Second)))
			time.Sleep(time.Until(next))
			w.wg.Go(func() { l.request(route, h) })
		}
	})
	return l
}

func (l *load) request(route string, h pipeline.Handler) {
	var x pipeline.Exchange
	x.Begin(blankRequest{}, blankResponse{}, nil)
	x.Start, x.Route = time.Now(), route
	err := h.Serve(context.Background(), &x)
	x.Finish(pipeline.End{})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.offered++
	switch {
	case err == nil:
		l.good++
	case err == pipeline.Overloaded:
		l.shed++
	}
}

// bounds watches the learned bound for a while.
func (w *world) bounds(d time.Duration) (low, mean, high float64) {
	low = math.Inf(1)
	n := 0.0
	for end := time.Now().Add(d); time.Now().Before(end); n++ {
		time.Sleep(20 * time.Millisecond)
		w.s.mu.Lock()
		b := w.s.learner.bound
		w.s.mu.Unlock()
		low, high, mean = min(low, b), max(high, b), mean+b
	}
	return low, mean / n, high
}

func adaptive(ceiling int) Config {
	return Config{InFlight: ceiling, Adaptive: true, High: 0.9, Normal: 0.75, Low: 0.5}
}
