package leases

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/ratelimit"
)

// traffic is Poisson arrivals at a fleet that shares one limit.
type traffic struct {
	gateways int
	load     func(at time.Duration) float64 // offered, in multiples of the rate
	skewed   bool                           // 60 % of it at the first gateway
	span     time.Duration
	trip     time.Duration
	cost     int           // of a request, by default 1
	clocks   time.Duration // the gateways' clocks are off the store's by so much
}

// outcome is what became of it.
type outcome struct {
	offered, admitted, ideal int
	refusedWrongly           int     // of those that the ideal bucket admitted
	excess                   float64 // tokens above a burst at the worst moment
	calls                    float64 // to the store, per request
	store                    *ideal
	slowest                  time.Duration
	alone                    int // decisions without the store, though it is well
}

func (o outcome) ratio() float64 { return float64(o.admitted) / float64(o.ideal) }

func (o outcome) String() string {
	return fmt.Sprintf("offered %d, admitted %d, ideal %d, ratio %.4f, excess %.1f, calls %.3f, slowest %v",
		o.offered, o.admitted, o.ideal, o.ratio(), o.excess, o.calls, o.slowest)
}

// meter is a bucket without a bottom: how far below nothing it goes is what was admitted beyond the limit.
type meter struct {
	level, burst, rate, worst float64
	last                      time.Time
}

func (m *meter) add(cost float64) {
	now := time.Now()
	m.level = min(m.burst, m.level+now.Sub(m.last).Seconds()*m.rate) - cost
	m.last = now
	m.worst = max(m.worst, -m.level)
}

// ask is the ideal bucket.
func (m *meter) ask(cost float64) bool {
	now := time.Now()
	m.level, m.last = min(m.burst, m.level+now.Sub(m.last).Seconds()*m.rate), now
	if m.level < cost {
		return false
	}
	m.level -= cost
	return true
}

func newMeter(l *ratelimit.Limit) *meter {
	return &meter{level: l.Burst(), burst: l.Burst(), rate: l.Rate(), last: time.Now()}
}

func constant(x float64) func(time.Duration) float64 {
	return func(time.Duration) float64 { return x }
}

// run plays the traffic in a bubble of its own.
func (tr traffic) run(t *testing.T, l *ratelimit.Limit) (o outcome) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o.store = newIdeal()
		o.store.skew = tr.clocks
		rng := rand.New(rand.NewPCG(7, 11))
		var mu sync.Mutex
		var rec counts
		cost := max(1, tr.cost)
		jitter := func() time.Duration { return time.Duration(float64(tr.trip) * (0.7 + 0.6*rand.Float64())) }
		fleet := make([]*Store, tr.gateways)
		for i := range fleet {
			src := newLink(o.store, 0)
			src.gateways, src.latency = tr.gateways, jitter
			fleet[i] = New(Config{}, src, nil, &rec)
		}
		due, seen := newMeter(l), newMeter(l)
		var wg sync.WaitGroup
		begin := time.Now()
		for {
			at := time.Since(begin)
			if at > tr.span {
				break
			}
			load := tr.load(at)
			if load == 0 {
				time.Sleep(time.Millisecond)
				continue
			}
			time.Sleep(time.Duration(rng.ExpFloat64() / (load * l.Rate() / float64(cost)) * 1e9))
			o.offered++
			who := rng.IntN(tr.gateways)
			if tr.skewed {
				if who = 0; rng.Float64() > 0.6 {
					who = 1 + rng.IntN(tr.gateways-1)
				}
			}
			just := due.ask(float64(cost))
			if just {
				o.ideal++
			}
			wg.Go(func() {
				arrived := time.Now()
				ok, err := fleet[who].Take(context.Background(), []ratelimit.Charge{charge(l, "", cost)})
				mu.Lock()
				defer mu.Unlock()
				o.slowest = max(o.slowest, time.Since(arrived))
				switch {
				case err != nil:
					t.Error(err)
				case ok:
					o.admitted++
					seen.add(float64(cost))
				case just:
					o.refusedWrongly++
				}
			})
		}
		wg.Wait()
		o.excess = seen.worst
		o.alone = rec.get(l.Name() + " local")
		o.calls = o.store.perRequest(o.offered)
		for _, s := range fleet {
			if err := s.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
	return o
}

func within(t *testing.T, what string, got, low, high float64) {
	t.Helper()
	if !(got >= low && got <= high) {
		t.Errorf("%s is %.4f, want %.4f to %.4f", what, got, low, high)
	}
}

// The measure A1 and A2: what a fleet admits against one ideal bucket, and what of it was too early.
func TestFleetAdmitsWhatOneBucketWould(t *testing.T) {
	limits := []fixture{{rate: "10/s"}, {rate: "100/s"}, {rate: "1000/s"}, {rate: "10000/s"}}
	for _, f := range limits {
		for _, n := range []int{1, 2, 8, 16} {
			for _, load := range []float64{0.5, 0.9, 1, 2, 4, 10} {
				for _, skewed := range []bool{false, true} {
					if skewed && n == 1 || (testing.Short() || raceEnabled) && (n != 8 || load != 0.9 && load != 4 || f.rate == "10000/s") {
						continue
					}
					l := f.limit(t, "x")
					span := min(60*time.Second, max(2*time.Second, time.Duration(30000/l.Rate()/load*1e9)))
					t.Run(fmt.Sprintf("%s n=%d %gx skewed=%v", f.rate, n, load, skewed), func(t *testing.T) {
						o := traffic{gateways: n, load: constant(load), skewed: skewed, span: span, trip: time.Millisecond}.run(t, l)
						t.Log(o)
						within(t, "decisions without the store", float64(o.alone), 0, 0.0005*float64(o.offered)) // waited in vain for 20 ms
						within(t, "A1 ratio", o.ratio(), 0.99, 1.01)
						within(t, "A2 excess", o.excess, 0, max(1, 0.01*l.Burst()))
						if load <= 0.9 {
							within(t, "A3 false refusals", float64(o.refusedWrongly), 0, max(3, 0.001*float64(o.offered))) // a millisecond late, another one was faster
						}
						if f.rate == "1000/s" && n == 8 {
							most := 0.4
							if load >= 2 {
								most = 0.2
							}
							within(t, "A9 calls per request", o.calls, 0, most)
						}
					})
				}
			}
		}
	}
}
