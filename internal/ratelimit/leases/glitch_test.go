package leases

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/ratelimit"
)

// A key that has just spent its burst is not given another one because the store is slow for a moment; nor is one that has most
// of it refused.
func TestAGlitchIsNoGift(t *testing.T) {
	for _, how := range []fault{refuses, stalls, lags} {
		fleetOf(t, 2, func(t *testing.T, f *fleetUnderTest) {
			l := fixture{rate: "10/s", burst: 40}.limit(t, "x")
			within(t, "a burst", float64(f.flood(t, l, 400*time.Millisecond, time.Millisecond)), 42, 44)
			f.breaks(how)
			within(t, "admitted in a glitch", float64(f.flood(t, l, 100*time.Millisecond, time.Millisecond)), 0, 3) // due is 1
			f.breaks(works)
			time.Sleep(3*time.Second + 400*time.Millisecond) // some 30 are back
			f.flood(t, l, 10*time.Millisecond, time.Millisecond)
			f.breaks(how)
			within(t, "with half of it there", float64(f.flood(t, l, 100*time.Millisecond, time.Millisecond)), 15, 31)
			f.breaks(works)
			time.Sleep(time.Second)
		})
	}
}

// Glitch after glitch: the sum stays within the limit, since each begins with what the store had.
func TestManyGlitches(t *testing.T) {
	fleetOf(t, 4, func(t *testing.T, f *fleetUnderTest) {
		l := fixture{rate: "100/s"}.limit(t, "x")
		admitted, began := 0, time.Now()
		for range 50 {
			f.breaks(works)
			admitted += f.flood(t, l, 300*time.Millisecond, time.Millisecond)
			f.breaks(stalls)
			admitted += f.flood(t, l, 50*time.Millisecond, time.Millisecond)
		}
		due := 100 + 100*time.Since(began).Seconds()
		within(t, "admitted", float64(admitted), 0.9*due, 1.003*due)
	})
}

// A quota that is used up stays so while the store is slow.
func TestAGlitchIsNoGiftOfAQuota(t *testing.T) {
	fleetOf(t, 2, func(t *testing.T, f *fleetUnderTest) {
		l := window(t, "q", ratelimit.Quota{Count: 100, N: 5, Unit: "m"}, "")
		f.flood(t, l, time.Second, time.Millisecond)
		time.Sleep(2 * time.Second)
		f.breaks(refuses)
		if got := f.flood(t, l, time.Second, time.Millisecond); got != 0 {
			t.Errorf("%d above a quota", got)
		}
	})
}

// While it is not sure how many gateways there are an outage gives no key a burst: eight that were started at once would each
// take themselves for the only one.
func TestOutageBeforeTheFleetWasCounted(t *testing.T) {
	fleetOf(t, 8, func(t *testing.T, f *fleetUnderTest) {
		for i, src := range f.links {
			src.gateways, src.uncounted = 1, true
			f.gateways[i].count(0)
		}
		l := fixture{rate: "10/s", burst: 100}.limit(t, "x")
		for _, g := range f.gateways {
			take(t, g, l, "another", 1) // the store was met
		}
		f.breaks(refuses)
		within(t, "admitted at once", float64(f.flood(t, l, 50*time.Millisecond, time.Millisecond)), 8, 8)
		for _, src := range f.links {
			src.mu.Lock()
			src.gateways, src.uncounted = 8, false
			src.mu.Unlock()
		}
		time.Sleep(100 * time.Millisecond) // the sweep reads it
		l = fixture{rate: "10/s", burst: 100}.limit(t, "later")
		within(t, "once it is known", float64(f.flood(t, l, 200*time.Millisecond, time.Millisecond)), 90, 100)
	})
}

// Whoever waits in vain though the store is well was outrun: that is no failure of the store.
func TestOutrunIsNoFailure(t *testing.T) {
	l := fixture{rate: "10000/s", failure: "deny"}.limit(t, "x")
	o := traffic{gateways: 16, load: constant(10), skewed: true, span: 2 * time.Second, trip: time.Millisecond}.run(t, l) // an error fails it
	within(t, "A1 ratio", o.ratio(), 0.99, 1.01)
}

// A slow answer is no outage for a limit that denies in one: it waits as long as any request may.
func TestDenyIsPatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newLink(newIdeal(), time.Millisecond)
		s := New(Config{}, src, nil, nil)
		defer func() { _ = s.Close(context.Background()) }()
		deny := fixture{rate: "1/h", burst: 1000, failure: "deny"}.limit(t, "deny")
		for range 50 { // patience is 5 ms now
			take(t, s, deny, "", 1)
			time.Sleep(300 * time.Millisecond)
		}
		src.mu.Lock()
		src.latency = func() time.Duration { return 15 * time.Millisecond }
		src.mu.Unlock()
		if _, ok := take(t, s, deny, "", 1); !ok {
			t.Error("refused")
		}
	})
}

