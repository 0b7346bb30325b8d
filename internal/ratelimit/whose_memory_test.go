package ratelimit

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// spend takes n, and gives the charge.
func spend(t *testing.T, m *Memory, l *Limit, n float64) Charge {
	t.Helper()
	charges := []Charge{{Limit: l, Key: []byte("k"), Cost: n}}
	if ok, _ := m.Take(context.Background(), charges); !ok {
		t.Fatalf("%v of %+v", n, charges[0])
	}
	return charges[0]
}

func quotaLimit(t *testing.T, text string, rolling bool) *Limit {
	t.Helper()
	var q Quota
	if err := q.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return Compile("q", Config{Quota: q, Rolling: rolling, Cost: Cost{Base: 1}})
}

// The operator sees what the next request would find, and sees it again: a look changes nothing.
func TestUsageOfEveryKind(t *testing.T) {
	for name, c := range map[string]struct {
		limit       *Limit
		wait, reset time.Duration
	}{
		"bucket":  {limit(t, "b", "1/s", Config{Burst: 10}), 2 * time.Second, 11 * time.Second},
		"limiter": {limit(t, "l", "1/s", Config{Burst: 10, By: By{"all"}}), 2 * time.Second, 11 * time.Second},
		"rolling": {quotaLimit(t, "10/15s", true), 16 * time.Second, 16 * time.Second},
	} {
		m, _ := newMemory(MemoryConfig{})
		if u := m.Usage([]byte("k"), c.limit); u != (Usage{Left: 10}) || m.Len() != 0 {
			t.Errorf("%s: %+v of a new client, %d buckets", name, u, m.Len())
		}
		one := []Charge{spend(t, m, c.limit, 10)}
		one[0].Change = -1
		m.Settle(context.Background(), one)
		for range 2 {
			if u := m.Usage([]byte("k"), c.limit); u != (Usage{Left: -1, Wait: c.wait, Reset: c.reset}) {
				t.Errorf("%s: %+v", name, u)
			}
		}
		m.Forget([]byte("k"), c.limit)
		if u := m.Usage([]byte("k"), c.limit); u != (Usage{Left: 10}) || m.Len() != 0 || m.total.Load() != 0 {
			t.Errorf("%s: %+v after a reset, %d buckets", name, u, m.Len())
		}
		one[0].Change = 5
		m.Settle(context.Background(), one) // a refund that comes late
		if spend(t, m, c.limit, 10); m.Usage([]byte("k"), c.limit).Left != 0 {
			t.Errorf("%s: a full bucket is %+v", name, m.Usage([]byte("k"), c.limit))
		}
	}
	m, _ := newMemory(MemoryConfig{})
	m.wall = func() time.Time { return time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC) }
	day := quotaLimit(t, "10/d", false)
	spend(t, m, day, 4)
	if u := m.Usage([]byte("k"), day); u != (Usage{Left: 6, Reset: 4 * time.Hour}) {
		t.Errorf("%+v", u)
	}
	spend(t, m, day, 6)
	if u := m.Usage([]byte("k"), day); u != (Usage{Wait: 4 * time.Hour, Reset: 4 * time.Hour}) {
		t.Errorf("%+v", u)
	}
	m.Forget([]byte("k"), day)
	spend(t, m, day, 10)
}

// A look with the base limit must not cut the bucket of a client with a larger plan.
func TestUsageLeavesThePlan(t *testing.T) {
	base, gold := limit(t, "x", "1/s", Config{Burst: 10}), limit(t, "x", "1/s", Config{Burst: 1000})
	m, _ := newMemory(MemoryConfig{})
	spend(t, m, gold, 100)
	if u := m.Usage([]byte("k"), base); u.Left != 10 {
		t.Errorf("%+v", u)
	}
	if u := m.Usage([]byte("k"), gold); u.Left != 900 {
		t.Errorf("the look cut it: %+v", u)
	}
	few, many := quotaLimit(t, "10/h", false), quotaLimit(t, "100/h", false)
	spend(t, m, many, 5)
	if u := m.Usage([]byte("k"), few); u.Left != 5 { // what is used stays used
		t.Errorf("%+v", u)
	}
	if u := m.Usage([]byte("k"), many); u.Left != 95 {
		t.Errorf("%+v", u)
	}
	wide, narrow := quotaLimit(t, "100/h", true), quotaLimit(t, "100/m", true)
	m.Forget([]byte("k"), many)
	spend(t, m, wide, 100)
	if m.Usage([]byte("k"), narrow); m.Usage([]byte("k"), wide).Left != 0 {
		t.Error("a look with a shorter span forgot what was counted")
	}
}

// At the cap a stranger sees, and resets, the bucket that it shares.
func TestUsageAtTheCap(t *testing.T) {
	m, _ := newMemory(MemoryConfig{PerPolicy: 1})
	l := limit(t, "x", "1/h", Config{Burst: 10})
	spend(t, m, l, 10)
	key := []byte("another")
	charges := []Charge{{Limit: l, Key: key, Cost: 7}}
	if ok, _ := m.Take(context.Background(), charges); !ok || m.Overflowed() != 1 {
		t.Fatal(ok, m.Overflowed())
	}
	if u := m.Usage(key, l); u.Left != 3 || m.Overflowed() != 1 {
		t.Errorf("%+v", u)
	}
	m.Forget(key, l)
	if u, own := m.Usage(key, l), m.Usage([]byte("k"), l); u.Left != 10 || own.Left != 0 {
		t.Errorf("%+v %+v", u, own)
	}
}

func TestTakenSeats(t *testing.T) {
	m, l := NewMemorySeats(SeatsConfig{}), Compile("s", Config{InFlight: 3})
	for i := range 3 {
		if n := m.Taken([]byte("k"), l); n != i || m.Taken([]byte("other"), l) != 0 {
			t.Errorf("%d of %d", n, i)
		}
		charges := []Charge{{Limit: l, Key: []byte("k"), Cost: 1}}
		if ok, err := m.Acquire(context.Background(), charges); !ok || err != nil {
			t.Fatal(fmt.Sprint(ok, err))
		}
	}
}
