package balance

import (
	"math"
	"slices"
	"sync/atomic"
	"testing"
)

const keys = 50_000

// owners tells where keys go.
func owners(s *Set, v *View) []string {
	list := make([]string, keys)
	for i := range list {
		list[i] = s.seats[s.Pick(v, &Tried{}, mix(uint64(i)+7), 0)].ID
	}
	return list
}

func moved(a, b []string) (n int) {
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

// Who leaves takes only its own keys along, who joins takes only what becomes its own, with weights, too.
func TestHashMovesOnlyWhatItMust(t *testing.T) {
	for name, weights := range map[string][]int{"alike": {1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, "weighted": {1, 2, 3, 4, 1, 2, 3, 4, 1, 2}} {
		list := seats(weights...)
		s, v := rig(Hash, list)
		before := owners(s, v)
		total := 0
		for _, w := range weights {
			total += w
		}
		for i := range list {
			rest := slices.Delete(slices.Clone(list), i, i+1)
			fewer, fv := rig(Hash, rest)
			after := owners(fewer, fv)
			for k := range before {
				if before[k] != after[k] && before[k] != list[i].ID {
					t.Fatalf("%s: without %s a key of %s moved", name, list[i].ID, before[k])
				}
			}
			if part := float64(moved(before, after)) / keys; part > 1.25*float64(weights[i])/float64(total) {
				t.Errorf("%s: %.3f of the keys moved when one of ten left", name, part)
			}
		}
	}
}

// The order of the targets does not matter, nor which gateway asks.
func TestHashIsTheSameEverywhere(t *testing.T) {
	list := seats(1, 1, 1, 1, 1)
	s, v := rig(Hash, list)
	other := slices.Clone(list)
	slices.Reverse(other)
	o, ov := rig(Hash, other)
	if n := moved(owners(s, v), owners(o, ov)); n != 0 {
		t.Errorf("%d keys go elsewhere when the targets stand in another order", n)
	}
	if Key("acme") != Key([]byte("acme")) || Key("acme") == Key("acmf") {
		t.Error("keys of texts")
	}
}

// An ejected target's keys go to all others, and come back.
func TestHashGoesAroundUnusableTargets(t *testing.T) {
	list := seats(1, 1, 1, 1, 1)
	s, v := rig(Hash, list)
	before, during := owners(s, v), owners(s, s.Look(without(5, 2)))
	share := map[string]int{}
	for k := range before {
		switch {
		case before[k] == list[2].ID:
			share[during[k]]++
		case before[k] != during[k]:
			t.Fatal("a key of another target moved")
		}
	}
	if len(share) != 4 {
		t.Errorf("the keys went to %v", share)
	}
	for id, n := range share {
		if n < keys/5/4*8/10 || n > keys/5/4*12/10 {
			t.Errorf("%s took %d of %d", id, n, keys/5)
		}
	}
	if moved(before, owners(s, s.Look(all(5)))) != 0 {
		t.Error("keys did not come back")
	}
}

func TestHashBoundsTheLoad(t *testing.T) {
	list := seats(1, 1, 1, 1)
	var total atomic.Int64
	s := New(Hash, list, &total)
	v := s.Look(all(4))
	for range 400 { // one key, over and over
		list[s.Pick(v, &Tried{}, 12345, 0)].Load.Begin()
		total.Add(1)
	}
	for i := range list {
		if n := list[i].Load.InFlight(); n > int64(math.Ceil(headroom*401/4)) {
			t.Errorf("target %d has %d of 400 calls", i, n)
		}
	}
}

func TestHashSpreadsEvenly(t *testing.T) {
	for _, n := range []int{2, 10, 100} {
		weights := make([]int, n)
		for i := range weights {
			weights[i] = 1
		}
		s, _ := rig(Hash, seats(weights...))
		slots := make([]int, n)
		for _, i := range s.table {
			slots[i]++
		}
		mean := float64(len(s.table)) / float64(n)
		for i, got := range slots {
			if off := math.Abs(float64(got)-mean) / math.Sqrt(mean); off > 4 {
				t.Errorf("%d targets: number %d has %d slots of %.0f", n, i, got, mean)
			}
		}
	}
}
