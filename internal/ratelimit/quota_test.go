package ratelimit

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

func windowLimit(name string, count float64, rolling bool) *Limit {
	q := Quota{Count: int64(count), N: 1, Unit: "h", Rolling: rolling}
	return &Limit{name: name, kind: Window, rate: count / q.Length().Seconds(), burst: count, quota: q, cost: 1}
}

// calendarAt is a store whose clocks both begin at a time of day.
func calendarAt(at time.Time, cfg MemoryConfig) (*Memory, *clock) {
	m, now := newMemory(cfg)
	m.began = at.UnixNano()
	m.wall = func() time.Time { return at.Add(time.Duration(now.ns)) }
	return m, now
}

var halfPast = time.Date(2026, 11, 23, 12, 30, 0, 0, time.UTC)

// Edge case 36: a calendar quota gives its count once a period and tells when the next begins.
func TestCalendarQuota(t *testing.T) {
	m, now := calendarAt(halfPast, MemoryConfig{})
	l := windowLimit("x", 5, false)
	for i := range 5 {
		if c, ok := takeOne(m, l, "a"); !ok || c.Level != float64(4-i) || c.Reset != 30*time.Minute {
			t.Fatalf("request %d: %v, level %v, reset %v", i, ok, c.Level, c.Reset)
		}
	}
	now.advance(29 * time.Minute)
	if c, ok := takeOne(m, l, "a"); ok || c.Wait != time.Minute || c.Level != 0 {
		t.Errorf("past the count: %v, level %v, wait %v", ok, c.Level, c.Wait)
	}
	now.advance(time.Minute)
	if c, ok := takeCost(m, l, "a", 5); !ok || c.Level != 0 || c.Reset != time.Hour {
		t.Errorf("the next period: %v, level %v, reset %v", ok, c.Level, c.Reset)
	}
	if c, ok := takeCost(m, l, "a", 6); ok || c.Wait != Never {
		t.Errorf("more than the count: %v, wait %v", ok, c.Wait)
	}
	if c, ok := takeCost(m, l, "b", 0); !ok || c.Level != 5 || c.Reset != 0 || m.Len() != 1 {
		t.Errorf("a look: %v, level %v, reset %v, %d records", ok, c.Level, c.Reset, m.Len())
	}
}

// Edge case 36: a day of 25 hours has one count.
func TestQuotaOnALongDay(t *testing.T) {
	l := windowLimit("x", 10, false)
	l.quota.Unit, l.quota.Zone = "d", zone(t, "Europe/Berlin")
	m, now := calendarAt(time.Date(2026, 10, 25, 0, 0, 0, 0, l.quota.Zone), MemoryConfig{})
	admitted := 0
	for range 25 {
		if _, ok := takeOne(m, l, "a"); ok {
			admitted++
		}
		now.advance(time.Hour)
	}
	if _, ok := takeOne(m, l, "a"); admitted != 10 || !ok {
		t.Errorf("%d admitted in 25 hours, and %v after them", admitted, ok)
	}
}

// Edge case 8: a clock that is set back, or that jumps back and forth over the end of a period, gives no count twice.
func TestQuotaWhenTheClockIsSetBack(t *testing.T) {
	m, now := calendarAt(halfPast.Add(29*time.Minute), MemoryConfig{})
	l := windowLimit("x", 5, false)
	admitted, wall := 0, m.wall
	for i := range 1000 {
		back := time.Duration(i%2) * 3 * time.Minute
		m.wall = func() time.Time { return wall().Add(-back) }
		if _, ok := takeOne(m, l, "a"); ok {
			admitted++
		}
		takeOne(m, l, fmt.Sprint(i)) // the sweep comes by
		now.advance(time.Second)
	}
	if admitted != 10 {
		t.Errorf("%d admitted in two periods, want 10", admitted)
	}
}

