package ratelimit

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// keepers are the identities that are kept in different ways.
var keepers = []string{"client", "all"}

func settle(m *Memory, c Charge, change float64) Charge {
	c.Change = change
	charges := []Charge{c}
	m.Settle(context.Background(), charges)
	return charges[0]
}

func takeCost(m *Memory, l *Limit, who string, cost float64) (Charge, bool) {
	c := charge(l, who)
	c.Cost = cost
	charges := []Charge{c}
	ok, _ := m.Take(context.Background(), charges)
	return charges[0], ok
}

// Edge case 3: a cost of nothing looks, takes nothing and leaves nothing behind; it passes also in debt.
func TestPeek(t *testing.T) {
	for _, by := range keepers {
		m, _ := newMemory(MemoryConfig{})
		l := limit(t, "x", "1/s", Config{Burst: 3, By: By{by}})
		if c, ok := takeCost(m, l, "a", 0); !ok || c.Level != 3 || m.Len() != 0 {
			t.Errorf("by %s: %v, level %v, %d buckets after a look at a new one", by, ok, c.Level, m.Len())
		}
		c, _ := takeCost(m, l, "a", 2)
		settle(m, c, -3)
		for range 2 {
			if c, ok := takeCost(m, l, "a", 0); !ok || c.Level != -2 || c.Wait != 0 {
				t.Errorf("by %s: %v, level %v, wait %v in debt", by, ok, c.Level, c.Wait)
			}
		}
	}
}

// At the cap a look is not counted as overflow.
func TestPeekAtTheCap(t *testing.T) {
	m, _ := newMemory(MemoryConfig{PerPolicy: 1})
	l := limit(t, "x", "1/h", Config{Burst: 3})
	takeOne(m, l, "a")
	if takeCost(m, l, "b", 0); m.Overflowed() != 0 || m.Len() != 1 {
		t.Errorf("%d overflowed, %d buckets", m.Overflowed(), m.Len())
	}
}

// Edge case 2: what costs more than a full bucket, or than what is not reserved of it, never passes; no wait helps.
func TestTakeAboveBurst(t *testing.T) {
	for _, by := range keepers {
		m, _ := newMemory(MemoryConfig{})
		l := limit(t, "x", "1/s", Config{Burst: 3, By: By{by}})
		if c, ok := takeCost(m, l, "a", 4); ok || c.Wait != Never || m.Len() != 0 {
			t.Errorf("by %s: %v, wait %v", by, ok, c.Wait)
		}
		c := charge(l, "a")
		c.Cost, c.Floor = 2, 2
		charges := []Charge{c}
		if ok, _ := m.Take(context.Background(), charges); ok || charges[0].Wait != Never {
			t.Errorf("by %s, reserved: %v, wait %v", by, ok, charges[0].Wait)
		}
		charges[0].Floor = 1
		if ok, _ := m.Take(context.Background(), charges); !ok || charges[0].Level != 1 {
			t.Errorf("by %s: %v, level %v above the floor", by, ok, charges[0].Level)
		}
		if ok, _ := m.Take(context.Background(), charges); ok || charges[0].Wait != 2*time.Second {
			t.Errorf("by %s: %v, wait %v to reach cost and floor", by, ok, charges[0].Wait)
		}
	}
}

// A plan that is denied leaves the bucket alone.
func TestDenied(t *testing.T) {
	m, _ := newMemory(MemoryConfig{})
	l := limit(t, "x", "1/h", Config{Burst: 5})
	takeOne(m, l, "a")
	deny := *l
	deny.rate, deny.burst = 0, 0
	for _, cost := range []float64{0, 1} {
		if c, ok := takeCost(m, &deny, "a", cost); ok || c.Wait != Never {
			t.Errorf("cost %v: %v, wait %v", cost, ok, c.Wait)
		}
	}
	if c, _ := takeOne(m, l, "a"); c.Level != 3 {
		t.Errorf("level %v, want 3", c.Level)
	}
}

// A debt is booked also when the bucket was full again and is gone, and never exceeds a burst.
func TestDebt(t *testing.T) {
	for _, by := range keepers {
		m, now := newMemory(MemoryConfig{})
		l := limit(t, "x", "1/s", Config{Burst: 3, By: By{by}})
		c, _ := takeOne(m, l, "a")
		now.advance(time.Hour)
		for i := range 20_000 { // the sweep comes by
			takeOne(m, limit(t, "other", "1/h", Config{}), fmt.Sprint(i))
		}
		if c = settle(m, c, -2); c.Level != 1 {
			t.Errorf("by %s: level %v, want 1", by, c.Level)
		}
		if c = settle(m, c, -1e18); c.Level != -3 {
			t.Errorf("by %s: level %v, want a burst of debt", by, c.Level)
		}
		c, ok := takeOne(m, l, "a")
		if ok || c.Wait != 4*time.Second {
			t.Errorf("by %s: %v, wait %v, want 4 s", by, ok, c.Wait)
		}
		if c = settle(m, c, 1); c.Level != -3 {
			t.Errorf("by %s: level %v: a refused request gave tokens back", by, c.Level)
		}
		now.advance(4 * time.Second)
		if _, ok := takeOne(m, l, "a"); !ok {
			t.Errorf("by %s: refused after the debt was paid", by)
		}
	}
}

// A gift to a bucket that is gone makes none.
func TestGiftToNobody(t *testing.T) {
	for _, by := range keepers {
		m, _ := newMemory(MemoryConfig{})
		c := charge(limit(t, "x", "1/s", Config{Burst: 3, By: By{by}}), "a")
		c.Admitted = true
		if settle(m, c, 2); m.Len() != 0 {
			t.Errorf("by %s: %d buckets", by, m.Len())
		}
		if c = settle(m, c, -2); m.Len() != 1 || c.Level != 1 {
			t.Errorf("by %s: %d buckets, level %v after a debt from elsewhere", by, m.Len(), c.Level)
		}
	}
}

// A store that stands in for a shared one hands out one token at first, then what would have come back since it began.
func TestBegin(t *testing.T) {
	for _, by := range keepers {
		m, now := newMemory(MemoryConfig{Begin: 1})
		l := limit(t, "x", "1/s", Config{Burst: 5, By: By{by}})
		first, _ := takeOne(m, l, "a")
		second, ok := takeOne(m, l, "a")
		if first.Level != 0 || ok || second.Wait != time.Second {
			t.Errorf("by %s: level %v, then %v, wait %v", by, first.Level, ok, second.Wait)
		}
		now.advance(2 * time.Second)
		if c, _ := takeOne(m, l, "b"); c.Level != 2 {
			t.Errorf("by %s: a newcomer after 2 s: level %v, want 2", by, c.Level)
		}
		if c, _ := takeOne(m, l, "a"); c.Level != 1 {
			t.Errorf("by %s: level %v, want 1", by, c.Level)
		}
		now.advance(time.Hour)
		if c, _ := takeOne(m, l, "c"); c.Level != 4 {
			t.Errorf("by %s: level %v an hour later, want 4", by, c.Level)
		}
	}
	m, _ := newMemory(MemoryConfig{Begin: 9})
	if c, _ := takeOne(m, limit(t, "x", "1/s", Config{Burst: 5}), "a"); c.Level != 4 {
		t.Errorf("level %v: more than the burst", c.Level)
	}
}
