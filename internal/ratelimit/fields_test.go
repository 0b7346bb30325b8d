package ratelimit

import (
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

func fieldsRig(v Version, limits ...*Limit) *rig {
	r := &rig{seen: &decisions{}, answer: func(*pipeline.Exchange) error { return nil }}
	r.store, r.now = newMemory(MemoryConfig{})
	r.handler = New(limits, LayerConfig{Fields: v}, Deps{Store: r.store, Recorder: r.seen})(r.end())
	return r
}

func TestVersions(t *testing.T) {
	for word, want := range map[string]map[string]string{
		"draft-10":    {"RateLimit-Policy": `"a";q=9;w=9, "b";q=5;w=50`, "RateLimit": `"a";r=8;t=1, "b";r=4;t=10`},
		"next":        {"RateLimit-Policy": `"a";q=9;w=9, "b";q=5;w=50`, "RateLimit": `"a";a=8;w=1, "b";a=4;w=10`},
		"x-ratelimit": {"X-RateLimit-Limit": "5", "X-RateLimit-Remaining": "4", "X-RateLimit-Reset": "10"},
		"off":         {},
	} {
		r := fieldsRig(VersionOf(word), limit(t, "a", "1/s", Config{Burst: 9}), limit(t, "b", "1/10s", Config{Burst: 5}), limit(t, "dark", "1/h", Config{Mode: "shadow"}))
		x, _, resp := newExchange()
		r.serve(x)
		if len(resp.header) != len(want) {
			t.Errorf("%s: %v", word, resp.header)
		}
		for name, value := range want {
			if resp.header[name] != value {
				t.Errorf("%s: %s: %s, want %s", word, name, resp.header[name], value)
			}
		}
	}
}

// Edge case 39: a redirect doesn't make the client wait before it follows.
func TestRedirect(t *testing.T) {
	for v, name := range map[Version]string{Draft10: "RateLimit", XRateLimit: "X-RateLimit-Remaining"} {
		r := fieldsRig(v, limit(t, "x", "1/h", Config{Burst: 5}))
		r.answer = func(x *pipeline.Exchange) error { x.Response.Set(name, []byte("theirs")); return nil }
		for i := range 6 {
			x, _, resp := newExchange()
			resp.status = 302
			err := r.serve(x)
			_, told := resp.header[name]
			if want := i < 4 || err != nil; told != want || resp.header[name] == "theirs" {
				t.Errorf("request %d: told %v, want %v: %v", i, told, want, resp.header)
			}
		}
	}
}

// Edge case 36: a quota tells its period and when that ends.
func TestQuotaFields(t *testing.T) {
	var q Quota
	if err := q.UnmarshalText([]byte("10/6h")); err != nil {
		t.Fatal(err)
	}
	l := Compile("day", Config{Quota: q, Zone: "UTC", Cost: Cost{Base: 1}})
	if l.Policy() != `"day";q=10;w=21600` || l.Kind() != Window || l.Burst() != 10 || l.Quota().Zone != time.UTC {
		t.Errorf("%s, %v, %v", l.Policy(), l.Kind(), l.Quota())
	}
	c := Charge{Limit: l, Level: 3.5, Reset: 90*time.Second + 1}
	if got := string(c.appendMember(nil, Draft10)); got != `"day";r=3;t=91` {
		t.Error(got)
	}
}

// Edge cases 37 and 38: whole seconds, rounded up, at least 1; a long wait is spread by a tenth, and never shortened.
func TestRetryAfterOf(t *testing.T) {
	most := func(n int64) int64 { return n - 1 }
	none := func(int64) int64 { return 0 }
	day := &Limit{kind: Window}
	for _, c := range []struct {
		wait      time.Duration
		low, high int
	}{
		{0, 1, 1}, {1, 1, 1}, {time.Second, 1, 1}, {time.Second + 1, 2, 2}, {10 * time.Second, 10, 10}, {10*time.Second + 1, 11, 12},
		{100 * time.Second, 100, 110}, {Never, pipeline.NoRetryAfter, pipeline.NoRetryAfter}, {Never - 1, 1<<31 - 1, 1<<31 - 1},
	} {
		if low, high := retryAfter(c.wait, day, none), retryAfter(c.wait, day, most); low != c.low || high != c.high {
			t.Errorf("%v: %d to %d, want %d to %d", c.wait, low, high, c.low, c.high)
		}
		for _, l := range []*Limit{{kind: Bucket}, {kind: Window, quota: Quota{Rolling: true}}} {
			if got := retryAfter(c.wait, l, most); got != c.low {
				t.Errorf("%v: %d where nobody else waits for the same moment, want %d", c.wait, got, c.low)
			}
		}
	}
}

func TestQuotaText(t *testing.T) {
	for text, shown := range map[string]string{
		"10000/d": "10000/d", "500/6h": "500/6h", "1/mo": "1/mo", "5/1m": "5/m", "3/2w": "3/2w", "9/10s": "9/10s",
		"": "", "5": "", "/d": "", "0/d": "", "05/d": "", "5/0d": "", "5/d/d": "", "-5/d": "", "5/ d": "", "5/y": "", "5/100000000d": "", "9999999999/d": "",
	} {
		var q Quota
		if err := q.UnmarshalText([]byte(text)); (err == nil) != (shown != "") || q.String() != shown {
			t.Errorf("%q: %v, %v", text, q, err)
		}
	}
}

func FuzzQuota(f *testing.F) {
	for _, s := range []string{"10000/d", "500/6h", "1/mo", "/", "5/5", "5/9999999999999999999s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var q, again Quota
		if q.UnmarshalText([]byte(text)) != nil {
			return
		}
		if q.Count < 1 || q.N < 1 || q.Length() <= 0 || again.UnmarshalText([]byte(q.String())) != nil || again != q {
			t.Errorf("%q is %+v, again %+v", text, q, again)
		}
	})
}
