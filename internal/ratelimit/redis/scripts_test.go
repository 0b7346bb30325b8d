package redis

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/ratelimit"
	"github.com/oncegate/oncegate/internal/ratelimit/leases"
	"github.com/oncegate/oncegate/internal/redistest"
)

// ttl is how long a key lives on, as Redis says.
func ttl(t *testing.T, srv *redistest.Server, key string) time.Duration {
	t.Helper()
	ms, err := srv.Do("PTTL", key)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(ms.(int64)) * time.Millisecond
}

// Edge cases 10 and 11: every key lives until its bucket is full again or its period has ended, and little longer. Edge case 20:
// every name begins with the version of what it holds.
func TestKeysLiveAsLongAsTheyCount(t *testing.T) {
	srv := redistest.Start(t)
	s := open(t, single(srv), patient, Deps{})
	check := func(what string, kind byte, d leases.Draw, least, most time.Duration) {
		t.Helper()
		d.Name = named(t, s, what)
		good(t, draw(t, s, d))
		if got := ttl(t, srv, s.names.of(kind, d.Name)); got <= least || got > most {
			t.Errorf("%s: lives %v, not %v to %v", what, got, least, most)
		}
	}
	slow := func(full, margin time.Duration) (time.Duration, time.Duration) { return full, full + margin }
	least, most := slow(30*time.Second, 2*time.Second)
	check("3 of 0.1/s", bucketKind, leases.Draw{Limit: bucket(0.1, 5), Want: 3}, least, most)
	least, most = slow(0, 2*time.Second)
	check("1 of 10000/s", bucketKind, leases.Draw{Limit: bucket(10000, 10000), Want: 1}, least, most)
	least, most = slow(10*24*time.Hour, 2*time.Second)
	check("a debt of 5 on 10 empty at 1/d", bucketKind, leases.Draw{Limit: bucket(1./86400, 5), Want: 0, Debt: 10}, least, most)

	q := ratelimit.Quota{Count: 100, N: 1, Unit: "d"}
	begins, ends := q.Period(time.Now())
	if left := time.Until(ends); left < 10*time.Second { // midnight
		time.Sleep(left)
		begins, ends = q.Period(time.Now())
	}
	least, most = time.Until(ends)-5*time.Second, time.Until(ends)+62*time.Second
	check("a day", windowKind, leases.Draw{Limit: quota(q), Want: 1, Begins: begins, Ends: ends}, least, most)
	q.Rolling, q.Unit = true, "m"
	check("a minute", rollingKind, leases.Draw{Limit: quota(q), Want: 1}, 59*time.Second, 64*time.Second)

	charges := []ratelimit.Charge{{Limit: slots(1, ratelimit.FailDeny), Key: []byte("k"), Cost: 1}}
	if ok, err := s.Acquire(t.Context(), charges); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if got := ttl(t, srv, s.names.of(seatsKind, named(t, s, "k"))); got < seatLife-time.Second || got > seatLife+2*time.Second {
		t.Errorf("seats live %v", got)
	}
	if got := ttl(t, srv, s.names.alive()); got < aliveLife-3*time.Second || got > aliveLife+2*time.Second {
		t.Errorf("the gateways live %v", got)
	}
	keys, err := srv.Do("KEYS", "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys.([]any) {
		if !strings.HasPrefix(key.(string), s.cfg.Prefix+":rl1:") {
			t.Errorf("%v has no version", key)
		}
		if left := ttl(t, srv, key.(string)); left < 0 && key != s.names.secret() {
			t.Errorf("%v lives for ever", key)
		}
	}
	if n := len(keys.([]any)); n != 8 {
		t.Errorf("%d keys", n)
	}
}

