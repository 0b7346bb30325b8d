package ratelimit

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// plan is a limit of the same name and key with other numbers.
func plan(l *Limit, rate, burst float64) *Limit {
	p := *l
	p.rate, p.burst = rate, burst
	return &p
}

func policyCount(m *Memory) int { return m.policies.Load().count() }

// countsAgree compares what the policies count with what the tables hold.
func countsAgree(t *testing.T, m *Memory) {
	t.Helper()
	m.lockAll()
	defer m.unlockAll()
	held := map[*policy]int64{}
	list, all := m.policies.Load().list, int64(0)
	for i := range m.shards {
		s := &m.shards[i]
		for _, b := range s.slots {
			if b.key != 0 {
				held[list[b.policy]]++
				all++
			}
		}
		for _, g := range s.limiters {
			held[g.policy]++
			all++
		}
	}
	families := map[*family]int64{}
	for id, p := range list {
		if p == nil {
			continue
		}
		families[p.family] += held[p]
		if n := p.entries.Load(); n != held[p] || p.id != uint32(id) {
			t.Errorf("policy %d (%s): %d entries counted, %d held", id, p.limit.name, n, held[p])
		}
	}
	for f, n := range families {
		if f.entries.Load() != n {
			t.Errorf("a limit counts %d entries, holds %d", f.entries.Load(), n)
		}
	}
	if m.total.Load() != all {
		t.Errorf("%d buckets counted, %d held", m.total.Load(), all)
	}
}

// A change of plan keeps the level, cut to the new burst, and refills at the old rate until then.
func TestPlanKeepsLevel(t *testing.T) {
	for _, by := range keepers {
		m, now := newMemory(MemoryConfig{})
		free := limit(t, "x", "1/s", Config{Burst: 10, By: By{by}})
		gold := plan(free, 100, 1000)
		steps := []struct {
			l     *Limit
			pause time.Duration
			level float64
		}{
			{gold, 0, 999}, {free, 0, 9}, {gold, 0, 8}, {gold, time.Second, 107}, {free, time.Second, 9},
			{gold, time.Second, 9}, {gold, 10 * time.Second, 999}, {free, 0, 9},
		}
		for i, s := range steps {
			now.advance(s.pause)
			if c, ok := takeOne(m, s.l, "a"); !ok || c.Level != s.level {
				t.Errorf("by %s, step %d: %v, level %v, want %v", by, i, ok, c.Level, s.level)
			}
		}
		if m.Len() != 1 {
			t.Errorf("by %s: %d buckets of one client", by, m.Len())
		}
		countsAgree(t, m)
	}
}

// A smaller plan cuts a debt to its own burst.
func TestSmallerPlanCutsDebt(t *testing.T) {
	for _, by := range keepers {
		m, _ := newMemory(MemoryConfig{})
		big := limit(t, "x", "1/s", Config{Burst: 20, By: By{by}})
		c, _ := takeOne(m, big, "a")
		settle(m, c, -34)
		if c, _ := takeCost(m, plan(big, 1, 3), "a", 0); c.Level != -3 {
			t.Errorf("by %s: level %v, want -3", by, c.Level)
		}
	}
}

// Edge case 9: plans that alternate while the clock jumps mint nothing.
func TestPlansWhenTheClockGoesBack(t *testing.T) {
	for _, by := range keepers {
		m, now := newMemory(MemoryConfig{})
		l := limit(t, "x", "10/s", Config{Burst: 10, By: By{by}})
		variants, admitted := []*Limit{l, plan(l, 10, 11)}, 0
		for i := range 5000 {
			if i >= 10 {
				now.ns = int64(i%2) * int64(time.Second)
			}
			if _, ok := takeOne(m, variants[i/3%2], "a"); ok {
				admitted++
			}
		}
		if admitted != 20 {
			t.Errorf("by %s: %d admitted, want 20", by, admitted)
		}
	}
}

// A refused request moves the bucket on too: else a better plan would never begin to help.
func TestBetterPlanAfterRefusal(t *testing.T) {
	for _, by := range keepers {
		m, now := newMemory(MemoryConfig{})
		poor := limit(t, "x", "1/h", Config{Burst: 1, By: By{by}})
		rich := plan(poor, 10, 10)
		takeOne(m, poor, "a")
		if c, ok := takeOne(m, rich, "a"); ok || c.Wait != 100*time.Millisecond {
			t.Errorf("by %s: %v, wait %v", by, ok, c.Wait)
		}
		now.advance(100 * time.Millisecond)
		if _, ok := takeOne(m, rich, "a"); !ok {
			t.Errorf("by %s: refused after it waited as told", by)
		}
	}
}

