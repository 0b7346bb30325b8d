package leases

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/ratelimit"
)

// fleetOf runs a test with n gateways at one store, a millisecond away.
func fleetOf(t *testing.T, n int, test func(t *testing.T, f *fleetUnderTest)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fleetUnderTest{store: newIdeal()}
		for range n {
			src := newLink(f.store, time.Millisecond)
			src.gateways = n
			f.links, f.gateways = append(f.links, src), append(f.gateways, New(Config{}, src, nil, &f.counts))
		}
		test(t, f)
		for _, s := range f.gateways {
			_ = s.Close(context.Background())
		}
		time.Sleep(5 * time.Second) // answers that are still on their way
	})
}

type fleetUnderTest struct {
	store    *ideal
	links    []*link
	gateways []*Store
	counts   counts
	slowest  time.Duration
}

func (f *fleetUnderTest) breaks(how fault) {
	for _, l := range f.links {
		l.breaks(how)
	}
}

// flood offers one request per step at each gateway in turn, and counts what is admitted.
func (f *fleetUnderTest) flood(t *testing.T, l *ratelimit.Limit, span, step time.Duration) (admitted int) {
	t.Helper()
	for i, begin := 0, time.Now(); time.Since(begin) < span; i++ {
		began := time.Now()
		if _, ok := take(t, f.gateways[i%len(f.gateways)], l, "", 1); ok {
			admitted++
		}
		f.slowest = max(f.slowest, time.Since(began))
		time.Sleep(step)
	}
	return admitted
}

// A7, edge cases 14 and 16: with a store that is gone, stalls, or swallows what it did, the fleet stays within its bound, no
// request waits for long, and when the store is back there is no second burst.
func TestOutageStaysWithinTheLimit(t *testing.T) {
	for name, how := range map[string]fault{"refuses": refuses, "stalls": stalls, "swallows": swallows, "vanishes": vanishes, "dawdles": dawdles} {
		t.Run(name, func(t *testing.T) {
			fleetOf(t, 4, func(t *testing.T, f *fleetUnderTest) {
				l := fixture{rate: "100/s"}.limit(t, "x")
				before := f.flood(t, l, 5*time.Second, time.Millisecond)
				f.breaks(how)
				during := f.flood(t, l, 10*time.Second, time.Millisecond)
				f.breaks(works)
				began := time.Now()
				after := f.flood(t, l, 10*time.Second, time.Millisecond)
				t.Log(before, during, after, time.Since(began), f.slowest, f.store.debts, f.store.granted, f.store.back)
				within(t, "before", float64(before), 590, 605)
				within(t, "during", float64(during), 900, 1010) // r*t: the burst was spent before
				within(t, "after", float64(after), 850, 1065)   // r*t and no burst; a gateway whose last draw hangs is back a second after the others
				within(t, "all", float64(before+during+after), 2400, 2600+70)
				if f.slowest > 25*time.Millisecond {
					t.Errorf("a request waited %v", f.slowest)
				}
			})
		})
	}
}

// Edge case 16: the store is back; within a second requests are decided by it again.
func TestRecoveryIsQuick(t *testing.T) {
	fleetOf(t, 4, func(t *testing.T, f *fleetUnderTest) {
		l := fixture{rate: "100/s"}.limit(t, "x")
		f.breaks(refuses)
		f.flood(t, l, 3*time.Second, time.Millisecond)
		f.breaks(works)
		f.flood(t, l, time.Second, time.Millisecond)
		fallbacks := f.counts.get("x local")
		f.flood(t, l, time.Second, time.Millisecond)
		if more := f.counts.get("x local") - fallbacks; more > 0 || fallbacks == 0 {
			t.Errorf("%d decisions alone after a second, %d before", more, fallbacks)
		}
	})
}

