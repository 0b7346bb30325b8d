package leases

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/ratelimit"
)

// alone runs a test with one gateway, an ideal store a millisecond away and a fake clock.
func alone(t *testing.T, test func(t *testing.T, s *Store, src *link)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		src := newLink(newIdeal(), time.Millisecond)
		s := New(Config{}, src, nil, nil)
		defer func() { _ = s.Close(context.Background()) }()
		test(t, s, src)
	})
}

func TestFirstTouchWaitsThenMemoryDecides(t *testing.T) {
	alone(t, func(t *testing.T, s *Store, src *link) {
		l := fixture{rate: "1000/s", burst: 100000}.limit(t, "x")
		began := time.Now()
		c, ok := take(t, s, l, "", 1)
		if !ok || time.Since(began) != time.Millisecond || c.Level != 99999 {
			t.Fatalf("first: %v after %v, level %v", ok, time.Since(began), c.Level)
		}
		for range 100 { // the demand is known now
			take(t, s, l, "", 1)
		}
		draws, waited := src.store.draws, 0
		for range 1000 {
			began := time.Now()
			time.Sleep(time.Millisecond)
			if _, ok := take(t, s, l, "", 1); !ok {
				t.Fatal("refused below the limit")
			}
			if time.Since(began) > time.Millisecond {
				waited++
			}
		}
		if more := src.store.draws - draws; more > 100 || waited > 0 {
			t.Errorf("%d draws and %d waits for 1000 requests: leases are not drawn ahead", more, waited)
		}
	})
}

// Edge case 4: refused requests are never charged. What waits as told is admitted.
func TestRefusedFromMemoryAndAdmittedWhenTold(t *testing.T) {
	alone(t, func(t *testing.T, s *Store, src *link) {
		l := fixture{rate: "1/10s", burst: 2}.limit(t, "x")
		take(t, s, l, "", 1)
		take(t, s, l, "", 1)
		c, ok := take(t, s, l, "", 1)
		if ok || c.Wait < 9*time.Second || c.Wait > 10*time.Second+50*time.Millisecond || c.Level != 0 {
			t.Fatalf("third: %v, wait %v, level %v", ok, c.Wait, c.Level)
		}
		draws := src.store.draws
		for range 1000 {
			if _, ok := take(t, s, l, "", 1); ok {
				t.Fatal("admitted without a token")
			}
		}
		if src.store.draws != draws {
			t.Error("a flood of refused requests reaches the store")
		}
		time.Sleep(c.Wait)
		if _, ok := take(t, s, l, "", 1); !ok {
			t.Error("refused after it waited as told")
		}
	})
}

// Edge cases 2 and 3: more than a burst can't ever be; nothing is a look.
func TestCostAboveTheBurstAndCostOfNothing(t *testing.T) {
	alone(t, func(t *testing.T, s *Store, src *link) {
		l := fixture{rate: "10/s", burst: 5}.limit(t, "x")
		if c, ok := take(t, s, l, "", 6); ok || c.Wait != ratelimit.Never {
			t.Errorf("six of five: %v, wait %v", ok, c.Wait)
		}
		if c, ok := take(t, s, l, "", 0); !ok || c.Level != 5 || c.Wait != 0 {
			t.Errorf("a look: %v %+v", ok, c)
		}
		if src.store.draws != 0 {
			t.Errorf("%d draws for it", src.store.draws)
		}
		if c, ok := take(t, s, l, "", 5); !ok || c.Level != 0 {
			t.Errorf("all: %v %+v", ok, c)
		}
		c, ok := take(t, s, l, "", 5)
		if ok || c.Wait > 550*time.Millisecond || c.Wait < 450*time.Millisecond {
			t.Errorf("again: %v wait %v", ok, c.Wait)
		}
	})
}

// A request of cost 5 that finds 3 leaves them in the store: a smaller one gets them.
func TestHeavyRequestsDoNotStarveLightOnes(t *testing.T) {
	alone(t, func(t *testing.T, s *Store, src *link) {
		l := fixture{rate: "1/s", burst: 8}.limit(t, "x")
		take(t, s, l, "", 5)
		if _, ok := take(t, s, l, "", 5); ok {
			t.Fatal("ten of eight")
		}
		time.Sleep(2 * time.Millisecond)
		if got := src.store.level(l.Name()); got < 3 {
			t.Fatalf("the store has %v: what was of no use did not go back", got)
		}
		if _, ok := take(t, s, l, "", 1); !ok {
			t.Error("a small request is refused though there are three tokens")
		}
		if _, ok := take(t, s, l, "", 5); ok {
			t.Error("a big one is admitted")
		}
	})
}

