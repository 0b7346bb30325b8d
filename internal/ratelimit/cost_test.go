package ratelimit

import (
	"math"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

func TestPrice(t *testing.T) {
	l := limit(t, "x", "1/s", Config{Burst: 50, Cost: Cost{
		Base: 2, Methods: map[string]int{"POST": 5, "GET": 1}, Body: map[string]int{"64KiB": 3, "1MiB": 10},
	}})
	for _, c := range []struct {
		method string
		length int64
		want   float64
	}{
		{"GET", 0, 1}, {"HEAD", 0, 1}, {"PUT", 0, 2}, {"POST", 100, 5}, {"PUT", 64<<10 - 1, 2}, {"PUT", 64 << 10, 3},
		{"POST", 64 << 10, 5}, {"PUT", 1<<20 - 1, 3}, {"PUT", 1 << 20, 10}, {"POST", math.MaxInt64, 10}, {"PUT", -1, 10},
	} {
		req := &fakeRequest{method: c.method, length: c.length}
		if got := l.price(req); got != c.want {
			t.Errorf("%s of %d bytes costs %v, want %v", c.method, c.length, got, c.want)
		}
		seven := 7
		if got := (Use{Name: "x", Cost: &seven}).Of(l).price(req); got != 7 {
			t.Errorf("%s of %d bytes costs a route with its own cost %v", c.method, c.length, got)
		}
	}
}

// Edge case 3: what costs nothing looks, and its answer tells the truth.
func TestCostNothing(t *testing.T) {
	zero := 0
	l := limit(t, "x", "1/h", Config{Burst: 2})
	r := newRig(false, Use{Name: "x", Cost: &zero}.Of(l))
	for range 5 {
		x, _, resp := newExchange()
		if err := r.serve(x); err != nil || resp.header["RateLimit"] != `"x";r=2` {
			t.Fatalf("%v, %v", err, resp.header)
		}
	}
}

// Edge case 2: what can never fit is refused without Retry-After.
func TestLayerCostAboveBurst(t *testing.T) {
	l := limit(t, "x", "1/s", Config{Burst: 3})
	nine := 9
	r := newRig(false, Use{Name: "x", Cost: &nine}.Of(l))
	x, _, _ := newExchange()
	if err := r.serve(x); err != pipeline.RateLimited || x.Problem.RetryAfter != pipeline.NoRetryAfter {
		t.Errorf("%v, %+v", err, x.Problem)
	}
}

// Edge case 42: only a whole number that somebody may mean replaces the estimate.
func TestSettlement(t *testing.T) {
	for value, want := range map[string]string{
		"2": `"x";r=18;t=2`, "0": `"x";r=20`, "5": `"x";r=15;t=5`, "12": `"x";r=8;t=12`, // the estimate is 5
		"": `"x";r=15;t=5`, "-3": `"x";r=15;t=5`, "1e3": `"x";r=15;t=5`, "2.5": `"x";r=15;t=5`, " 2": `"x";r=15;t=5`, "NaN": `"x";r=15;t=5`,
		"1000000000000000000": `"x";r=15;t=5`, "9999999999": `"x";r=15;t=5`, "1000000000": `"x";r=0;t=40`, // debt is bounded to a burst
	} {
		r := newRig(false, limit(t, "x", "1/s", Config{Burst: 20, Cost: Cost{Base: 5, ResponseHeader: "X-Cost"}}))
		r.answer = func(x *pipeline.Exchange) error { x.Response.Set("X-Cost", []byte(value)); return nil }
		x, _, resp := newExchange()
		r.serve(x)
		if got := resp.header["RateLimit"]; got != want {
			t.Errorf("cost %q: %s, want %s", value, got, want)
		}
		if _, passed := resp.header["X-Cost"]; passed {
			t.Errorf("cost %q was passed on", value)
		}
	}
}

func TestNoSettlementOfReplaysAndFailures(t *testing.T) {
	l := limit(t, "x", "1/s", Config{Burst: 20, Cost: Cost{Base: 5, ResponseHeader: "X-Cost"}})
	r := newRig(true, l)
	r.answer = func(x *pipeline.Exchange) error {
		x.Replayed = true
		x.Response.Set("X-Cost", []byte("9"))
		return nil
	}
	x, _, resp := keyedExchange()
	r.serve(x)
	if resp.header["RateLimit"] != `"x";r=20` || resp.header["X-Cost"] != "" {
		t.Errorf("replay: %v", resp.header)
	}
	r.answer = func(x *pipeline.Exchange) error { return pipeline.UpstreamTimeout }
	x, _, resp = keyedExchange()
	r.serve(x)
	if resp.header["RateLimit"] != `"x";r=15;t=5` {
		t.Errorf("failure: %v", resp.header)
	}
}

func reserveRig(t *testing.T, critical bool, m *Memory, now *clock) *rig {
	l := limit(t, "x", "1/s", Config{Burst: 10, Reserve: 0.2})
	r := &rig{seen: &decisions{}, store: m, now: now, answer: func(*pipeline.Exchange) error { return nil }}
	r.handler = New([]*Limit{l}, LayerConfig{Critical: critical}, Deps{Store: m, Recorder: r.seen})(r.end())
	return r
}

func TestReserve(t *testing.T) {
	m, now := newMemory(MemoryConfig{})
	plain, critical := reserveRig(t, false, m, now), reserveRig(t, true, m, now)
	for i := range 8 {
		x, _, resp := newExchange()
		if err := plain.serve(x); err != nil {
			t.Fatalf("request %d: %v, %v", i, err, resp.header)
		}
	}
	x, _, resp := newExchange()
	if err := plain.serve(x); err != pipeline.Overloaded || x.Problem.RetryAfter != 1 || resp.header["RateLimit"] != `"x";r=0;t=8` {
		t.Errorf("%v, %+v, %v", err, x.Problem, resp.header)
	}
	for range 2 {
		x, _, _ = newExchange()
		if err := critical.serve(x); err != nil {
			t.Errorf("the reserve is not there for critical routes: %v", err)
		}
	}
	x, _, _ = newExchange()
	if err := plain.serve(x); err != pipeline.RateLimited {
		t.Errorf("spent to the last token: %v", err)
	}
	now.advance(10 * time.Second)
	if plain.seen.n["x reserved"] != 1 || plain.seen.n["x refused"] != 1 {
		t.Errorf("decisions %v", plain.seen.n)
	}
}

func FuzzTokens(f *testing.F) {
	for _, s := range []string{"", "0", "12", "-1", "1e9", "00000000001", "99999999999"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		if n, ok := tokens(value); ok && (n < 0 || n > maxBurst || n != math.Trunc(n)) {
			t.Errorf("%q is %v", value, n)
		}
	})
}
