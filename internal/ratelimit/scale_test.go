package ratelimit

import (
	"context"
	"encoding/binary"
	"os"
	"testing"
	"time"
)

// Edge case 28: a client without requests costs at most 80 bytes.
func TestBytesPerClient(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("a million clients")
	}
	const clients = 1_000_000
	l := limit(t, "x", "1/d", Config{})
	key := make([]byte, 24)
	charges := []Charge{{Limit: l, Key: key, Cost: 1}}
	before := heap()
	m := NewMemory(MemoryConfig{})
	for i := range uint64(clients) {
		binary.LittleEndian.PutUint64(key, i)
		m.Take(context.Background(), charges)
	}
	per := float64(heap()-before) / clients
	t.Logf("%.1f bytes a client", per)
	if n := m.Len(); n != clients || per > 80 {
		t.Errorf("%d clients of %.1f bytes", n, per)
	}
}

// Edge cases 28 and 29: random keys without end stay under the cap, and a throttled client stays throttled. The long form,
// ONCEGATE_LONG=1, has ten million of them.
func TestRandomKeys(t *testing.T) {
	keys, perPolicy := uint64(1_000_000), 100_000
	switch {
	case os.Getenv("ONCEGATE_LONG") != "":
		keys, perPolicy = 10_000_000, 1<<20
	case testing.Short() || raceEnabled:
		keys, perPolicy = 100_000, 10_000
	}
	l := limit(t, "x", "1/m", Config{Burst: 2})
	m, now := newMemory(MemoryConfig{PerPolicy: perPolicy})
	takeCost(m, l, "throttled", 2)
	key := make([]byte, 24)
	charges := []Charge{{Limit: l, Key: key, Cost: 1}}
	step := 55 * int64(time.Second) / int64(keys) // all within the minute that a token takes: none is full again
	for i := range keys {
		binary.LittleEndian.PutUint64(key, i*0x9e3779b97f4a7c15)
		m.Take(context.Background(), charges)
		now.ns += step
		if i%1000 == 0 {
			if _, ok := takeOne(m, l, "throttled"); ok {
				t.Fatalf("key %d: a debt was forgotten", i)
			}
		}
	}
	slots := slotsOf(m)
	t.Logf("%d keys: %d buckets, %.1f MB, %d overflowed", keys, m.Len(), float64(slots)*32/1e6, m.Overflowed())
	if n := m.Len(); n > perPolicy+overflowSlots || slots > 2*(perPolicy+overflowSlots)+shards*minSlots {
		t.Errorf("%d buckets in %d slots", n, slots)
	}
	now.advance(time.Hour)
	if _, ok := takeOne(m, l, "throttled"); !ok {
		t.Error("throttled for ever")
	}
}

// Edge cases 10 and 29: pauses much shorter than a bucket takes to fill give back no more than the rate.
func TestIdleCycles(t *testing.T) {
	for _, by := range keepers {
		m, now := newMemory(MemoryConfig{})
		l, other := limit(t, "x", "1/s", Config{Burst: 500, By: By{by}}), limit(t, "other", "100/s", Config{})
		admitted := 0
		for cycle := range 200 {
			for range 600 {
				if _, ok := takeOne(m, l, "a"); ok {
					admitted++
				}
			}
			for i := range 100 { // others keep the sweep busy
				takeOne(m, other, string(rune('a'+(cycle+i)%1000)))
			}
			if cycle < 199 {
				now.advance(3 * time.Second)
			}
		}
		if admitted != 500+199*3 {
			t.Errorf("by %s: %d admitted, want the burst and one a second: %d", by, admitted, 500+199*3)
		}
	}
}