// Edge case 29: the sweep judges every bucket by the plan that it was last used with.
func TestSweepKnowsThePlan(t *testing.T) {
	m, now := newMemory(MemoryConfig{})
	fast := limit(t, "x", "1000/s", Config{Burst: 1})
	slow := plan(fast, 1.0/3600, 1)
	for i := range 5000 {
		takeOne(m, fast, fmt.Sprint("fast", i))
		if i < 500 {
			takeOne(m, slow, fmt.Sprint("slow", i))
		}
	}
	for i := range 50_000 {
		now.advance(time.Millisecond)
		takeOne(m, fast, fmt.Sprint("other", i))
	}
	if n := m.Len(); n < 500 || n > 2000 {
		t.Errorf("%d buckets, want the 500 slow ones and few others", n)
	}
	for i := range 500 {
		if _, ok := takeOne(m, slow, fmt.Sprint("slow", i)); ok {
			t.Fatalf("slow client %d was forgotten", i)
		}
	}
	countsAgree(t, m)
}

// Edge cases 19 and 40: 500 reloads that edit rates and names leave no more policies than are in use, and forget no debt.
func TestReloadsKeepPoliciesFlat(t *testing.T) {
	m, now := newMemory(MemoryConfig{})
	debtor := limit(t, "quiet", "1/h", Config{Burst: 1})
	takeOne(m, debtor, "debtor")
	var half uint64
	for version := range 500 {
		for n := range 10 {
			l := limit(t, fmt.Sprint("l", n), fmt.Sprint(1+version, "/s"), Config{Burst: 5, By: By{keepers[n%2]}})
			for _, v := range []*Limit{l, plan(l, 50+float64(version), 100)} {
				takeOne(m, v, "old client")
				takeOne(m, v, fmt.Sprint("new client", version))
			}
			takeOne(m, limit(t, fmt.Sprint("renamed", version, n), "1/s", Config{}), "a")
		}
		now.advance(time.Second)
		if n := policyCount(m); n > 1000 {
			t.Fatalf("%d policies after %d reloads", n, version+1)
		}
		if version == 250 {
			half = heap()
		}
	}
	if grown := int64(heap() - half); grown > 200_000 && !raceEnabled {
		t.Errorf("the heap grew by %d bytes during the last 250 reloads", grown)
	}
	if _, ok := takeOne(m, debtor, "debtor"); ok {
		t.Error("a debt was forgotten")
	}
	countsAgree(t, m)
}

// Settings of one limit that only debtors remember have a bound of their own: their buckets move on to the newest.
func TestOldSettingsMoveOn(t *testing.T) {
	m, _ := newMemory(MemoryConfig{})
	for version := range 2000 {
		l := limit(t, "x", fmt.Sprint(1+version, "/d"), Config{Burst: 2})
		for range 2 {
			takeOne(m, l, fmt.Sprint("c", version))
		}
		for range 30 {
			takeCost(m, l, "someone", 1)
		}
	}
	newest := limit(t, "x", "2000/d", Config{Burst: 2})
	for i := range 20_000 {
		takeOne(m, newest, fmt.Sprint("more", i))
	}
	if n := len(m.policies.Load().byName["x"]); n > variantsKept {
		t.Errorf("%d settings of one limit", n)
	}
	if n := policyCount(m); n > 2*(variantsKept+policiesAtEase) {
		t.Errorf("%d policies", n)
	}
	for version := range 2000 {
		if _, ok := takeOne(m, newest, fmt.Sprint("c", version)); ok {
			t.Fatalf("client %d: its debt was forgotten", version)
		}
	}
	countsAgree(t, m)
}

// Under the race detector: requests, settlements and reloads at the same time lose no count.
func TestReloadsWhileInUse(t *testing.T) {
	m := NewMemory(MemoryConfig{PerPolicy: 300, Total: 1000})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 2))
			for i := range 3000 {
				l := limit(t, fmt.Sprint("l", r.IntN(20)), fmt.Sprint(1+i/10, "/s"), Config{Burst: 1 + r.IntN(5), By: By{keepers[r.IntN(2)]}})
				charges := []Charge{charge(l, fmt.Sprint(r.IntN(400))), charge(windowLimit("w", 5, r.IntN(2) == 0), fmt.Sprint(r.IntN(400)))}
				if ok, _ := m.Take(context.Background(), charges); ok {
					charges[0].Change, charges[1].Change = float64(r.IntN(3)-1), float64(r.IntN(3)-1)
					m.Settle(context.Background(), charges)
				}
			}
		})
	}
	wg.Wait()
	countsAgree(t, m)
}
