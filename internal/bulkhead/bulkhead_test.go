package bulkhead

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func of(inFlight, queue int, wait time.Duration) Config {
	return Config{InFlight: inFlight, Queue: queue, Wait: units.Duration(wait), Adaptive: "false", Least: 20}
}

// held is an upstream that answers when it is told to.
type held struct{ let chan error }

func (h held) Serve(ctx context.Context, _ *pipeline.Exchange) error { return <-h.let }

// One more than there are places is refused at once; others are unaffected, and a place comes back with the last byte.
func TestOneTooMany(t *testing.T) {
	b, h := New(), held{make(chan error)}
	layer := Layer(of(2, 0, time.Second), b)(h)
	synctest.Test(t, func(t *testing.T) {
		h.let = make(chan error)
		layer = Layer(of(2, 0, time.Second), b)(h)
		two := [2]*pipeline.Memory{pipeline.NewMemory("GET", "/"), pipeline.NewMemory("GET", "/")}
		for _, m := range two {
			go func() { _ = layer.Serve(context.Background(), &m.Exchange) }()
		}
		synctest.Wait()
		m := pipeline.NewMemory("GET", "/")
		if err := layer.Serve(context.Background(), &m.Exchange); err != pipeline.Overloaded || m.Problem.RetryAfter != 1 || m.Problem.Executed != pipeline.ExecutedNo {
			t.Errorf("%v", err)
		}
		h.let <- nil
		h.let <- pipeline.UpstreamFailed
		synctest.Wait()
		if shot := b.Snapshot(); shot.InFlight != 1 || shot.Refused != 1 {
			t.Errorf("%+v: the answered one has a body to come, the failed one has none", shot)
		}
		two[0].Finish(pipeline.End{})
		two[1].Finish(pipeline.End{})
		if shot := b.Snapshot(); shot.InFlight != 0 {
			t.Errorf("%+v", shot)
		}
	})
}

func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, h := New(), held{make(chan error)}
		layer := Layer(of(1, 2, 100*time.Millisecond), b)(h)
		results := make(chan string, 9)
		serve := func(name string, m *pipeline.Memory) {
			go func() {
				began := time.Now()
				err := layer.Serve(context.Background(), &m.Exchange)
				m.Finish(pipeline.End{})
				results <- fmt.Sprintf("%s %v %v", name, err, time.Since(began))
			}()
			synctest.Wait()
		}
		expect := func(want string) {
			t.Helper()
			if got := <-results; got != want {
				t.Errorf("got %q, not %q", got, want)
			}
		}
		first := func(name string) { serve(name, pipeline.NewMemory("GET", "/")) }
		first("a")
		first("b")
		first("c")
		first("d") // the queue is full
		expect("d overloaded 0s")
		h.let <- nil // a ends; c, the newest, is served
		expect("a <nil> 0s")
		synctest.Wait()
		time.Sleep(50 * time.Millisecond)
		h.let <- nil
		expect("c <nil> 50ms")
		synctest.Wait()
		time.Sleep(20 * time.Millisecond)
		first("e")
		time.Sleep(100 * time.Millisecond) // e gives up: b has the place
		expect("e overloaded 100ms")
		h.let <- nil
		expect("b <nil> 170ms")

		first("f")
		left := pipeline.NewMemory("GET", "/")
		left.Leave()
		serve("g", left)
		time.Sleep(look)
		expect("g client-gone 50ms")
		short := pipeline.NewMemory("GET", "/")
		short.Deadline = time.Now().Add(10 * time.Millisecond)
		serve("h", short)
		time.Sleep(10 * time.Millisecond)
		expect("h overloaded 10ms")
		h.let <- nil
		<-results
		if shot := b.Snapshot(); shot.InFlight != 0 || shot.Waiting != 0 {
			t.Errorf("%+v", shot)
		}
	})
}

// A panic below gives its place back.
func TestPanic(t *testing.T) {
	b := New()
	layer := Layer(of(1, 0, 0), b)(pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange) error { panic("x") }))
	func() {
		defer func() { _ = recover() }()
		_ = layer.Serve(context.Background(), &pipeline.NewMemory("GET", "/").Exchange)
	}()
	if b.Snapshot().InFlight != 0 {
		t.Error("the place is lost")
	}
}