// Edge case 12: of 3.7 tokens 3 are granted and charged. Edge case 13: neither the rest nor the time to the next token is cut.
func TestPartialGrants(t *testing.T) {
	s, now := clocked(t, single(redistest.Start(t)))
	name, limit := named(t, s, "k"), bucket(1, 10)
	good(t, draw(t, s, leases.Draw{Name: name, Limit: limit, Want: 10}))
	*now += 3_700_000
	g := good(t, draw(t, s, leases.Draw{Name: name, Limit: limit, Want: 10}))
	if g.Tokens != 3 || g.Left < 0.699999 || g.Left > 0.700001 || g.Next < 299_999*time.Microsecond || g.Next > 300_001*time.Microsecond {
		t.Fatalf("%+v", g)
	}
	*now += 300_000
	if g = good(t, draw(t, s, leases.Draw{Name: name, Limit: limit, Want: 10})); g.Tokens != 1 {
		t.Fatalf("%+v", g)
	}
}

// Numbers that Lua would write as 1e+15 or cut to 14 digits come through whole.
func TestLargeNumbers(t *testing.T) {
	s, _ := clocked(t, single(redistest.Start(t)))
	limit := bucket(1e9, 1e12)
	name := named(t, s, "k")
	g := good(t, draw(t, s, leases.Draw{Name: name, Limit: limit, Want: 123_456_789_012}))
	if g.Tokens != 123_456_789_012 || g.Left != 1e12-123_456_789_012 {
		t.Fatalf("%+v", g)
	}
	g = good(t, draw(t, s, leases.Draw{Name: named(t, s, "slow"), Limit: bucket(1./(30*86400), 1), Want: 1}))
	if g.Tokens != 1 || g.Next < 30*24*time.Hour || g.Next > 30*24*time.Hour+time.Millisecond {
		t.Fatalf("%+v", g)
	}
}

// Edge case 8: a server's clock that goes back mints nothing, and neither does its way forth again.
func TestClockSteppingBack(t *testing.T) {
	s, now := clocked(t, single(redistest.Start(t)))
	name, limit := named(t, s, "k"), bucket(10, 100)
	good(t, draw(t, s, leases.Draw{Name: name, Limit: limit, Want: 100}))
	begin, granted := *now, int64(0)
	for i := range 200 {
		*now = begin + int64(i)*10_000 - int64(i%2)*500_000 // 50 ms on, 500 ms back, by turns
		granted += good(t, draw(t, s, leases.Draw{Name: name, Limit: limit, Want: 100})).Tokens
	}
	if due := int64(19); granted < due-1 || granted > due+1 {
		t.Fatalf("%d tokens of 2 s at 10/s", granted)
	}
	*now = begin + 3_600_000_000 // and a jump forward gives a burst at most
	if g := good(t, draw(t, s, leases.Draw{Name: name, Limit: limit, Want: 1000})); g.Tokens != 100 {
		t.Fatalf("%+v", g)
	}
}

// Edge case 19: an edited limit keeps what was used, in both directions.
func TestEditedLimitKeepsItsLevel(t *testing.T) {
	s, now := clocked(t, single(redistest.Start(t)))
	name := named(t, s, "k")
	good(t, draw(t, s, leases.Draw{Name: name, Limit: bucket(10, 100), Want: 70}))
	if g := good(t, draw(t, s, leases.Draw{Name: name, Limit: bucket(1000, 1000)})); g.Left != 30 {
		t.Fatalf("raised: %+v", g)
	}
	if g := good(t, draw(t, s, leases.Draw{Name: name, Limit: bucket(1, 20), Want: 5})); g.Left != 15 {
		t.Fatalf("lowered: %+v", g)
	}

	day, hour := ratelimit.Quota{Count: 100, N: 1, Unit: "d"}, ratelimit.Quota{Count: 80, N: 1, Unit: "h"}
	of := func(q ratelimit.Quota, want int64) leases.Grant {
		begins, ends := q.Period(time.UnixMicro(*now))
		return good(t, draw(t, s, leases.Draw{Name: name, Limit: quota(q), Want: want, Begins: begins, Ends: ends}))
	}
	of(day, 60)
	if g := of(hour, 30); g.Tokens != 20 {
		t.Fatalf("of a day made an hour: %+v", g)
	}
	day.Rolling, hour.Rolling = true, true
	of(day, 60)
	if g := of(hour, 30); g.Tokens != 20 {
		t.Fatalf("of a rolling day made a rolling hour: %+v", g)
	}
}

