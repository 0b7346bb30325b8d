package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// scripted is a shared store: a Memory that counts what it is asked and can be told to act in between.
type scripted struct {
	sync.Mutex
	Memory *Memory
	took   float64
	takes  int
	looks  int
	after  func() // runs after a take
	err    error
}

func (s *scripted) Take(ctx context.Context, charges []Charge) (bool, error) {
	if s.err != nil {
		return false, s.err
	}
	ok, _ := s.Memory.Take(ctx, charges)
	s.Lock()
	defer s.Unlock()
	cost := 0.0
	for i := range charges {
		if charges[i].Admitted {
			cost += charges[i].Cost
		}
	}
	if cost == 0 {
		s.looks++
		return ok, nil
	}
	s.takes++
	if ok {
		s.took += cost
	}
	if s.after != nil {
		s.after()
	}
	return ok, nil
}

func (s *scripted) Settle(ctx context.Context, charges []Charge) {
	s.Memory.Settle(ctx, charges)
	s.Lock()
	defer s.Unlock()
	for i := range charges {
		if charges[i].Admitted {
			s.took -= charges[i].Change
		}
	}
}

func sharedLimit(t testing.TB, name, rate string, cfg Config) *Limit {
	l := limit(t, name, rate, cfg)
	l.shared = true
	return l
}

type tiersCase struct {
	*Tiers
	local  *Memory
	shared *scripted
}

func newTiers() tiersCase {
	local, _ := newMemory(MemoryConfig{})
	fleet, _ := newMemory(MemoryConfig{})
	s := &scripted{Memory: fleet}
	return tiersCase{NewTiers(local, s), local, s}
}

func takeAll(s Store, limits ...*Limit) ([]Charge, bool, error) {
	var charges []Charge
	for _, l := range limits {
		charges = append(charges, charge(l, "a"))
	}
	ok, err := s.Take(context.Background(), charges)
	return charges, ok, err
}

func outcome(charges []Charge) (s string) {
	for _, c := range charges {
		s += fmt.Sprint(c.Limit.name, " ", c.Admitted, " ", c.Level, "; ")
	}
	return s
}

// Edge case 5: over both tiers all are charged or none, and each tells its outcome, whichever refused, in any order.
func TestTiersAllOrNothing(t *testing.T) {
	for _, reversed := range []bool{false, true} {
		x := newTiers()
		order := []*Limit{limit(t, "l", "1/h", Config{Burst: 3}), sharedLimit(t, "s", "1/h", Config{Burst: 2}), limit(t, "m", "1/h", Config{Burst: 9})}
		if reversed {
			order[0], order[1] = order[1], order[0]
		}
		of := func(name string, charges []Charge) Charge {
			for _, c := range charges {
				if c.Limit.name == name {
					return c
				}
			}
			return Charge{}
		}
		for i := range 2 {
			if c, ok, err := takeAll(x, order...); !ok || err != nil || of("s", c).Level != float64(1-i) || of("m", c).Level != float64(8-i) {
				t.Fatalf("request %d: %v, %s", i, ok, outcome(c))
			}
		}
		c, ok, _ := takeAll(x, order...) // the shared one refuses
		if s, l := of("s", c), of("l", c); ok || s.Admitted || s.Wait == 0 || !l.Admitted || l.Level != 1 || x.shared.took != 2 {
			t.Fatalf("shared refuses: %v, %s", ok, outcome(c))
		}
		takeAll(x, of("l", c).Limit) // now the local one is empty, too
		takes := x.shared.takes
		c, ok, _ = takeAll(x, order...)
		if l, m, s := of("l", c), of("m", c), of("s", c); ok || l.Admitted || l.Wait == 0 || !m.Admitted || m.Level != 7 || s.Level != 0 || s.Cost != 1 {
			t.Fatalf("local refuses: %v, %s", ok, outcome(c))
		}
		if x.shared.takes != takes || x.shared.took != 2 {
			t.Errorf("a request that memory refuses took %v from the shared store", x.shared.took-2)
		}
	}
}

// Another request may empty the local bucket between the look and the take: the shared tokens come back.
func TestTiersGiveBack(t *testing.T) {
	x := newTiers()
	l, s, extra := limit(t, "l", "1/h", Config{Burst: 1}), sharedLimit(t, "s", "1/h", Config{Burst: 5}), sharedLimit(t, "extra", "1/h", Config{Burst: 1, Mode: "shadow"})
	takeAll(x.shared.Memory, extra) // the shadow has nothing: it is not charged and gets nothing back
	x.shared.after = func() { takeAll(x.local, l) }
	c, ok, err := takeAll(x, extra, s, l)
	if ok || err != nil || c[2].Admitted || !c[1].Admitted || c[1].Level != 5 || c[1].Change != 0 {
		t.Fatalf("%v, %v, %s", ok, err, outcome(c))
	}
	x.shared.after = nil
	if x.shared.took != 0 {
		t.Errorf("%v shared tokens lost", x.shared.took)
	}
	if c, _, _ := takeAll(x.shared.Memory, s); c[0].Level != 4 {
		t.Errorf("level %v, want 4", c[0].Level)
	}
}