// Edge case 8: records of a period that is over are freed; when the clock is set back into it, nobody gets its count again.
func TestFreedQuotaWhenTheClockIsSetBack(t *testing.T) {
	m, now := calendarAt(halfPast, MemoryConfig{})
	l, admitted := windowLimit("x", 1, false), 0
	for step, to := range []time.Duration{29 * time.Minute, 31 * time.Minute, 29 * time.Minute, 31 * time.Minute} {
		at := halfPast.Add(to)
		m.wall = func() time.Time { return at }
		if to > 30*time.Minute {
			for i := range 5000 { // the sweep comes by
				takeOne(m, l, fmt.Sprint(to, i))
			}
		}
		now.advance(time.Minute)
		for i := range 200 {
			if step == 1 {
				break // they are not there while their records are freed
			}
			if _, ok := takeOne(m, l, fmt.Sprint(i)); ok {
				admitted++
			}
		}
	}
	if admitted != 400 {
		t.Errorf("%d admitted of 200 clients in two periods", admitted)
	}
}

// Edge case 6: no hour, wherever it begins, holds more than the count of a rolling quota; and it is used to the full.
func TestRollingQuota(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 5))
		m, now := newMemory(MemoryConfig{})
		l := windowLimit("x", 50, true)
		type taken struct {
			at int64
			n  float64
		}
		var log []taken
		for range 3000 {
			now.advance(time.Duration(r.ExpFloat64() * float64(time.Minute)))
			cost := float64(1 + r.IntN(3))
			c, ok := takeCost(m, l, "a", cost)
			if ok {
				log = append(log, taken{now.ns, cost})
			} else if c.Wait <= 0 || c.Wait > time.Hour+5*time.Minute {
				t.Fatalf("wait %v", c.Wait)
			}
			sum := 0.0
			for i := len(log) - 1; i >= 0 && log[i].at > now.ns-int64(time.Hour); i-- {
				sum += log[i].n
			}
			if sum > 50 {
				t.Fatalf("%v within an hour", sum)
			}
		}
		sum := 0.0
		for _, l := range log {
			sum += l.n
		}
		if due := 50 * time.Duration(now.ns).Hours(); sum < 0.85*due {
			t.Errorf("%v of %v taken", sum, due)
		}
	}
}

// Who waits as told is admitted, not earlier; Reset is when the first unit comes back.
func TestRollingWait(t *testing.T) {
	m, now := newMemory(MemoryConfig{})
	l := windowLimit("x", 10, true)
	takeCost(m, l, "a", 4)
	now.advance(20 * time.Minute)
	takeCost(m, l, "a", 6)
	c, ok := takeCost(m, l, "a", 5)
	if ok || c.Level != 0 || c.Wait < time.Hour || c.Wait > 64*time.Minute || c.Reset < 40*time.Minute || c.Reset > 44*time.Minute {
		t.Fatalf("%v, level %v, wait %v, reset %v", ok, c.Level, c.Wait, c.Reset)
	}
	now.advance(c.Wait - 1)
	if _, ok := takeCost(m, l, "a", 5); ok {
		t.Error("admitted before its wait was over")
	}
	now.advance(1)
	if c, ok := takeCost(m, l, "a", 5); !ok || c.Level != 5 {
		t.Errorf("refused after it waited as told: level %v", c.Level)
	}
}

// What is given back goes to the period it was taken from, or nowhere; debt has a bound.
func TestSettleQuota(t *testing.T) {
	for _, rolling := range []bool{false, true} {
		m, now := calendarAt(halfPast, MemoryConfig{})
		l := windowLimit("x", 10, rolling)
		first, _ := takeCost(m, l, "a", 4)
		if c := settle(m, first, 1); c.Level != 7 {
			t.Errorf("rolling %v: level %v after a return, want 7", rolling, c.Level)
		}
		now.advance(2 * time.Hour)
		takeCost(m, l, "a", 5)
		if c := settle(m, first, 3); c.Level != 5 {
			t.Errorf("rolling %v: level %v: an old period paid for the new", rolling, c.Level)
		}
		if c := settle(m, first, -2); c.Level != 3 {
			t.Errorf("rolling %v: level %v after more was taken, want 3", rolling, c.Level)
		}
		if c := settle(m, first, -1e15); c.Level != -10 {
			t.Errorf("rolling %v: level %v, want a count of debt", rolling, c.Level)
		}
	}
}