// Whatever order calls come, wait, end and give up in: never more than set, and no place is lost.
func TestPlacesAreNeitherLostNorMade(t *testing.T) {
	b := New()
	var mu sync.Mutex
	now, most := 0, 0
	next := pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange) error {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
		mu.Lock()
		now--
		mu.Unlock()
		if rand.IntN(3) == 0 {
			return pipeline.UpstreamFailed
		}
		return nil
	})
	layer := Layer(of(5, 20, 300*time.Microsecond), b)(next)
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			for range 200 {
				m := pipeline.NewMemory("GET", "/")
				_ = layer.Serve(context.Background(), &m.Exchange)
				m.Finish(pipeline.End{})
			}
		})
	}
	wg.Wait()
	if shot := b.Snapshot(); shot.InFlight != 0 || shot.Waiting != 0 || most > 5 || most < 5 {
		t.Errorf("%+v, at most %d at once", shot, most)
	}
}

// farm is an upstream with so many servers: calls beyond them wait in line there.
func farm(b *Bulkhead, layer func(servers chan struct{}) pipeline.Handler, servers, clients int, d time.Duration) (good, refused int) {
	places := make(chan struct{}, servers)
	h := layer(places)
	end := time.Now().Add(d)
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range clients {
		wg.Go(func() {
			for time.Now().Before(end) {
				m := pipeline.NewMemory("GET", "/")
				err := h.Serve(context.Background(), &m.Exchange)
				m.Finish(pipeline.End{})
				mu.Lock()
				if err == nil {
					good++
				} else {
					refused++
				}
				mu.Unlock()
				if err != nil {
					time.Sleep(20 * time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	return good, refused
}

// Fault injection 16: an upstream that bears 100 calls at once is offered 400; the bound settles near 100, latency stays
// bounded and nearly all servers work.
func TestAdaptive(t *testing.T) {
	for _, mode := range []string{"true", "shadow"} {
		synctest.Test(t, func(t *testing.T) {
			b := New()
			var worst time.Duration
			var mu sync.Mutex
			cfg := Config{InFlight: 1000, Adaptive: mode, Least: 20}
			settled := time.Now().Add(10 * time.Second)
			layer := func(places chan struct{}) pipeline.Handler {
				return Layer(cfg, b)(pipeline.HandlerFunc(func(_ context.Context, x *pipeline.Exchange) error {
					began := time.Now()
					places <- struct{}{}
					time.Sleep(20*time.Millisecond + time.Duration(rand.IntN(4000))*time.Microsecond)
					<-places
					x.Attempt.At = time.Now()
					if mu.Lock(); began.After(settled) {
						worst = max(worst, time.Since(began))
					}
					mu.Unlock()
					return nil
				}))
			}
			good, refused := farm(b, layer, 100, 400, 20*time.Second)
			learned := b.Snapshot().Learned
			t.Logf("%s: bound %d, %d good, %d refused, worst %v", mode, learned, good, refused, worst)
			if full := 100 * 20 * 1000 / 22; good < full*85/100 {
				t.Errorf("%d good of %d", good, full)
			}
			if mode == "shadow" {
				if refused > 0 {
					t.Error("shadow refused")
				}
				return
			}
			if learned < 60 || learned > 150 || refused == 0 || worst > 100*time.Millisecond {
				t.Errorf("bound %d, %d refused, worst %v", learned, refused, worst)
			}
		})
	}
}

func TestAllocFree(t *testing.T) {
	next := pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange) error { return nil })
	layer := Layer(of(10, 0, 0), New())(next)
	m := pipeline.NewMemory("GET", "/")
	if n := testing.AllocsPerRun(100, func() {
		_ = layer.Serve(context.Background(), &m.Exchange)
		m.Finish(pipeline.End{})
	}); n > 0 {
		t.Errorf("%v allocations a call", n)
	}
}
