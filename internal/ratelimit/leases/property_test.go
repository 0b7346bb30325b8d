package leases

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/ratelimit"
)

// story is a random course of events at two gateways.
type story struct {
	*fleetUnderTest
	rng      *rand.Rand
	limits   []*ratelimit.Limit
	mu       sync.Mutex
	admitted int64 // tokens of requests that the store's tokens paid for, net
}

const storyRequests = 4 // at once, of at most storyCost each
const storyCost = 3

// request takes, and gives some back later.
func (s *story) request(gateway *Store, costs [2]int, who string, change float64, patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	charges := []ratelimit.Charge{charge(s.limits[0], who, costs[0]), charge(s.limits[1], who, costs[1])}
	ok, err := gateway.Take(ctx, charges)
	if !ok || err != nil {
		return
	}
	for i := range charges {
		if charges[i].Seat&seatLocal == 0 {
			s.pays(int64(charges[i].Cost))
		}
		if change <= charges[i].Cost {
			charges[i].Change = change
		}
	}
	time.Sleep(time.Duration(change) * 30 * time.Millisecond)
	gateway.Settle(context.Background(), charges)
	for i := range charges {
		if charges[i].Seat&seatLocal == 0 {
			s.pays(-int64(charges[i].Change))
		}
	}
}

func (s *story) pays(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.admitted += n
}

// check sees that no key holds and draws more than a lease, or than its requests wanted.
func (s *story) check(t *testing.T) {
	for _, g := range s.gateways {
		for i := range g.shards {
			sh := &g.shards[i]
			sh.Lock()
			for _, e := range sh.entries {
				most := max(int64(fraction*e.limit.Burst()/float64(len(s.gateways))), storyRequests*storyCost)
				all := e.held
				if e.flight != nil {
					all += e.flight.want
				}
				if e.held < 0 || e.pending < 0 || all > most {
					t.Errorf("held and in flight %d of %d, pending %d", all, most, e.pending)
				}
			}
			sh.Unlock()
		}
	}
}

// tell plays a story, and sees that every token that was drawn was used, went back or is known to be lost.
func tell(t *testing.T, seed uint64) {
	fleetOf(t, 2, func(t *testing.T, f *fleetUnderTest) {
		s := &story{fleetUnderTest: f, rng: rand.New(rand.NewPCG(seed, 1))}
		s.limits = []*ratelimit.Limit{
			fixture{rate: "200/s", burst: 1 + s.rng.IntN(2000)}.limit(t, "a"),
			fixture{rate: "20/s", burst: 4 + s.rng.IntN(10)}.limit(t, "b"),
		}
		var wg sync.WaitGroup
		for range 150 {
			for range s.rng.IntN(storyRequests + 1) {
				g := f.gateways[s.rng.IntN(2)]
				costs := [2]int{s.rng.IntN(storyCost + 1), s.rng.IntN(storyCost + 1)}
				who := fmt.Sprint(s.rng.IntN(2))
				change, patience := float64(s.rng.IntN(3)), time.Duration(s.rng.IntN(10_000_000)+1)
				wg.Go(func() { s.request(g, costs, who, change, patience) })
			}
			if s.rng.IntN(10) == 0 {
				f.links[s.rng.IntN(2)].breaks([]fault{works, works, refuses, stalls, swallows, lags, dawdles}[s.rng.IntN(7)])
			}
			time.Sleep(time.Duration(s.rng.ExpFloat64() * float64([]time.Duration{100 * time.Microsecond, 5 * time.Millisecond, 100 * time.Millisecond}[s.rng.IntN(3)])))
			s.check(t)
		}
		f.breaks(works)
		wg.Wait()
		time.Sleep(5 * time.Second) // late answers, and leases that go back
		for _, g := range f.gateways {
			if err := g.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}
		lost := f.links[0].lost + f.links[1].lost
		if drawn := f.store.granted; drawn != s.admitted+f.store.back+lost {
			t.Errorf("seed %d: %d drawn, %d admitted, %d given back, %d lost", seed, drawn, s.admitted, f.store.back, lost)
		}
	})
}

func TestTokensAreConserved(t *testing.T) {
	stories := uint64(300)
	if testing.Short() || raceEnabled {
		stories = 50
	}
	for seed := range stories {
		tell(t, seed)
		if t.Failed() {
			return
		}
	}
}

func FuzzTokensAreConserved(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { tell(t, seed) })
}
