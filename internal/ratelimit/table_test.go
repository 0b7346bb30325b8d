package ratelimit

import (
	"math/rand/v2"
	"testing"
)

// The table must behave as a map does, through growth, removal in chains and shrinking.
func TestTableAgainstMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		var tab table
		model := map[uint64]float64{}
		key := func() uint64 { // few distinct homes: long chains, also around the end
			return uint64(r.IntN(4))<<62 | ^uint64(0)>>uint(2+r.IntN(3)) - uint64(r.IntN(300))
		}
		for range 3000 {
			k := key()
			switch b := tab.find(k); {
			case b == nil:
				if _, there := model[k]; there {
					t.Fatalf("key %x lost", k)
				}
				v := r.Float64()
				tab.insert(bucket{key: k, level: v})
				model[k] = v
			case b.level != model[k]:
				t.Fatalf("key %x: %v, want %v", k, b.level, model[k])
			}
			if r.IntN(2) == 0 {
				i := r.IntN(len(tab.slots))
				if gone := tab.slots[i].key; gone != 0 {
					delete(model, gone)
					tab.remove(i)
				}
				tab.shrink()
			}
		}
		if tab.used != len(model) {
			t.Fatalf("%d used, want %d", tab.used, len(model))
		}
		for k, v := range model {
			if b := tab.find(k); b == nil || b.level != v {
				t.Fatalf("key %x: %v, want %v", k, b, v)
			}
		}
	}
}

func TestTableShrinks(t *testing.T) {
	var tab table
	for k := range uint64(10000) {
		tab.insert(bucket{key: (k + 1) * 0x9e3779b97f4a7c15})
	}
	grown := len(tab.slots)
	for i := 0; tab.used > 10; {
		if tab.slots[i].key != 0 {
			tab.remove(i)
		} else {
			i++
		}
	}
	for range 20 {
		tab.shrink()
	}
	if len(tab.slots) > 4*minSlots || grown < 10000 {
		t.Errorf("%d slots for 10 buckets, %d before", len(tab.slots), grown)
	}
	for i := range tab.slots {
		if k := tab.slots[i].key; k != 0 && tab.find(k) == nil {
			t.Errorf("key %x lost", k)
		}
	}
}