// Edge case 5: several limits are charged together or not at all.
func TestAllOrNothing(t *testing.T) {
	alone(t, func(t *testing.T, s *Store, _ *link) {
		wide, narrow := fixture{rate: "1/h", burst: 10}.limit(t, "wide"), fixture{rate: "1/h", burst: 3}.limit(t, "narrow")
		for i := range 50 { // many pairs of shards
			who, allowed := fmt.Sprint(i), 0
			for range 6 {
				charges := []ratelimit.Charge{charge(wide, who, 1), charge(narrow, who, 1)}
				ok, err := s.Take(context.Background(), charges)
				if err != nil || ok != charges[1].Admitted || !charges[0].Admitted {
					t.Fatalf("%v %v %+v", ok, err, charges)
				}
				if ok {
					allowed++
				}
			}
			if c, _ := take(t, s, wide, who, 0); allowed != 3 || int(c.Level) != 7 {
				t.Fatalf("%d admitted, the wide limit has %v left", allowed, c.Level)
			}
		}
	})
}

// Edge case 41: a shadow limit refuses nothing and takes nothing it doesn't have.
func TestShadow(t *testing.T) {
	alone(t, func(t *testing.T, s *Store, src *link) {
		real := fixture{rate: "1/h", burst: 5}.limit(t, "real")
		shadow := fixture{rate: "1/h", burst: 2, shadow: true, failure: "deny"}.limit(t, "shadow")
		for i := range 7 {
			if i == 3 {
				src.breaks(refuses)
				src.breaks(works)
			}
			charges := []ratelimit.Charge{charge(shadow, "", 1), charge(real, "", 1)}
			ok, err := s.Take(context.Background(), charges)
			if err != nil || ok != (i < 5) || charges[0].Admitted != (i < 2) {
				t.Fatalf("request %d: %v %v %+v", i, ok, err, charges)
			}
		}
	})
}

