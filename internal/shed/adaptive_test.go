package shed

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

const (
	servers  = 32
	service  = 20 * time.Millisecond
	capacity = servers * 1000 / 20 // a second
)

// near the capacity: requests that are let in keep the servers busy, and few of them queue. That is so after the time to settle.
// A baseline that was learned in a queue may outlive one probe, by chance, but not the next one.
func (w *world) near(name string, l *load, settle time.Duration, servers float64) {
	w.t.Helper()
	time.Sleep(settle)
	if first := w.measure(l, servers); first != "" {
		time.Sleep(restProbe)
		if second := w.measure(l, servers); second != "" {
			w.t.Errorf("%s: %s; and a probe later %s", name, first, second)
		}
	}
}

// measure tells what is wrong in 5 s.
func (w *world) measure(l *load, servers float64) (wrong string) {
	l.take()
	low, mean, high := w.bounds(5 * time.Second)
	_, good, _ := l.take()
	full := servers / service.Seconds() * 5
	found := fmt.Sprintf("the bound is %.0f to %.0f, mean %.0f, and lets %.0f %% of %v servers work", low, high, mean, 100*float64(good)/full, servers)
	w.t.Log(found)
	if mean < 0.75*servers || mean > 2.25*servers || float64(good) < 0.8*full {
		return found
	}
	return ""
}

func TestTheBoundConvergesFromAbove(t *testing.T) {
	for ceiling, settle := range map[int]time.Duration{200: 8, 1000: 12, 0: 25} {
		for _, warm := range []bool{true, false} {
			simulate(t, func(w *world) {
				f := newFarm(servers, service)
				if warm { // it has seen the upstream at rest
					l := w.load("a", Critical, adaptive(ceiling), capacity/2, f)
					time.Sleep(5 * time.Second)
					l.stop()
				}
				l := w.load("a", Critical, adaptive(ceiling), 3*capacity, f)
				w.near(map[bool]string{true: "warm", false: "cold"}[warm], l, settle*time.Second, servers)
				l.stop()
			})
		}
	}
}

func TestTheBoundConvergesFromBelow(t *testing.T) {
	simulate(t, func(w *world) {
		w.s.Layer(adaptive(1000), Critical)
		w.s.learner.bound = floor
		l := w.load("a", Critical, adaptive(1000), 3*capacity, newFarm(servers, service))
		w.near("from the floor", l, 15*time.Second, servers)
		l.stop()
	})
}

func TestTheBoundFollowsTheCapacity(t *testing.T) {
	simulate(t, func(w *world) {
		f := newFarm(4*servers, service)
		l := w.load("a", Critical, adaptive(1000), 6*capacity, f)
		w.near("at first", l, 15*time.Second, 4*servers)
		f.set(func(f *farm) { f.free = f.free[:servers] })
		w.near("servers lost", l, 20*time.Second, servers)
		f.set(func(f *farm) { f.free = append(f.free, make([]time.Time, 3*servers)...) })
		w.near("servers are back", l, 30*time.Second, 4*servers)
		l.stop()
	})
}

// A baseline that was learned in a queue is found out by probes, which lower the bound for a moment: without them latencies
// of the queue would be the normal ones, and the bound would rise with them without end.
func TestTheBaselineDoesNotDrift(t *testing.T) {
	simulate(t, func(w *world) {
		l := w.load("a", Critical, adaptive(1000), 2*capacity, newFarm(servers, service))
		time.Sleep(10 * time.Second)
		var off []float64
		for range 9 {
			if _, mean, _ := w.bounds(10 * time.Second); mean > 2.5*servers || mean < 0.7*servers {
				off = append(off, mean)
			}
		}
		if len(off) > 1 { // one probe may be misled, by chance; what drifts comes again, and higher
			t.Errorf("after a while the bound is %.0f", off)
		}
		if base := time.Duration(w.s.profile("a").baseline.Load()); base < service*6/10 || base > service*3/2 {
			t.Errorf("the baseline is %v", base)
		}
		l.stop()
	})
}

// An upstream that became slower for good is not an overload: the bound gets back what it lost.
func TestASlowerUpstreamIsTheNewNormal(t *testing.T) {
	simulate(t, func(w *world) {
		f := newFarm(10*servers, service)
		l := w.load("a", Critical, adaptive(400), 2*capacity, f) // 64 of 320 servers
		time.Sleep(10 * time.Second)
		f.set(func(f *farm) { f.mean = 4 * service }) // 256 of them
		time.Sleep(20 * time.Second)
		l.take()
		time.Sleep(10 * time.Second)
		if offered, _, shed := l.take(); shed > offered/50 {
			t.Errorf("%d of %d are shed, with a fifth of the servers idle", shed, offered)
		}
		l.stop()
	})
}

// For 300 ms everything takes ten times as long: five times the capacity.
func TestASpikeIsForgotten(t *testing.T) {
	simulate(t, func(w *world) {
		f := newFarm(4*servers, service)
		calm := w.load("a", Normal, adaptive(1000), 2*capacity, f)
		time.Sleep(10 * time.Second)
		for i := range 3 {
			f.set(func(f *farm) { f.mean = 10 * service })
			time.Sleep(300 * time.Millisecond)
			f.set(func(f *farm) { f.mean = service })
			if low, _, _ := w.bounds(5 * time.Second); i == 0 && low < 4*servers {
				t.Errorf("a spike brought the bound down to %.0f", low)
			}
			calm.take()
			time.Sleep(3 * time.Second)
			if offered, _, shed := calm.take(); shed > offered/50 {
				t.Errorf("5 s after spike %d %d of %d are shed", i+1, shed, offered)
			}
		}
		calm.stop()
	})
}

