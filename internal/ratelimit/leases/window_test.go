package leases

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/ratelimit"
)

// perDay is a thousand requests a day; a short one, because of the ticks of a long one.
func perDay(t *testing.T) *ratelimit.Limit {
	return window(t, "day", ratelimit.Quota{Count: 1000, N: 5, Unit: "m"}, "")
}

// A quota is used to the last one, and to no more than that.
func TestQuotaToTheLastOne(t *testing.T) {
	fleetOf(t, 8, func(t *testing.T, f *fleetUnderTest) {
		l := perDay(t)
		if got := f.flood(t, l, 20*time.Second, time.Millisecond); got != 1000 {
			t.Errorf("%d of 1000", got)
		}
		c, ok := take(t, f.gateways[0], l, "", 1)
		if ok || c.Wait < 4*time.Minute || c.Wait > 5*time.Minute {
			t.Errorf("after it: %v, wait %v", ok, c.Wait)
		}
		draws := f.store.draws
		f.flood(t, l, 10*time.Second, time.Millisecond)
		if more := f.store.draws - draws; more > 8*15 {
			t.Errorf("%d draws in 10 s of a used quota", more)
		}
		time.Sleep(c.Wait)
		if got := f.flood(t, l, 20*time.Second, time.Millisecond); got != 1000 {
			t.Errorf("%d of 1000 the day after", got)
		}
	})
}

// Tokens of a day are void in the next one.
func TestLeaseIsVoidAfterItsPeriod(t *testing.T) {
	alone(t, func(t *testing.T, s *Store, src *link) {
		l := window(t, "q", ratelimit.Quota{Count: 10000, N: 1, Unit: "s"}, "")
		time.Sleep(850 * time.Millisecond)
		for range 100 {
			take(t, s, l, "", 1)
			time.Sleep(time.Millisecond)
		}
		if held, _, _ := s.Usage([]byte(l.Name()), l); held == 0 {
			t.Fatal("nothing held")
		}
		time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second)))
		if held, level, _ := s.Usage([]byte(l.Name()), l); held != 0 || level != 10000 {
			t.Errorf("%d held, level %v in the next period", held, level)
		}
		returns := src.store.returns
		time.Sleep(400 * time.Millisecond)
		if src.store.returns != returns {
			t.Error("void tokens were given back: the next period would have more")
		}
	})
}

// Edge case 18: the store forgets a quota in the middle of its period. What each gateway remembers is brought: together they know
// it all.
func TestQuotaSurvivesALossOfTheStore(t *testing.T) {
	for _, n := range []int{1, 4, 8} {
		fleetOf(t, n, func(t *testing.T, f *fleetUnderTest) {
			l := perDay(t)
			used := f.flood(t, l, 600*time.Millisecond, time.Millisecond)
			time.Sleep(time.Minute) // leases go back, entries are swept: the memory must stay
			f.store.flush()
			later := f.flood(t, l, 20*time.Second, time.Millisecond)
			if sum := used + later; used < 100 || sum > 1000+n*12 || sum < 990 {
				t.Errorf("%d gateways: %d used, %d after the flush", n, used, later)
			}
		})
	}
}

func TestRollingQuotaSurvivesALossOfTheStore(t *testing.T) {
	fleetOf(t, 4, func(t *testing.T, f *fleetUnderTest) {
		l := window(t, "q", ratelimit.Quota{Count: 1000, N: 10, Unit: "m", Rolling: true}, "")
		used := f.flood(t, l, time.Second, time.Millisecond)
		f.store.flush()
		later := f.flood(t, l, 20*time.Second, time.Millisecond)
		within(t, "admitted", float64(used+later), 990, 1045) // 35 come back in that time
		time.Sleep(20 * time.Minute)
		for _, s := range f.gateways {
			if s.Len() != 0 {
				t.Errorf("%d entries are kept beyond their use", s.Len())
			}
		}
	})
}

// What was admitted without the store counts when it is back.
func TestQuotaInAnOutage(t *testing.T) {
	fleetOf(t, 4, func(t *testing.T, f *fleetUnderTest) {
		l := perDay(t)
		first := f.flood(t, l, 200*time.Millisecond, time.Millisecond)
		f.breaks(refuses)
		second := f.flood(t, l, 200*time.Millisecond, time.Millisecond)
		f.breaks(works)
		third := f.flood(t, l, 20*time.Second, time.Millisecond)
		if first == 0 || second == 0 {
			t.Fatal(first, second)
		}
		within(t, "admitted", float64(first+second+third), 990, 1040)
	})
}

// The memory of a day is freed when the day is over, and it is small.
func TestMemoryOfAPeriodIsFreed(t *testing.T) {
	alone(t, func(t *testing.T, s *Store, _ *link) {
		take(t, s, perDay(t), "", 1)
		time.Sleep(2 * time.Second)
		if s.Len() != 1 {
			t.Fatal("forgotten within its period")
		}
		time.Sleep(6 * time.Minute)
		if s.Len() != 0 {
			t.Error("kept after it")
		}
	})
}

func TestForgetAndReset(t *testing.T) {
	alone(t, func(t *testing.T, s *Store, src *link) {
		l := window(t, "q", ratelimit.Quota{Count: 5, N: 1, Unit: "d"}, "")
		for range 5 {
			take(t, s, l, "", 1)
		}
		if _, ok := take(t, s, l, "", 1); ok {
			t.Fatal("six of five")
		}
		src.store.flush()
		s.Forget([]byte(l.Name()))
		if _, ok := take(t, s, l, "", 1); !ok {
			t.Error("reset, and still refused")
		}
	})
}

// A give-back that belongs to the period before changes nothing.
func TestSettleAcrossPeriods(t *testing.T) {
	alone(t, func(t *testing.T, s *Store, src *link) {
		l := window(t, "q", ratelimit.Quota{Count: 5, N: 1, Unit: "m"}, "")
		charges := []ratelimit.Charge{charge(l, "", 5)}
		_, _ = s.Take(context.Background(), charges)
		time.Sleep(time.Minute)
		take(t, s, l, "", 1)
		charges[0].Change = 5
		s.Settle(context.Background(), charges)
		time.Sleep(time.Second)
		if got := src.store.level(l.Name()); got != 4 {
			t.Errorf("the store has %v, want 4", got)
		}
	})
}

// Where the gateway's first guess of the period is wrong the request is still decided by the store.
func TestWrongGuessOfThePeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newLink(newIdeal(), time.Millisecond)
		src.store.skew = 26 * time.Hour
		var rec counts
		s := New(Config{}, src, nil, &rec)
		defer func() { _ = s.Close(context.Background()) }()
		if _, ok := take(t, s, perDay(t), "", 1); !ok || rec.get("day local") != 0 {
			t.Error("not decided by the store")
		}
	})
}