// A count that is lost is repaired by each gateway that remembers what it drew, once.
func TestLostQuotaIsRepaired(t *testing.T) {
	for _, rolling := range []bool{false, true} {
		t.Run(fmt.Sprintf("rolling %v", rolling), func(t *testing.T) {
			srv := redistest.Start(t)
			cfg := single(srv)
			a, now := clocked(t, cfg)
			b := open(t, cfg, patient, Deps{})
			b.clock = a.clock
			q := ratelimit.Quota{Count: 1000, N: 1, Unit: "d", Rolling: rolling}
			name := named(t, a, "k")
			of := func(s *Source, want, drawn int64) leases.Grant {
				d := leases.Draw{Name: name, Limit: quota(q), Want: want, Drawn: drawn}
				if !rolling {
					d.Begins, d.Ends = q.Period(time.UnixMicro(*now))
				}
				return good(t, draw(t, s, d))
			}
			of(a, 200, 0)
			of(b, 400, 0)
			if g := of(a, 100, 200); g.Left != 300 || g.Fresh {
				t.Fatalf("nothing was lost: %+v", g)
			}
			if _, err := srv.Do("DEL", a.names.of(kindOf(quota(q)), name)); err != nil {
				t.Fatal(err)
			}
			if g := of(b, 10, 400); g.Left != 590 || !g.Fresh {
				t.Fatalf("the first to meet it: %+v", g)
			}
			if g := of(a, 10, 300); g.Left != 280 || g.Fresh {
				t.Fatalf("the other one: %+v", g)
			}
			if g := of(a, 0, 310); g.Left != 280 {
				t.Fatalf("again: %+v", g)
			}
		})
	}
}

// The admin's look changes nothing, and Forget makes a key new.
func TestUsageAndForget(t *testing.T) {
	srv := redistest.Start(t)
	s := open(t, single(srv), patient, Deps{})
	q := ratelimit.Quota{Count: 50, N: 1, Unit: "mo"}
	rolling := q
	rolling.Rolling = true
	begins, ends := q.Period(time.Now())
	for what, limit := range map[string]*ratelimit.Limit{
		"bucket": bucket(0.001, 50), "window": quota(q), "rolling": quota(rolling), "slots": slots(50, ratelimit.FailDeny),
	} {
		key := []byte(what)
		look := func() float64 {
			t.Helper()
			g, err := s.Usage(t.Context(), key, limit)
			if err != nil {
				t.Fatal(err)
			}
			return g.Left
		}
		if left := look(); left != 50 {
			t.Errorf("%s: %v are left of what nobody used", what, left)
		}
		if existing(t, s, kindOf(limit), named(t, s, what)) {
			t.Errorf("%s: a look made a key", what)
		}
		if limit.Kind() == ratelimit.Slots {
			if ok, err := s.Acquire(t.Context(), []ratelimit.Charge{{Limit: limit, Key: key, Cost: 1}}); !ok || err != nil {
				t.Fatal(ok, err)
			}
		} else {
			good(t, draw(t, s, leases.Draw{Name: named(t, s, what), Limit: limit, Want: 1, Begins: begins, Ends: ends}))
		}
		if left := look(); left < 49 || left > 49.5 {
			t.Errorf("%s: %v are left after one", what, left)
		}
		if err := s.Forget(t.Context(), key, limit); err != nil {
			t.Fatal(err)
		}
		if left := look(); left != 50 {
			t.Errorf("%s: %v are left of what was forgotten", what, left)
		}
		if limit.Kind() != ratelimit.Window {
			continue
		}
		g := draw(t, s, leases.Draw{Name: named(t, s, what), Limit: limit, Want: 1, Drawn: 40, Begins: begins, Ends: ends})
		if good(t, g); g.Tokens != 1 || g.Left != 49 {
			t.Errorf("%s: a gateway that had drawn undid the reset: %+v", what, g)
		}
	}
}