// While others are answered the store is not down: a request waits a little longer for its own tokens.
func TestSlowIsNotDownWhileOthersAreAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newLink(newIdeal(), time.Millisecond)
		var rec counts
		s := New(Config{}, src, nil, &rec)
		defer func() { _ = s.Close(context.Background()) }()
		slow, fast := fixture{rate: "1/h", burst: 5}.limit(t, "slow"), fixture{rate: "1/h", burst: 5}.limit(t, "fast")
		for i := range 50 {
			take(t, s, fast, string(rune('a'+i)), 1)
		}
		src.mu.Lock()
		src.latency = func() time.Duration { return 12 * time.Millisecond }
		src.mu.Unlock()
		go func() {
			time.Sleep(time.Millisecond)
			src.mu.Lock()
			src.latency = func() time.Duration { return time.Millisecond }
			src.mu.Unlock()
			take(t, s, fast, "", 1)
		}()
		if _, ok := take(t, s, slow, "", 1); !ok || rec.get("slow local") != 0 {
			t.Errorf("%v, %d decisions alone", ok, rec.get("slow local"))
		}
	})
}

// A gateway that used a whole rolling quota has nothing to tell a period later: the store has forgotten by itself, as it should.
func TestRollingQuotaComesBackWhole(t *testing.T) {
	for _, n := range []int{1, 4} {
		fleetOf(t, n, func(t *testing.T, f *fleetUnderTest) {
			l := window(t, "q", ratelimit.Quota{Count: 100, N: 5, Unit: "m", Rolling: true}, "")
			for range 200 {
				take(t, f.gateways[0], l, "", 1)
				time.Sleep(time.Millisecond)
			}
			time.Sleep(5*time.Minute + 15*time.Second)
			f.store.flush() // it has expired
			again := 0
			for range 200 {
				if _, ok := take(t, f.gateways[0], l, "", 1); ok {
					again++
				}
				time.Sleep(time.Millisecond)
			}
			if again != 100 {
				t.Errorf("%d gateways: %d of 100 a period later", n, again)
			}
		})
	}
}

// What a gateway says that it has of a rolling quota is never more than there is, however long it is busy.
func TestRollingMemoryIsBounded(t *testing.T) {
	fleetOf(t, 8, func(t *testing.T, f *fleetUnderTest) {
		l := window(t, "q", ratelimit.Quota{Count: 60, N: 1, Unit: "m", Rolling: true}, "")
		for range 1200 { // 20 minutes, all at one gateway
			take(t, f.gateways[0], l, "", 1)
			time.Sleep(time.Second)
		}
		f.store.flush()
		take(t, f.gateways[0], l, "", 1)
		time.Sleep(30 * time.Millisecond)
		if left := f.store.level(l.Name()); left < -1 {
			t.Errorf("after a loss the store has %v", left)
		}
	})
}

// What was admitted without the store and is given back was never drawn: nothing is held for it.
func TestSettleOfWhatWasAllowedAlone(t *testing.T) {
	alone(t, func(t *testing.T, s *Store, src *link) {
		l := fixture{rate: "1/h", burst: 100, failure: "allow"}.limit(t, "x")
		src.breaks(refuses)
		for range 1000 {
			charges := []ratelimit.Charge{charge(l, "", 1)}
			if ok, err := s.Take(context.Background(), charges); !ok || err != nil {
				t.Fatal(ok, err)
			}
			charges[0].Change = 1
			s.Settle(context.Background(), charges)
		}
		if held, _, _ := s.Usage([]byte(l.Name()), l); held != 0 {
			t.Errorf("%d tokens from nowhere", held)
		}
	})
}

// A reload makes a limit count something else while a draw is under way: what that brings is not of the new kind.
func TestKindChangesWhileADrawIsUnderWay(t *testing.T) {
	alone(t, func(t *testing.T, s *Store, src *link) {
		l := fixture{rate: "1/h", burst: 100, failure: "allow"}.limit(t, "x")
		src.breaks(lags)
		take(t, s, l, "", 1)
		day := window(t, "x", ratelimit.Quota{Count: 1000, N: 1, Unit: "d"}, "allow")
		charges := []ratelimit.Charge{charge(day, "", 0)}
		if _, err := s.Take(context.Background(), charges); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if held, _, _ := s.Usage([]byte("x"), day); held != 0 {
			t.Errorf("%d tokens of another kind", held)
		}
		if got := src.store.level("x"); got < 99.9 {
			t.Errorf("the store has %v: they did not go back", got)
		}
	})
}
