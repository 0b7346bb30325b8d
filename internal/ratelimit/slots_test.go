package ratelimit

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

func slotLimit(name string, n float64) *Limit {
	return &Limit{name: name, kind: Slots, burst: n, cost: 1}
}

func sit(s Seats, limits []*Limit, who string) ([]Charge, bool) {
	var charges []Charge
	for _, l := range limits {
		charges = append(charges, charge(l, who))
	}
	ok, _ := s.Acquire(context.Background(), charges)
	return charges, ok
}

// Edge case 34: seats are all or none, come back once each, and leave nothing behind.
func TestSeats(t *testing.T) {
	m := NewMemorySeats(SeatsConfig{})
	both, wide := []*Limit{slotLimit("narrow", 2), slotLimit("wide", 3)}, []*Limit{slotLimit("wide", 3)}
	first, ok := sit(m, both, "a")
	second, ok2 := sit(m, both, "a")
	if !ok || !ok2 || first[0].Level != 1 || second[1].Level != 1 || first[0].Seat == second[0].Seat {
		t.Fatalf("%v %v %+v", ok, ok2, second)
	}
	refused, ok := sit(m, both, "a")
	if ok || refused[0].Admitted || refused[0].Wait <= 0 || !refused[1].Admitted || refused[1].Level != 1 || refused[1].Seat != 0 {
		t.Fatalf("past the limit: %v %+v", ok, refused)
	}
	m.Release(refused)
	third, ok := sit(m, wide, "a")
	if !ok || third[0].Level != 0 {
		t.Fatalf("the refused request holds a seat: %v %+v", ok, third)
	}
	if _, ok := sit(m, both, "b"); !ok {
		t.Error("another client is refused")
	}
	m.Release(first)
	m.Release(first) // idempotent
	if c, ok := sit(m, both, "a"); !ok || c[0].Level != 0 {
		t.Errorf("after a release: %v %+v", ok, c)
	}
	if _, ok := sit(m, both, "a"); ok {
		t.Error("a seat was given twice")
	}
}

// A look takes no seat; a floor keeps seats for others; no seat at all is Never; a smaller limit waits for seats to be freed.
func TestSeatsOutcomes(t *testing.T) {
	m := NewMemorySeats(SeatsConfig{})
	l := slotLimit("x", 2)
	charges := []Charge{charge(l, "a")}
	charges[0].Cost = 0
	if ok, _ := m.Acquire(context.Background(), charges); !ok || m.Len() != 0 || charges[0].Level != 2 {
		t.Errorf("a look: %v %+v", ok, charges)
	}
	charges[0].Cost, charges[0].Floor = 1, 1
	held := []Charge{charges[0]}
	ok, _ := m.Acquire(context.Background(), held)
	again, _ := m.Acquire(context.Background(), charges)
	if !ok || again {
		t.Errorf("above the floor %v, below %v", ok, again)
	}
	if charges[0].Floor = 2; true {
		if ok, _ := m.Acquire(context.Background(), charges); ok || charges[0].Wait != Never {
			t.Errorf("all are reserved: %v, wait %v", ok, charges[0].Wait)
		}
	}
	if c, ok := sit(m, []*Limit{slotLimit("x", 1)}, "a"); ok || c[0].Level != 0 {
		t.Errorf("edited down: %v %+v", ok, c)
	}
	m.Release(held)
	if c, ok := sit(m, []*Limit{slotLimit("x", 1)}, "a"); !ok || c[0].Level != 0 {
		t.Errorf("after that: %v %+v", ok, c)
	}
}

// Edge case 41: a shadow tells what it would do and does nothing.
func TestShadowSeats(t *testing.T) {
	m := NewMemorySeats(SeatsConfig{})
	shadow, real := slotLimit("shadow", 1), slotLimit("real", 3)
	shadow.shadow = true
	var got []string
	var held [][]Charge
	for range 4 {
		c, ok := sit(m, []*Limit{shadow, real}, "a")
		got = append(got, fmt.Sprint(ok, c[0].Admitted, c[1].Level))
		held = append(held, c)
	}
	if want := "[true true 2 true false 1 true false 0 false false 0]"; fmt.Sprint(got) != want {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	for _, c := range held {
		m.Release(c)
	}
	if m.Len() != 0 {
		t.Errorf("%d keys hold seats", m.Len())
	}
}

// Edge case 28: at the cap strangers share counts; whoever has seats keeps them.
func TestSeatsAtTheCap(t *testing.T) {
	m := NewMemorySeats(SeatsConfig{Keys: 100})
	l := []*Limit{slotLimit("x", 2)}
	var held [][]Charge
	for i := range 50_000 {
		if c, ok := sit(m, l, fmt.Sprint(i)); ok {
			held = append(held, c)
		}
	}
	if n := m.Len(); n > 100+overflowSlots || len(held) > 100+2*overflowSlots || len(held) < 100+overflowSlots {
		t.Errorf("%d keys, %d seats", n, len(held))
	}
	if m.Overflowed() != 50_000-100 {
		t.Errorf("%d overflowed", m.Overflowed())
	}
	if c, ok := sit(m, l, "7"); !ok || c[0].Level != 0 {
		t.Errorf("who was there first: %v %+v", ok, c)
	} else {
		m.Release(c)
	}
	for _, c := range held {
		m.Release(c)
	}
	slots := 0
	for i := range m.shards {
		slots += len(m.shards[i].slots)
	}
	if m.Len() != 0 || slots > shards*4*minSlots {
		t.Errorf("%d keys, %d slots after all have gone", m.Len(), slots)
	}
}

// Under the race detector: never more than the limit at once, and all seats come back.
func TestSeatsConcurrently(t *testing.T) {
	m := NewMemorySeats(SeatsConfig{})
	limits := []*Limit{slotLimit("a", 3), slotLimit("b", 2)}
	var busy [4]atomic.Int32
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 3))
			for range 2000 {
				who := r.IntN(len(busy))
				order := []*Limit{limits[who%2], limits[1-who%2]}
				c, ok := sit(m, order, fmt.Sprint(who))
				if !ok {
					continue
				}
				if n := busy[who].Add(1); n > 2 {
					t.Errorf("%d at once", n)
				}
				runtime.Gosched()
				busy[who].Add(-1)
				m.Release(c)
			}
		})
	}
	wg.Wait()
	if m.Len() != 0 {
		t.Errorf("%d keys hold seats", m.Len())
	}
}

func TestNoAllocationsForSeats(t *testing.T) {
	m := NewMemorySeats(SeatsConfig{})
	charges := []Charge{charge(slotLimit("a", 3), "a"), charge(slotLimit("b", 2), "a")}
	if n := testing.AllocsPerRun(200, func() {
		m.Acquire(context.Background(), charges)
		m.Release(charges)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSeats(b *testing.B) {
	m := NewMemorySeats(SeatsConfig{})
	charges := []Charge{charge(slotLimit("a", 3), "a")}
	b.ReportAllocs()
	for b.Loop() {
		m.Acquire(context.Background(), charges)
		m.Release(charges)
	}
}
