package ratelimit

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestBurstThenRefill(t *testing.T) {
	m, now := newMemory(MemoryConfig{})
	l := limit(t, "x", "10/s", Config{Burst: 5})
	for i := range 5 {
		if c, ok := takeOne(m, l, "a"); !ok || c.Level != float64(4-i) {
			t.Fatalf("request %d: %v, level %v", i, ok, c.Level)
		}
	}
	c, ok := takeOne(m, l, "a")
	if ok || c.Level != 0 || c.Wait != 100*time.Millisecond {
		t.Fatalf("past the burst: %v, level %v, wait %v", ok, c.Level, c.Wait)
	}
	if _, ok := takeOne(m, l, "b"); !ok {
		t.Fatal("another client is refused")
	}
	now.advance(c.Wait - 1000)
	if _, ok := takeOne(m, l, "a"); ok {
		t.Fatal("admitted before its wait was over")
	}
	now.advance(1000)
	if _, ok := takeOne(m, l, "a"); !ok {
		t.Fatal("refused after it waited as told")
	}
	now.advance(time.Hour)
	if c, _ := takeOne(m, l, "a"); c.Level != 4 {
		t.Fatalf("after an hour: level %v, want the burst less one", c.Level)
	}
}

// Edge case 4: who keeps trying is not punished for it.
func TestRefusedTakesNothing(t *testing.T) {
	m, now := newMemory(MemoryConfig{})
	l := limit(t, "x", "1/s", Config{Burst: 1})
	takeOne(m, l, "a")
	for range 999 {
		now.advance(time.Millisecond)
		if _, ok := takeOne(m, l, "a"); ok {
			t.Fatal("admitted too early")
		}
	}
	now.advance(time.Millisecond)
	if _, ok := takeOne(m, l, "a"); !ok {
		t.Fatal("refused requests were charged")
	}
}

// Edge case 5: several limits are charged together or not at all, also when they share a shard.
func TestAllOrNothing(t *testing.T) {
	m, _ := newMemory(MemoryConfig{})
	wide, narrow := limit(t, "wide", "1/s", Config{Burst: 10}), limit(t, "narrow", "1/s", Config{Burst: 3})
	allowed := 0
	for i := range 2000 { // many pairs of shards, equal ones among them
		who := fmt.Sprint(i)
		for range 5 {
			charges := []Charge{charge(wide, who), charge(narrow, who)}
			ok, err := m.Take(context.Background(), charges)
			if err != nil || ok != charges[1].Admitted || !charges[0].Admitted {
				t.Fatalf("take: %v %v %+v", ok, err, charges)
			}
			if ok {
				allowed++
			}
		}
		if c, _ := takeOne(m, wide, who); c.Level != 6 {
			t.Fatalf("wide limit holds %v after 3 allowed, 2 refused and 1 of its own, want 6", c.Level)
		}
	}
	if allowed != 6000 {
		t.Errorf("%d allowed, want 6000", allowed)
	}
}

