package retry

import (
	"math/rand/v2"
	"testing"
	"time"
)

// A storm: every call fails, each is tried up to three times. What the upstream sees is bounded by the share and the floor.
func TestBudgetBoundsAStorm(t *testing.T) {
	for _, c := range []struct{ rate, floor int }{{1000, 10}, {100, 10}, {5, 10}, {1000, 0}} {
		b, now := NewBudget(), time.Now()
		offered, seen := 0, 0
		for second := range 60 {
			for range c.rate {
				b.Call(now)
				offered++
				seen++
				for range 2 {
					if b.Take(0.2, c.floor, now) {
						seen++
					}
				}
				now = now.Add(time.Second / time.Duration(c.rate))
			}
			if most := float64(offered)*1.2 + float64(c.floor*(second+2)); float64(seen) > most {
				t.Fatalf("%+v: %d of %d seen after %d s, at most %.0f", c, seen, offered, second, most)
			}
		}
		if least := min(3*offered, offered+c.floor*59); seen < least && c.rate < 50 {
			t.Errorf("%+v: the floor was not given: %d of %d", c, seen, offered)
		}
	}
}

func TestBudgetForgets(t *testing.T) {
	b, now := NewBudget(), time.Now()
	for range 100 {
		b.Call(now)
	}
	for range 20 {
		if !b.Take(0.2, 0, now) {
			t.Fatal("refused within the share")
		}
	}
	if b.Take(0.2, 0, now) {
		t.Error("more than the share")
	}
	if calls, retries := b.Spent(now.Add(seconds * time.Second)); calls != 0 || retries != 0 {
		t.Errorf("%d, %d left", calls, retries)
	}
	if calls, _ := b.Spent(now.Add(-time.Hour)); calls != 0 {
		t.Error("time went back")
	}
}

func TestQuantileFollows(t *testing.T) {
	var q quantile
	random := rand.New(rand.NewPCG(1, 2))
	feed := func(n int, scale float64) {
		for range n {
			q.add(time.Duration(random.ExpFloat64() * scale * float64(time.Millisecond)))
		}
	}
	feed(20000, 10)
	if got := q.value(); got < 22*time.Millisecond || got > 40*time.Millisecond { // ln 20 = 3.0
		t.Errorf("p95 of a mean of 10 ms: %v", got)
	}
	feed(20000, 100)
	if got := q.value(); got < 220*time.Millisecond || got > 400*time.Millisecond {
		t.Errorf("ten times as slow: %v", got)
	}
}

func BenchmarkBudget(b *testing.B) {
	budget, now := NewBudget(), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		budget.Call(now)
		budget.Take(0.2, 10, now)
	}
}