func TestFloorIsLeftForOthers(t *testing.T) {
	alone(t, func(t *testing.T, s *Store, _ *link) {
		l := fixture{rate: "1/h", burst: 10}.limit(t, "x")
		allowed := 0
		for range 10 {
			charges := []ratelimit.Charge{charge(l, "", 1)}
			charges[0].Floor = 4
			if ok, _ := s.Take(context.Background(), charges); ok {
				allowed++
			}
			time.Sleep(20 * time.Millisecond)
		}
		if allowed != 6 {
			t.Errorf("%d admitted beside a floor of 4 of 10", allowed)
		}
		for range 4 {
			if _, ok := take(t, s, l, "", 1); !ok {
				t.Error("the reserved tokens are gone")
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
}

func TestIdleLeaseGoesBackAndEntriesAreFreed(t *testing.T) {
	alone(t, func(t *testing.T, s *Store, src *link) {
		l := fixture{rate: "1000/s", burst: 10000}.limit(t, "x")
		var held int64
		for n := 0; held == 0; n++ {
			if take(t, s, l, "", 1); n > 100 {
				t.Fatal("no lease")
			}
			held, _, _ = s.Usage([]byte(l.Name()), l)
		}
		time.Sleep(320 * time.Millisecond)
		if held, _, _ := s.Usage([]byte(l.Name()), l); held != 0 {
			t.Errorf("%d tokens still held", held)
		}
		time.Sleep(600 * time.Millisecond)
		if src.store.level(l.Name()) != 10000 || s.Len() != 0 {
			t.Errorf("the store has %v, %d entries are left", src.store.level(l.Name()), s.Len())
		}
	})
}

func TestCloseGivesEverythingBack(t *testing.T) {
	alone(t, func(t *testing.T, s *Store, src *link) {
		l := fixture{rate: "1/h", burst: 10000}.limit(t, "x")
		for i := range 500 {
			take(t, s, l, fmt.Sprint(i%10), 1)
		}
		if err := s.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		if src.store.granted-src.store.back != 500 {
			t.Errorf("%d drawn, %d given back, 500 admitted", src.store.granted, src.store.back)
		}
		if _, ok := take(t, s, l, "0", 1); !ok {
			t.Error("closed: a request is not decided as in an outage")
		}
	})
}

func TestCloseIsBounded(t *testing.T) {
	alone(t, func(t *testing.T, s *Store, src *link) {
		l := fixture{rate: "1/h", burst: 10000}.limit(t, "x")
		src.breaks(vanishes)
		take(t, s, l, "", 1)
		began := time.Now()
		if err := s.Close(context.Background()); !errors.Is(err, ErrDown) || time.Since(began) > time.Second {
			t.Errorf("close: %v after %v", err, time.Since(began))
		}
	})
}

func TestContextEndsTheWait(t *testing.T) {
	alone(t, func(t *testing.T, s *Store, src *link) {
		src.latency = func() time.Duration { return 8 * time.Millisecond }
		l := fixture{rate: "1/h", burst: 5}.limit(t, "x")
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		began := time.Now()
		ok, err := s.Take(ctx, []ratelimit.Charge{charge(l, "", 1)})
		if ok || !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Millisecond {
			t.Fatalf("%v %v after %v", ok, err, time.Since(began))
		}
		time.Sleep(30 * time.Millisecond) // exact mode: the token whose waiter has left goes back at once
		if got := src.store.level(l.Name()); got < 5 {
			t.Errorf("the store has %v of 5", got)
		}
	})
}

func TestSettle(t *testing.T) {
	alone(t, func(t *testing.T, s *Store, src *link) {
		l := fixture{rate: "1/h", burst: 10}.limit(t, "x")
		charges := []ratelimit.Charge{charge(l, "", 4)}
		_, _ = s.Take(context.Background(), charges)
		charges[0].Change = 3
		s.Settle(context.Background(), charges)
		time.Sleep(5 * time.Millisecond)
		if got := src.store.level(l.Name()); got < 9 || charges[0].Level < 9 {
			t.Fatalf("three of four given back: the store has %v, level %v", got, charges[0].Level)
		}
		charges[0].Change = -7
		s.Settle(context.Background(), charges)
		if c, _ := take(t, s, l, "", 0); c.Level > 2.1 {
			t.Fatalf("seven taken in addition: level %v", c.Level)
		}
		time.Sleep(time.Second) // the debt is brought without a request
		if got := src.store.level(l.Name()); got < 2 || got > 2.1 {
			t.Fatalf("the store has %v, want 2", got)
		}
		charges[0].Change = -1e9 // debt has a bottom
		s.Settle(context.Background(), charges)
		time.Sleep(time.Second)
		if got := src.store.level(l.Name()); got < -10 || got > -7.9 {
			t.Fatalf("the store has %v", got)
		}
		if _, ok := take(t, s, l, "", 1); ok {
			t.Error("admitted in debt")
		}
	})
}

func TestRefundPaysDebtFirst(t *testing.T) {
	alone(t, func(t *testing.T, s *Store, src *link) {
		l := fixture{rate: "1/h", burst: 10}.limit(t, "x")
		charges := []ratelimit.Charge{charge(l, "", 5)}
		_, _ = s.Take(context.Background(), charges)
		for _, change := range []float64{-5, 5} {
			charges[0].Change = change
			s.Settle(context.Background(), charges)
		}
		time.Sleep(time.Second)
		if got := src.store.level(l.Name()); int(got) != 5 || src.store.debts != 0 || src.store.back != 0 {
			t.Errorf("the store has %v, was brought %d, given %d", got, src.store.debts, src.store.back)
		}
	})
}

// Edge case 19: an edited limit keeps what there is.
func TestEditedLimit(t *testing.T) {
	alone(t, func(t *testing.T, s *Store, _ *link) {
		for range 5 {
			take(t, s, fixture{rate: "1/h", burst: 5}.limit(t, "x"), "", 1)
		}
		if _, ok := take(t, s, fixture{rate: "1/h", burst: 50}.limit(t, "x"), "", 1); ok {
			t.Error("a larger burst is a gift at once")
		}
	})
}

// Edge cases 28 and 29: the table is bounded; who is refused is not forgotten to make room.
func TestTableIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newLink(newIdeal(), 0)
		var rec counts
		s := New(Config{Keys: 100}, src, nil, &rec)
		defer func() { _ = s.Close(context.Background()) }()
		l := fixture{rate: "1/s", burst: 1}.limit(t, "x")
		take(t, s, l, "debtor", 1)
		for i := range 20000 {
			take(t, s, l, fmt.Sprint(i), 1)
		}
		if s.Len() > 100+overflowSlots || rec.get(EventOverflow) == 0 {
			t.Errorf("%d entries, %d overflowed", s.Len(), rec.get(EventOverflow))
		}
		if _, ok := take(t, s, l, "debtor", 1); ok {
			t.Error("the debtor was forgotten")
		}
		time.Sleep(5 * time.Second)
		if s.Len() != 0 {
			t.Errorf("%d entries are never freed", s.Len())
		}
	})
}

type counts struct {
	mu     sync.Mutex
	events map[string]int
}

func (c *counts) Lease(event string, _ int64)   { c.add(event) }
func (c *counts) Fallback(limit, policy string) { c.add(limit + " " + policy) }
func (c *counts) get(event string) int          { c.mu.Lock(); defer c.mu.Unlock(); return c.events[event] }
func (c *counts) add(event string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.events == nil {
		c.events = map[string]int{}
	}
	c.events[event]++
}