// Edge case 41: a shadow neither refuses nor is charged for what others refuse.
func TestShadow(t *testing.T) {
	m, _ := newMemory(MemoryConfig{})
	shadow, real := limit(t, "shadow", "1/s", Config{Burst: 2, Mode: "shadow"}), limit(t, "real", "1/s", Config{Burst: 4})
	var got []string
	for range 5 {
		charges := []Charge{charge(shadow, "a"), charge(real, "a")}
		ok, _ := m.Take(context.Background(), charges)
		got = append(got, fmt.Sprint(ok, charges[0].Admitted, charges[0].Level, charges[1].Level))
	}
	want := "[true true 1 3 true true 0 2 true false 0 1 true false 0 0 false false 0 0]"
	if fmt.Sprint(got) != want {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestReturn(t *testing.T) {
	m, now := newMemory(MemoryConfig{})
	l := limit(t, "x", "1/s", Config{Burst: 3, Cost: Cost{Base: 2}})
	charges := []Charge{charge(l, "a")}
	m.Take(context.Background(), charges)
	giveBack(m, charges)
	if charges[0].Level != 3 {
		t.Errorf("level %v after the return, want 3", charges[0].Level)
	}
	m.Take(context.Background(), charges)
	now.advance(1500 * time.Millisecond)
	if giveBack(m, charges); charges[0].Level != 3 {
		t.Errorf("level %v, want no more than the burst", charges[0].Level)
	}
	m.Take(context.Background(), charges)
	m.Take(context.Background(), charges) // refused
	if giveBack(m, charges); charges[0].Level != 1 {
		t.Errorf("level %v: a refused request returned tokens", charges[0].Level)
	}
}

// Edge case 19: settings travel with the call; the level stays, clamped to the new burst.
func TestReloadKeepsLevel(t *testing.T) {
	m, now := newMemory(MemoryConfig{})
	takeN := func(l *Limit, n int) (c Charge) {
		for range n {
			c, _ = takeOne(m, l, "a")
		}
		return c
	}
	takeN(limit(t, "x", "1/s", Config{Burst: 10}), 4)
	if c := takeN(limit(t, "x", "2/s", Config{Burst: 20}), 1); c.Level != 5 {
		t.Errorf("a larger burst: level %v, want 5: the bucket must not start anew", c.Level)
	}
	if c := takeN(limit(t, "x", "1/s", Config{Burst: 3}), 1); c.Level != 2 {
		t.Errorf("a smaller burst: level %v, want 2", c.Level)
	}
	now.advance(500 * time.Millisecond)
	if c := takeN(limit(t, "x", "2/s", Config{Burst: 3}), 1); c.Level != 1.5 {
		t.Errorf("another rate: level %v, want 1.5: half a second came back at the old one", c.Level)
	}
	now.advance(500 * time.Millisecond)
	if c := takeN(limit(t, "x", "2/s", Config{Burst: 3}), 1); c.Level != 1.5 {
		t.Errorf("level %v, want 1.5: the new rate holds from then on", c.Level)
	}
}

// The time is read under the lock: what is written is never older than what was read.
func TestTimeIsReadUnderTheLock(t *testing.T) {
	m, _ := newMemory(MemoryConfig{})
	l := limit(t, "x", "1/s", Config{})
	m.now = func() int64 {
		free := 0
		for i := range m.shards {
			if m.shards[i].TryLock() {
				free++
				m.shards[i].Unlock()
			}
		}
		if free != shards-1 {
			t.Errorf("%d shards are free, want all but one", free)
		}
		return 0
	}
	takeOne(m, l, "a")
}

// Edge case 29: full buckets are freed in passing, buckets in debt stay whatever comes.
func TestSweepFreesOnlyFullBuckets(t *testing.T) {
	m, now := newMemory(MemoryConfig{})
	slow, fast := limit(t, "slow", "1/h", Config{Burst: 1}), limit(t, "fast", "1000/s", Config{Burst: 1})
	for i := range 2000 {
		takeOne(m, slow, fmt.Sprint(i))
	}
	for i := range 200_000 {
		now.advance(time.Millisecond)
		takeOne(m, fast, fmt.Sprint(i))
	}
	if n := m.Len(); n < 2000 || n > 6000 {
		t.Errorf("%d buckets, want the 2000 in debt and few others", n)
	}
	for i := range 2000 {
		if _, ok := takeOne(m, slow, fmt.Sprint(i)); ok {
			t.Fatalf("client %d: its debt was forgotten", i)
		}
	}
	now.advance(2 * time.Hour)
	for i := range 100_000 {
		takeOne(m, fast, fmt.Sprint(i%1000))
		now.advance(time.Millisecond)
	}
	if n, slots := m.Len(), slotsOf(m); n > 1000 || slots > 20000 {
		t.Errorf("%d buckets in %d slots after all had filled", n, slots)
	}
}

func slotsOf(m *Memory) (n int) {
	for i := range m.shards {
		n += len(m.shards[i].slots)
	}
	return n
}

// Edge case 28: at the cap strangers share overflow buckets; nobody's debt is dropped and the total is bounded.
func TestCapAndOverflow(t *testing.T) {
	m, now := newMemory(MemoryConfig{PerPolicy: 1000})
	l, other := limit(t, "x", "1/h", Config{Burst: 2}), limit(t, "other", "1/h", Config{Burst: 1})
	for i := range 1000 {
		takeOne(m, l, fmt.Sprint(i))
		takeOne(m, l, fmt.Sprint(i))
	}
	if m.Overflowed() != 0 || m.Len() != 1000 {
		t.Fatalf("%d overflowed, %d buckets before the cap", m.Overflowed(), m.Len())
	}
	admitted := 0
	for i := range 100_000 {
		if _, ok := takeOne(m, l, fmt.Sprint("stranger", i)); ok {
			admitted++
		}
	}
	if admitted > 2*overflowSlots || admitted < overflowSlots {
		t.Errorf("%d strangers admitted, want about %d", admitted, 2*overflowSlots)
	}
	if m.Overflowed() != 100_000 || m.Len() > 1000+overflowSlots {
		t.Errorf("%d overflowed, %d buckets", m.Overflowed(), m.Len())
	}
	if _, ok := takeOne(m, l, "7"); ok {
		t.Error("a client in debt was forgotten")
	}
	if takeOne(m, other, "a"); m.Overflowed() != 100_000 {
		t.Error("one limit's flood took the room of another")
	}
	now.advance(3 * time.Hour)
	for i := range 20_000 {
		takeOne(m, l, fmt.Sprint("later", i%10))
	}
	if n := m.Overflowed(); n > 101_000 {
		t.Errorf("%d overflowed: room that became free is not used", n)
	}
}

func TestTotalCap(t *testing.T) {
	m, _ := newMemory(MemoryConfig{Total: 500})
	for i := range 1000 {
		takeOne(m, limit(t, fmt.Sprint("l", i%4), "1/h", Config{Burst: 1}), fmt.Sprint(i))
	}
	if m.Overflowed() != 500 {
		t.Errorf("%d overflowed, want 500", m.Overflowed())
	}
}

func TestReturnToOverflow(t *testing.T) {
	m, _ := newMemory(MemoryConfig{PerPolicy: 1})
	l := limit(t, "x", "1/h", Config{Burst: 5})
	takeOne(m, l, "a")
	charges := []Charge{charge(l, "b")}
	m.Take(context.Background(), charges)
	if giveBack(m, charges); charges[0].Level != 5 || m.Overflowed() != 1 {
		t.Errorf("level %v, want the token back in the overflow bucket", charges[0].Level)
	}
}

// Under contention no more than burst + rate*t pass, and no two requests lock each other out.
func TestConcurrentBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time stands still while the workers run
		m := NewMemory(MemoryConfig{})
		limits := []*Limit{limit(t, "a", "100/s", Config{Burst: 50}), limit(t, "b", "1000/s", Config{Burst: 1000}), limit(t, "c", "1000/s", Config{Burst: 1000})}
		admitted := [4]atomic.Int64{}
		flood := func() {
			var wg sync.WaitGroup
			for g := range 8 {
				wg.Go(func() {
					r := rand.New(rand.NewPCG(uint64(g), 1))
					for range 500 {
						who := r.IntN(len(admitted))
						order := r.Perm(len(limits))
						charges := make([]Charge, len(limits))
						for i, o := range order {
							charges[i] = charge(limits[o], fmt.Sprint(who))
						}
						if ok, _ := m.Take(context.Background(), charges); ok {
							admitted[who].Add(1)
						}
					}
				})
			}
			wg.Wait()
		}
		flood()
		time.Sleep(300 * time.Millisecond)
		flood()
		for who := range admitted {
			if n := admitted[who].Load(); n != 50+30 {
				t.Errorf("client %d: %d admitted, want burst 50 + 100/s * 300ms", who, n)
			}
		}
	})
}

// Edge case 9: a clock that jumps back and forth a second admits the burst and a second's tokens, whoever keeps the bucket.
// golang.org/x/time/rate alone admits all 20000.
func TestClockGoesBack(t *testing.T) {
	for _, by := range []string{"client", "all", "route"} {
		m, now := newMemory(MemoryConfig{})
		l := limit(t, "x", "10/s", Config{Burst: 10, By: By{by}})
		admitted := 0
		for i := range 20_000 {
			if i >= 10 { // the burst is gone by then
				now.ns = int64(i%2) * int64(time.Second)
			}
			if _, ok := takeOne(m, l, "a"); ok {
				admitted++
			}
		}
		if admitted != 20 {
			t.Errorf("by %s: %d admitted, want 20", by, admitted)
		}
	}
}
