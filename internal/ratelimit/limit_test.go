package ratelimit

import (
	"math"
	"testing"
	"time"
)

func TestCompilePolicyField(t *testing.T) {
	for _, c := range []struct {
		name, rate string
		burst      int
		want       string
	}{
		{"per-client", "100/s", 200, `"per-client";q=200;w=2`},
		{"a", "100/s", 0, `"a";q=100;w=1`},
		{"a", "5000/m", 0, `"a";q=84;w=2`}, // 84 tokens at 83.3 a second
		{"a", "10000/h", 0, `"a";q=3;w=2`},
		{"a", "1/10s", 0, `"a";q=1;w=10`},
		{"a", "11/m", 11, `"a";q=11;w=60`}, // 11/(11/60) is 60, whatever binary fractions say
		{"a", "1000/s", 1, `"a";q=1;w=1`},
		{"a", "1/d", 1, `"a";q=1;w=86400`},
		{`sa"y\`, "1/s", 1, `"sa\"y\\";q=1;w=1`},
		{"größe", "1/s", 1, `"gr??e";q=1;w=1`},
	} {
		if got := limit(t, c.name, c.rate, Config{Burst: c.burst}).Policy(); got != c.want {
			t.Errorf("%s %s burst %d: %s, want %s", c.name, c.rate, c.burst, got, c.want)
		}
	}
}

func TestSpec(t *testing.T) {
	l := limit(t, "x", "50/s", Config{Burst: 70, Cost: Cost{Base: 3}, Mode: "shadow"})
	rate, burst, cost := l.Spec()
	if l.Name() != "x" || rate != 50 || burst != 70 || cost != 3 || !l.Shadow() {
		t.Errorf("got %s %v %v %v %v", l.Name(), rate, burst, cost, l.Shadow())
	}
}

func TestWait(t *testing.T) {
	l := limit(t, "x", "4/s", Config{})
	for _, c := range []struct {
		tokens float64
		want   time.Duration
	}{{-1, 0}, {0, 0}, {1, 250 * time.Millisecond}, {4, time.Second}, {1e-12, 0}, {1e300, math.MaxInt64}} {
		if got := l.wait(c.tokens); got != c.want {
			t.Errorf("wait for %v tokens: %v, want %v", c.tokens, got, c.want)
		}
	}
}

func TestSeconds(t *testing.T) {
	for d, want := range map[time.Duration]int64{0: 0, 1: 1, time.Second: 1, time.Second + 1: 2, math.MaxInt64: 9223372037} {
		if got := seconds(d); got != want {
			t.Errorf("%v: %d, want %d", d, got, want)
		}
	}
}

// Edge case 9: a clock that steps back neither mints tokens nor moves the bucket's time.
func TestLevelNeverGoesBack(t *testing.T) {
	l := limit(t, "x", "10/s", Config{Burst: 10})
	b := &bucket{level: 3, last: int64(5 * time.Second)}
	for now, want := range map[time.Duration]float64{0: 3, 5 * time.Second: 3, 5500 * time.Millisecond: 8, time.Hour: 10, -time.Hour: 3} {
		if got := l.level(b, int64(now)); got != want {
			t.Errorf("at %v: level %v, want %v", now, got, want)
		}
	}
}