// A light load in an outage is not punished after it: what was admitted longer ago than a bucket takes to fill is forgotten.
func TestDebtOfAnOutageFades(t *testing.T) {
	fleetOf(t, 1, func(t *testing.T, f *fleetUnderTest) {
		l := fixture{rate: "100/s", burst: 200}.limit(t, "x")
		f.breaks(refuses)
		f.flood(t, l, time.Minute, 100*time.Millisecond) // 10/s
		f.breaks(works)
		take(t, f.gateways[0], l, "", 1)
		time.Sleep(300 * time.Millisecond)
		take(t, f.gateways[0], l, "", 1)
		if f.store.debts < 15 || f.store.debts > 45 {
			t.Errorf("brought %d, want some 20: those of the last two seconds", f.store.debts)
		}
	})
}

func TestPoliciesOfAnOutage(t *testing.T) {
	alone(t, func(t *testing.T, s *Store, src *link) {
		src.breaks(refuses)
		allow := fixture{rate: "1/h", burst: 1, failure: "allow"}.limit(t, "allow")
		deny := fixture{rate: "1/h", burst: 100, failure: "deny"}.limit(t, "deny")
		local := fixture{rate: "1/h", burst: 1}.limit(t, "local")
		for range 10 {
			if _, ok := take(t, s, allow, "", 1); !ok {
				t.Error("allow refuses")
			}
		}
		charges := []ratelimit.Charge{charge(local, "", 1), charge(deny, "", 1)}
		if ok, err := s.Take(context.Background(), charges); ok || !errors.Is(err, ErrDown) {
			t.Errorf("deny: %v %v", ok, err)
		}
		if _, ok := take(t, s, local, "", 1); !ok {
			t.Error("the limit beside one that failed closed was charged")
		}
		if c, ok := take(t, s, local, "", 1); ok || c.Wait < 59*time.Minute {
			t.Errorf("local: %v, wait %v", ok, c.Wait)
		}
		shadow := fixture{rate: "1/h", burst: 1, failure: "deny", shadow: true}.limit(t, "shadow")
		if _, ok := take(t, s, shadow, "", 1); !ok {
			t.Error("a shadow fails closed")
		}
	})
}

// One lost answer is no outage: the next request asks again soon.
func TestOneFailureIsForgiven(t *testing.T) {
	alone(t, func(t *testing.T, s *Store, src *link) {
		deny := fixture{rate: "1/h", burst: 100, failure: "deny"}.limit(t, "deny")
		src.breaks(swallows)
		if ok, err := s.Take(context.Background(), []ratelimit.Charge{charge(deny, "", 1)}); ok || err == nil {
			t.Fatal("admitted without a token")
		}
		src.breaks(works)
		time.Sleep(30 * time.Millisecond)
		if _, ok := take(t, s, deny, "", 1); !ok {
			t.Error("refused")
		}
		if got := src.store.level(deny.Name()); int(got) != 98 {
			t.Errorf("the store has %v: the lost token counts once", got)
		}
	})
}

// Booting without the store: a restart is no gift of a burst.
func TestBootWithoutStoreBeginsWithOneToken(t *testing.T) {
	for _, how := range []fault{refuses, secretive, stalls} {
		fleetOf(t, 1, func(t *testing.T, f *fleetUnderTest) {
			f.breaks(how)
			l := fixture{rate: "10/s", burst: 100}.limit(t, "x")
			if got := f.flood(t, l, 50*time.Millisecond, time.Millisecond); got != 1 {
				t.Errorf("%d admitted at once, want 1", got)
			}
			within(t, "in the next 10 s", float64(f.flood(t, l, 10*time.Second, 10*time.Millisecond)), 98, 101)
			l = fixture{rate: "10/s", burst: 100}.limit(t, "later")
			within(t, "of one that comes later", float64(f.flood(t, l, 200*time.Millisecond, time.Millisecond)), 99, 104)
		})
	}
}

