package redis

import (
	"fmt"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/ratelimit"
	"github.com/oncegate/oncegate/internal/ratelimit/leases"
	"github.com/oncegate/oncegate/internal/redistest"
)

// Edge case 8: the clock of Redis is put back by an hour. Buckets fill again at once, not an hour later; a few seconds are waited
// for, so that a failover to and fro mints nothing; and when the hour comes again it gives a burst at most.
func TestClockPutBack(t *testing.T) {
	s, now := clocked(t, single(redistest.Start(t)))
	limit := bucket(10, 20)
	level := func(want int64, after time.Duration) float64 {
		*now += after.Microseconds()
		return good(t, draw(t, s, leases.Draw{Name: named(t, s, "k"), Limit: limit, Want: want})).Left
	}
	for i, c := range []struct {
		want  int64
		after time.Duration
		left  float64
	}{
		{20, 0, 0},
		{5, time.Second, 5},
		{1, -5 * time.Second, 4},
		{1, 5 * time.Second, 3},
		{1, -time.Hour, 2},
		{1, time.Second, 11},
		{1, time.Hour, 19},
	} {
		if got := level(c.want, c.after); got != c.left {
			t.Errorf("step %d: %v left, want %v", i, got, c.left)
		}
	}
}

// The same for rolling quotas: what is counted counts from the new time.
func TestClockPutBackUnderARollingQuota(t *testing.T) {
	s, now := clocked(t, single(redistest.Start(t)))
	limit := quota(ratelimit.Quota{Count: 100, N: 1, Unit: "m", Rolling: true})
	take := func(want int64, after time.Duration) leases.Grant {
		*now += after.Microseconds()
		return good(t, draw(t, s, leases.Draw{Name: named(t, s, "k"), Limit: limit, Want: want}))
	}
	take(100, 0)
	if g := take(1, -time.Hour); g.Tokens != 0 || g.Next > 63*time.Second {
		t.Errorf("used up, and an hour back: %+v", g)
	}
	take(1, 0)
	if g := take(1, 30*time.Second); g.Tokens != 0 {
		t.Errorf("half a period later: %+v", g)
	}
	if g := take(100, 33*time.Second); g.Tokens != 100 {
		t.Errorf("a period later: %+v", g)
	}
}

// A rolling quota in constant use forgets the gateways that are gone: each restart would else leave a field for ever.
func TestRollingForgetsGatewaysThatAreGone(t *testing.T) {
	s, now := clocked(t, single(redistest.Start(t)))
	limit := quota(ratelimit.Quota{Count: 1000, N: 1, Unit: "m", Rolling: true})
	name := named(t, s, "k")
	close(s.resting) // beats name the gateway, too
	s.awaitRest()
	s.resting = make(chan struct{})
	for i := range 200 {
		s.me = fmt.Sprintf("g%d", i)
		good(t, draw(t, s, leases.Draw{Name: name, Limit: limit, Want: 1}))
		*now += (2 * time.Second).Microseconds()
	}
	row, err := s.fleet.single.Load().client.HGetAll(t.Context(), s.names.of(rollingKind, name)).Result()
	if err != nil || len(row) > 70 || row["g199"] == "" || row["g175"] == "" {
		t.Errorf("%d fields, %v: %v", len(row), err, row)
	}
	// one that is known still is not counted twice
	s.me = "g190"
	before := good(t, draw(t, s, leases.Draw{Name: name, Limit: limit})).Left
	if g := good(t, draw(t, s, leases.Draw{Name: name, Limit: limit, Want: 1, Drawn: 1})); g.Left != before-1 {
		t.Errorf("%v left of %v", g.Left, before)
	}
}

// Numbers of any size keep their digits: the largest limits, the slowest rates, and a bucket that takes ten years to fill.
func TestLargeAndSlowLimits(t *testing.T) {
	srv := redistest.Start(t)
	s, now := clocked(t, single(srv))
	for i, c := range []struct {
		rate, burst float64
		want        int64
	}{
		{1e9, 1e9, 1e9}, {1e9, 1e9, 999999999}, {1. / 86400, 1e9, 1e9}, {1. / 86400 / 31, 3650, 3650}, {1e-9, 1, 1}, {1e9, 1, 1},
	} {
		name, limit := named(t, s, fmt.Sprint(i)), bucket(c.rate, c.burst)
		g := good(t, draw(t, s, leases.Draw{Name: name, Limit: limit, Want: c.want}))
		if g.Tokens != c.want || g.Left != c.burst-float64(c.want) || g.Next <= 0 {
			t.Errorf("%v/s of %v: %+v", c.rate, c.burst, g)
		}
		debt := good(t, draw(t, s, leases.Draw{Name: name, Limit: limit, Want: 1, Debt: c.want}))
		if debt.Tokens != 0 && c.want == int64(c.burst) || debt.Left < -c.burst {
			t.Errorf("%v/s of %v in debt: %+v", c.rate, c.burst, debt)
		}
		ttl, err := srv.Do("PTTL", s.names.of(bucketKind, name))
		if ms, ok := ttl.(int64); err != nil || !ok || ms <= 0 || ms > 3_000_000_001_000 {
			t.Errorf("%v/s of %v lives %v ms, %v", c.rate, c.burst, ttl, err)
		}
		*now += 1
		if g := good(t, draw(t, s, leases.Draw{Name: name, Limit: limit, Want: -1 << 62})); g.Left != c.burst {
			t.Errorf("%v/s of %v: more came back than there is: %+v", c.rate, c.burst, g)
		}
	}
	q := quota(ratelimit.Quota{Count: 1e9, N: 1, Unit: "mo", Rolling: true})
	name := named(t, s, "q")
	if g := good(t, draw(t, s, leases.Draw{Name: name, Limit: q, Want: 999999999})); g.Tokens != 999999999 || g.Left != 1 {
		t.Errorf("%+v", g)
	}
	if g := good(t, draw(t, s, leases.Draw{Name: name, Limit: q, Want: 2, Drawn: 1 << 40, Debt: 1 << 40})); g.Tokens != 0 || g.Left != -1e9 {
		t.Errorf("%+v", g)
	}
}
