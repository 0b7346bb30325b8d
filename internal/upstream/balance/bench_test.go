package balance

import (
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkPick: 100 targets, of which a fifth is not usable, loads in use. The budget is 250 ns and no allocation.
func BenchmarkPick(b *testing.B) {
	for name, kind := range kinds {
		b.Run(name, func(b *testing.B) {
			s, v, now := crowd(kind)
			key := uint64(1)
			b.ReportAllocs()
			for b.Loop() {
				var tried Tried
				key = mix(key)
				s.Pick(v, &tried, key, now)
			}
		})
	}
}

// BenchmarkLearn is what a call costs besides the pick.
func BenchmarkLearn(b *testing.B) {
	l, now := &Load{}, int64(time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		now += int64(time.Millisecond)
		l.Begin()
		l.Answered(5*time.Millisecond, now)
		l.End()
	}
}

func BenchmarkLook(b *testing.B) {
	s, _, _ := crowd(EWMA)
	ramp := all(100)
	b.ReportAllocs()
	for b.Loop() {
		s.Look(ramp)
	}
}

func BenchmarkNewHash(b *testing.B) {
	list := seats(make([]int, 100)...)
	for i := range list {
		list[i].Weight = 1
	}
	for b.Loop() {
		New(Hash, list, new(atomic.Int64))
	}
}

func crowd(kind Kind) (*Set, *View, int64) {
	weights := make([]int, 100)
	ramp := all(100)
	for i := range weights {
		weights[i] = 1 + i%3
		if i%5 == 0 {
			ramp[i] = 0
		}
	}
	list := seats(weights...)
	now := int64(time.Hour)
	for i := range list {
		list[i].Load.Answered(time.Duration(1+i)*time.Millisecond, now)
		for range i % 4 {
			list[i].Load.Begin()
		}
	}
	s := New(kind, list, new(atomic.Int64))
	s.total.Store(150)
	return s, s.Look(ramp), now + int64(5*time.Second)
}

func TestPickAllocatesNothing(t *testing.T) {
	for name, kind := range kinds {
		s, v, now := crowd(kind)
		if n := testing.AllocsPerRun(1000, func() {
			var tried Tried
			tried.Add(s.Pick(v, &tried, 99, now))
			s.Pick(v, &tried, 99, now)
		}); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