func TestSlowRoutesAreNoOverload(t *testing.T) {
	simulate(t, func(w *world) {
		fast := w.load("fast", Normal, adaptive(1000), 1000, newFarm(1000, service))
		time.Sleep(5 * time.Second)
		slow := w.load("slow", Normal, adaptive(1000), 200, newFarm(1000, 100*service)) // 400 of them wait at a time
		time.Sleep(20 * time.Second)
		if _, _, shed := fast.take(); shed > 0 {
			t.Errorf("%d shed because of a slow route", shed)
		}
		if _, _, shed := slow.take(); shed > 0 {
			t.Errorf("%d slow ones shed", shed)
		}
		fast.stop()
		slow.stop()
	})
}

// One upstream of several that is sick is for its breaker; the others must not pay for it.
func TestASickUpstreamDoesNotCloseTheDoor(t *testing.T) {
	simulate(t, func(w *world) {
		sick := newFarm(1000, service)
		other := w.load("a", Normal, adaptive(1000), 1000, newFarm(1000, service))
		ill := w.load("b", Normal, adaptive(1000), 300, sick)
		time.Sleep(5 * time.Second)
		sick.set(func(f *farm) { f.mean = 50 * service })
		time.Sleep(20 * time.Second)
		if offered, _, shed := other.take(); shed > 0 {
			t.Errorf("%d of %d shed because of another upstream", shed, offered)
		}
		other.stop()
		ill.stop()
	})
}

// An upstream that answers nobody does not lock the door for good.
func TestItRecoversWhenTheUpstreamDoes(t *testing.T) {
	simulate(t, func(w *world) {
		f := newFarm(servers, service)
		f.timeout = 500 * time.Millisecond
		l := w.load("a", Normal, adaptive(0), capacity/2, f)
		time.Sleep(5 * time.Second)
		f.set(func(f *farm) { f.mean = time.Hour })
		time.Sleep(20 * time.Second)
		f.set(func(f *farm) { f.mean = service; clear(f.free) }) // a restart
		time.Sleep(10 * time.Second)
		l.take()
		time.Sleep(5 * time.Second)
		if offered, good, _ := l.take(); good < offered*98/100 {
			t.Errorf("%d of %d are answered after the recovery", good, offered)
		}
		l.stop()
	})
}

func TestLowIsShedBeforeHigh(t *testing.T) {
	for _, cfg := range []Config{fixed(64), adaptive(200)} {
		simulate(t, func(w *world) {
			f := newFarm(servers, service)
			classes := []string{Critical, High, Normal, Low}
			loads := make([]*load, len(classes))
			for i, priority := range classes { // 1.6 times the capacity, critical and high 0.8 of it
				loads[i] = w.load(priority, priority, cfg, capacity*0.4, f)
			}
			time.Sleep(15 * time.Second)
			for _, l := range loads {
				l.take()
			}
			time.Sleep(10 * time.Second)
			var shares [4]float64
			for i, l := range loads {
				offered, _, shed := l.take()
				shares[i] = float64(shed) / float64(offered)
				l.stop()
			}
			t.Logf("adaptive %v: shed %.3f", cfg.Adaptive, shares)
			if shares[0] > 0.01 || shares[1] > 0.15 || shares[3] < 0.7 || shares[0] > shares[1] || shares[1] > shares[2] || shares[2] > shares[3] {
				t.Errorf("adaptive %v: shed %.3f of critical, high, normal, low", cfg.Adaptive, shares)
			}
		})
	}
}

// Clients give up after 200 ms, the upstream works on all the same. At three times the capacity the queue makes all of its
// work worthless; with a learned bound nearly all of it is useful.
func TestGoodputUnderOverload(t *testing.T) {
	goodput := func(cfg Config) (good int) {
		simulate(t, func(w *world) {
			f := newFarm(servers, service)
			f.timeout = 200 * time.Millisecond
			calm := w.load("a", Normal, cfg, capacity/2, f)
			time.Sleep(5 * time.Second)
			calm.stop()
			l := w.load("a", Normal, cfg, 3*capacity, f)
			time.Sleep(40 * time.Second)
			_, good, _ = l.take()
			l.stop()
		})
		return good
	}
	without, with := goodput(fixed(0)), goodput(adaptive(1000))
	t.Logf("goodput in 40 s of overload: %d without, %d with, of %d possible", without, with, capacity*40)
	if with < 2*without || with < capacity*40/2 {
		t.Errorf("goodput %d without, %d with a learned bound", without, with)
	}
}

// A probe ends by itself when nothing is answered.
func TestAProbeEndsWithoutAnswers(t *testing.T) {
	simulate(t, func(w *world) {
		l := w.load("a", Critical, adaptive(200), 3*capacity, newFarm(servers, service))
		for !w.s.Snapshot().Probing {
			time.Sleep(10 * time.Millisecond)
		}
		l.stop()
		hang := pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange) error { time.Sleep(time.Minute); return nil })
		hung := w.load("a", Critical, adaptive(200), 100, hang)
		time.Sleep(30 * time.Second)
		if w.s.Snapshot().Probing {
			t.Error("the probe never ends")
		}
		hung.stop()
	})
}

func TestWindowsAreClosedByOne(t *testing.T) {
	s := New(nil)
	h := pipeline.Compose(answered, s.Layer(adaptive(100), Normal))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 2000 {
				var x pipeline.Exchange
				x.Begin(blankRequest{}, blankResponse{}, nil)
				x.Start, x.Route = time.Now().Add(time.Duration(i)*time.Millisecond), "a"
				_ = h.Serve(context.Background(), &x)
				x.Finish(pipeline.End{})
			}
		})
	}
	wg.Wait()
	if got := s.Snapshot(); got.InFlight != 0 || got.Waiting != 0 || got.Bound != 100 {
		t.Errorf("%+v", got)
	}
}