// Edge case 19: an edited count keeps what was used of it; any other edit keeps what is left.
func TestEditedQuota(t *testing.T) {
	for _, rolling := range []bool{false, true} {
		m, now := calendarAt(halfPast, MemoryConfig{})
		l := windowLimit("x", 10, rolling)
		takeCost(m, l, "a", 6)
		more := windowLimit("x", 100, rolling)
		if c, _ := takeCost(m, more, "a", 0); c.Level != 94 {
			t.Errorf("rolling %v: level %v of the larger count, want 94", rolling, c.Level)
		}
		less := windowLimit("x", 3, rolling)
		if c, ok := takeOne(m, less, "a"); ok || c.Level != -3 {
			t.Errorf("rolling %v: %v, level %v of the smaller count, want -3", rolling, ok, c.Level)
		}
		now.advance(61 * time.Minute)
		now.advance(4 * time.Minute)
		if _, ok := takeOne(m, less, "a"); !ok {
			t.Errorf("rolling %v: refused in the next period", rolling)
		}
		other := limit(t, "x", "1/s", Config{Burst: 50})
		if c, _ := takeCost(m, other, "a", 0); c.Level != 2 {
			t.Errorf("rolling %v: level %v as a bucket, want 2", rolling, c.Level)
		}
		if c, _ := takeCost(m, windowLimit("x", 10, !rolling), "a", 0); c.Level != 2 {
			t.Errorf("rolling %v: level %v as the other kind, want 2", rolling, c.Level)
		}
		countsAgree(t, m)
	}
}

// Records of periods that are over are freed, with their counts; those of this period stay.
func TestSweepOfQuotas(t *testing.T) {
	for _, rolling := range []bool{false, true} {
		m, now := calendarAt(halfPast, MemoryConfig{})
		l := windowLimit("x", 1, rolling)
		for i := range 5000 {
			takeOne(m, l, fmt.Sprint(i))
		}
		now.advance(20 * time.Minute)
		for i := range 5000 {
			if _, ok := takeOne(m, l, fmt.Sprint(i)); ok {
				t.Fatalf("rolling %v: client %d was forgotten", rolling, i)
			}
		}
		now.advance(2 * time.Hour)
		for range 40 {
			for i := range 1000 {
				takeOne(m, l, fmt.Sprint("later", i))
			}
		}
		used := 0
		for i := range m.shards {
			used += len(m.shards[i].list)
		}
		if n := m.Len(); n > 2000 || used > 6000 {
			t.Errorf("rolling %v: %d records, %d counts", rolling, n, used)
		}
	}
}

// A store that stands in for a shared one has no whole quota to give before a period that it saw begin.
func TestBeginOfQuota(t *testing.T) {
	for _, rolling := range []bool{false, true} {
		m, now := calendarAt(halfPast, MemoryConfig{Begin: 1})
		l := windowLimit("x", 60, rolling)
		first, ok1 := takeOne(m, l, "a")
		_, ok2 := takeOne(m, l, "a")
		if !ok1 || ok2 || first.Level != 0 {
			t.Errorf("rolling %v: %v, %v, level %v", rolling, ok1, ok2, first.Level)
		}
		now.advance(time.Hour)
		if c, _ := takeOne(m, l, "b"); c.Level != 59 {
			t.Errorf("rolling %v: level %v in a whole period, want 59", rolling, c.Level)
		}
	}
}

func TestNoAllocationsForQuotas(t *testing.T) {
	m := NewMemory(MemoryConfig{})
	charges := []Charge{charge(windowLimit("x", 1e9, false), "a"), charge(windowLimit("y", 1e9, true), "a")}
	m.Take(context.Background(), charges)
	if n := testing.AllocsPerRun(200, func() { m.Take(context.Background(), charges) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
