package leases

import (
	"context"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/ratelimit"
)

// What is settled may be owed down to a burst below nothing, as in memory: also from a bucket that was full.
func TestDebtReachesABurstBelowNothing(t *testing.T) {
	alone(t, func(t *testing.T, s *Store, src *link) {
		l := fixture{rate: "1/1h", burst: 10}.limit(t, "x")
		for range 3 {
			charges := []ratelimit.Charge{charge(l, "", 2)}
			if ok, err := s.Take(context.Background(), charges); !ok || err != nil {
				return
			}
			charges[0].Change = -1e6
			s.Settle(context.Background(), charges)
			if charges[0].Level != -10 {
				t.Errorf("%v is said to be left", charges[0].Level)
			}
			time.Sleep(time.Second)
			if got := src.store.level(l.Name()); got < -10 || got > -9.9 {
				t.Errorf("the store has %v, wanted a burst of debt", got)
			}
		}
		t.Error("let in with a debt")
	})
}

// A client is told when its day ends, by the store's clock.
func TestResetOfACalendarPeriod(t *testing.T) {
	alone(t, func(t *testing.T, s *Store, src *link) {
		charges := []ratelimit.Charge{charge(perDay(t), "", 1)}
		_, _ = s.Take(context.Background(), charges)
		_, ends := perDay(t).Quota().Period(time.Now().Add(src.store.skew))
		if left := ends.Sub(time.Now().Add(src.store.skew)); charges[0].Reset > left+time.Second || charges[0].Reset < left-time.Second {
			t.Errorf("%v, wanted %v", charges[0].Reset, left)
		}
	})
}
