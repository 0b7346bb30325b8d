package ratelimit

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

// oracle answers as golang.org/x/time/rate does, one limiter per limit and client. Several limits are checked before any is
// charged.
type oracle struct {
	base     time.Time
	limiters map[string]*rate.Limiter
}

func (o *oracle) of(c *Charge) *rate.Limiter {
	lim := o.limiters[string(c.Key)]
	if lim == nil {
		lim = rate.NewLimiter(rate.Limit(c.Limit.rate), int(c.Limit.burst))
		o.limiters[string(c.Key)] = lim
	}
	return lim
}

func (o *oracle) take(charges []Charge, now int64) bool {
	at := o.base.Add(time.Duration(now))
	for i := range charges {
		r := o.of(&charges[i]).ReserveN(at, int(charges[i].Cost))
		ok := r.OK() && r.DelayFrom(at) == 0
		if !ok {
			r.CancelAt(at)
			return o.undo(charges[:i], at)
		}
	}
	return true
}

// undo starts the limiters anew at the level they had: a cancelled reservation does not always give back everything.
func (o *oracle) undo(charges []Charge, at time.Time) bool {
	for i := range charges {
		o.of(&charges[i]).AllowN(at, -int(charges[i].Cost))
	}
	return false
}

// compare runs one schedule, made of bytes, through the store and the oracle.
func compare(t *testing.T, limits []*Limit, schedule []byte) {
	m, now := newMemory(MemoryConfig{})
	o := &oracle{base: time.Unix(1e9, 0), limiters: map[string]*rate.Limiter{}}
	for step := 0; len(schedule) >= 2; step++ {
		pause, what := schedule[0], schedule[1]
		schedule = schedule[2:]
		now.advance(time.Duration(pause&15) << (pause >> 3)) // up to 8 minutes at once, often nothing
		who := fmt.Sprint(what >> 3 & 3)
		var charges []Charge
		for i := range limits {
			if what>>i&1 == 1 {
				charges = append(charges, charge(limits[i], who))
			}
		}
		got, _ := m.Take(context.Background(), charges)
		if want := o.take(charges, now.ns); got != want {
			t.Fatalf("step %d at %v: %v, want %v: %+v", step, time.Duration(now.ns), got, want, charges)
		}
		for i := range charges {
			level := o.of(&charges[i]).TokensAt(o.base.Add(time.Duration(now.ns)))
			if d := charges[i].Level - level; d > 1e-6 || d < -1e-6 {
				t.Fatalf("step %d: %s holds %v, want %v", step, charges[i].Limit.name, charges[i].Level, level)
			}
		}
	}
}

func oracleLimits(t *testing.T) []*Limit {
	return []*Limit{
		limit(t, "brisk", "100/s", Config{Burst: 200}),
		limit(t, "slow", "1/10s", Config{Burst: 3, Cost: Cost{Base: 2}}),
		limit(t, "odd", "5000/m", Config{Burst: 7, Cost: Cost{Base: 3}}),
	}
}

func TestAgainstOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 11))
	for range 60 {
		schedule := make([]byte, 4000)
		for i := range schedule {
			schedule[i] = byte(r.Uint32())
			if i%2 == 0 && r.IntN(3) > 0 {
				schedule[i] = byte(r.IntN(1 << 7)) // short pauses: buckets run dry
			}
		}
		compare(t, oracleLimits(t), schedule)
	}
}

func FuzzTake(f *testing.F) {
	f.Add([]byte{0, 1, 0, 2, 0, 7, 255, 3})
	f.Fuzz(func(t *testing.T, schedule []byte) { compare(t, oracleLimits(t), schedule) })
}