// A request that costs more than a gateway's part of the burst is admitted, and paid for in time.
func TestHeavyRequestInAnOutage(t *testing.T) {
	fleetOf(t, 8, func(t *testing.T, f *fleetUnderTest) {
		l := fixture{rate: "8/s", burst: 8}.limit(t, "x")
		take(t, f.gateways[0], l, "", 1)
		f.breaks(refuses)
		admitted := 0
		for range 1000 { // 10 s
			if _, ok := take(t, f.gateways[0], l, "", 5); ok {
				admitted++
			}
			time.Sleep(10 * time.Millisecond)
		}
		within(t, "requests of 5 at 1/s in 10 s", float64(admitted), 1, 3)
	})
}

// An answer that is later than its waiters' patience is not lost, and one that is later still goes back.
func TestLateAnswers(t *testing.T) {
	for how, wait := range map[fault]time.Duration{lags: 400 * time.Millisecond, dawdles: 4 * time.Second} {
		alone(t, func(t *testing.T, s *Store, src *link) {
			l := fixture{rate: "1/h", burst: 1000, failure: "allow"}.limit(t, "x")
			src.breaks(how)
			began := time.Now()
			for range 10 {
				take(t, s, l, "", 1)
			}
			if took := time.Since(began); took > 31*time.Millisecond {
				t.Errorf("ten requests waited %v for one slow answer: one wait is enough to know", took)
			}
			time.Sleep(wait)
			src.breaks(works)
			time.Sleep(time.Second)
			held, _, _ := s.Usage([]byte(l.Name()), l)
			if got := src.store.level(l.Name()); held != 0 || got < 990 {
				t.Errorf("%d held, the store has %v", held, got)
			}
		})
	}
}

func TestSettleOfWhatWasAdmittedAlone(t *testing.T) {
	alone(t, func(t *testing.T, s *Store, src *link) {
		l := fixture{rate: "1/h", burst: 10}.limit(t, "x")
		take(t, s, l, "other", 1) // the store was met
		src.breaks(refuses)
		charges := []ratelimit.Charge{charge(l, "", 10)}
		if ok, err := s.Take(context.Background(), charges); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if _, ok := take(t, s, l, "", 1); ok {
			t.Fatal("eleven of ten")
		}
		charges[0].Change = 6
		s.Settle(context.Background(), charges)
		if _, ok := take(t, s, l, "", 3); !ok {
			t.Error("what was given back is not there")
		}
		src.breaks(works)
		time.Sleep(time.Second)
		take(t, s, l, "", 1)
		time.Sleep(10 * time.Millisecond)
		if src.store.debts != 7 {
			t.Errorf("brought %d, want 4 and 3", src.store.debts)
		}
	})
}

// A flush gives a bucket at most one burst, and errors none.
func TestFlush(t *testing.T) {
	fleetOf(t, 4, func(t *testing.T, f *fleetUnderTest) {
		l := fixture{rate: "100/s"}.limit(t, "x")
		f.flood(t, l, 3*time.Second, time.Millisecond)
		f.store.flush()
		within(t, "in 5 s after a flush", float64(f.flood(t, l, 5*time.Second, time.Millisecond)), 590, 605)
	})
}

// What a settlement left to be brought is not forgotten when draws fail.
func TestDebtOutlivesFailures(t *testing.T) {
	for _, how := range []fault{refuses, stalls, dawdles} { // done, but not known to be: brought twice, the safe side
		alone(t, func(t *testing.T, s *Store, src *link) {
			l := fixture{rate: "1/h", burst: 100, failure: "allow"}.limit(t, "x")
			charges := []ratelimit.Charge{charge(l, "", 1)}
			_, _ = s.Take(context.Background(), charges)
			src.breaks(how)
			charges[0].Change = -50
			s.Settle(context.Background(), charges)
			time.Sleep(900 * time.Millisecond) // the sweep tries
			src.breaks(works)
			time.Sleep(10 * time.Second)
			if got := int(src.store.level(l.Name())); got != 49 && !(how == dawdles && got == 0) {
				t.Errorf("fault %d: the store has %d, want 49", how, got)
			}
		})
	}
}