// Edge case 41: a shadow decides nothing in either tier.
func TestTiersShadow(t *testing.T) {
	x := newTiers()
	shadow, sharedShadow := limit(t, "a", "1/h", Config{Mode: "shadow"}), sharedLimit(t, "b", "1/h", Config{Mode: "shadow"})
	real := sharedLimit(t, "c", "1/h", Config{Burst: 3})
	for i := range 3 {
		c, ok, _ := takeAll(x, shadow, sharedShadow, real)
		if !ok || c[0].Admitted != (i == 0) || c[1].Admitted != (i == 0) || c[2].Level != float64(2-i) {
			t.Fatalf("request %d: %v, %s", i, ok, outcome(c))
		}
	}
}

// A store that can't decide takes nothing here; what is local only never asks it; without one everything is local.
func TestTiersWithoutStore(t *testing.T) {
	x := newTiers()
	x.shared.err = errors.New("down")
	l, s := limit(t, "l", "1/h", Config{Burst: 3}), sharedLimit(t, "s", "1/h", Config{Burst: 3})
	if _, ok, err := takeAll(x, s, l); ok || err == nil {
		t.Errorf("%v, %v", ok, err)
	}
	if c, ok, err := takeAll(x, l); !ok || err != nil || c[0].Level != 2 {
		t.Errorf("local: %v, %v, %s", ok, err, outcome(c))
	}
	takeAll(x, l)
	takeAll(x, l)
	if c, ok, err := takeAll(x, s, l); ok || err != nil || c[1].Admitted {
		t.Errorf("refused by memory: %v, %v, %s", ok, err, outcome(c))
	}
	alone := NewTiers(x.local, nil)
	c, ok, err := takeAll(alone, s)
	if !ok || err != nil || c[0].Level != 2 {
		t.Errorf("without a store: %v, %v, %s", ok, err, outcome(c))
	}
	if giveBack(alone, c); c[0].Level != 3 {
		t.Errorf("level %v after the return", c[0].Level)
	}
}

// Under the race detector: whatever is admitted, refused and settled at once, every token is accounted for in both tiers.
func TestTiersConserve(t *testing.T) {
	x := newTiers()
	l, s := limit(t, "l", "1/d", Config{Burst: 1000}), sharedLimit(t, "s", "1/d", Config{Burst: 1500})
	var wg sync.WaitGroup
	var mu sync.Mutex
	var spentLocal, spentShared float64
	for g := range 6 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 4))
			for range 800 {
				charges := []Charge{charge(s, "a"), charge(l, "a")}
				if r.IntN(3) == 0 {
					charges = charges[r.IntN(2):][:1]
				}
				ok, _ := x.Take(context.Background(), charges)
				if !ok {
					continue
				}
				back := float64(r.IntN(2))
				for i := range charges {
					charges[i].Change = back
				}
				x.Settle(context.Background(), charges)
				mu.Lock()
				for _, c := range charges {
					if c.Limit == l {
						spentLocal += 1 - back
					} else {
						spentShared += 1 - back
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	c, _, _ := takeAll(x.local, l)
	d, _, _ := takeAll(x.shared.Memory, s)
	left := func(c Charge) float64 {
		if c.Admitted {
			return c.Level + 1
		}
		return c.Level
	}
	if left(c[0]) != 1000-spentLocal || left(d[0]) != 1500-spentShared || x.shared.took != spentShared {
		t.Errorf("local: %v left of 1000, %v spent; shared: %v left of 1500, %v spent", left(c[0]), spentLocal, left(d[0]), spentShared)
	}
}

// Seats of both tiers: all or none, and released where they were taken.
func TestSeatTiers(t *testing.T) {
	local, fleet := NewMemorySeats(SeatsConfig{}), NewMemorySeats(SeatsConfig{})
	x := NewSeatTiers(local, fleet)
	l, s := slotLimit("l", 2), slotLimit("s", 1)
	s.shared = true
	first, ok := sit(x, []*Limit{s, l}, "a")
	second, ok2 := sit(x, []*Limit{l, s}, "a")
	if !ok || ok2 || second[1].Admitted || !second[0].Admitted || second[0].Seat != 0 || local.Len() != 1 {
		t.Fatalf("%v %v %+v", ok, ok2, second)
	}
	third, ok := sit(x, []*Limit{l}, "a")
	if !ok || third[0].Level != 0 {
		t.Fatalf("the refused request holds a seat: %+v", third)
	}
	if c, ok := sit(x, []*Limit{l, s}, "a"); ok || c[0].Admitted {
		t.Errorf("%v %+v", ok, c)
	}
	for _, c := range [][]Charge{first, first, third, second} {
		x.Release(c)
	}
	if local.Len() != 0 || fleet.Len() != 0 {
		t.Errorf("%d and %d keys hold seats", local.Len(), fleet.Len())
	}
	if _, ok := sit(NewSeatTiers(local, nil), []*Limit{s}, "a"); !ok || local.Len() != 1 {
		t.Error("without shared seats the limit is not counted")
	}
}

func TestNoAllocationsForTiers(t *testing.T) {
	if raceEnabled {
		t.Skip("pools allocate under the race detector")
	}
	fleet := NewMemory(MemoryConfig{})
	x := NewTiers(NewMemory(MemoryConfig{}), fleet)
	charges := []Charge{charge(limit(t, "l", "100000000/s", Config{}), "a"), charge(sharedLimit(t, "s", "100000000/s", Config{}), "a")}
	if n := testing.AllocsPerRun(200, func() { x.Take(context.Background(), charges) }); n > 0 {
		t.Errorf("mixed: %v allocations", n)
	}
	if n := testing.AllocsPerRun(200, func() { x.Take(context.Background(), charges[:1]) }); n > 0 {
		t.Errorf("local: %v allocations", n)
	}
}
