package traffic

import (
	"fmt"
	"math"
	"testing"

	"github.com/oncegate/oncegate/internal/pipeline"
)

func splitOf(t *testing.T, sticky string, flags Flags, arms ...Arm) *Split {
	t.Helper()
	branches := make([]Branch, len(arms))
	for i, a := range arms {
		branches[i] = Branch{Name: a.Upstream, Handler: named(a.Upstream)}
	}
	s, err := NewSplit(Destination{Split: arms, Sticky: sticky}, "route", branches, flags)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func client(i int) *pipeline.Memory {
	m := pipeline.NewMemory("GET", "/")
	m.Client = pipeline.Client{Identity: fmt.Sprintf("22:https://id.example.com/client-%d", i), Subject: "s"}
	return m
}

// within three standard deviations of a share.
func within(t *testing.T, what string, got, of int, share float64) {
	t.Helper()
	want, sigma := float64(of)*share, math.Sqrt(float64(of)*share*(1-share))
	if math.Abs(float64(got)-want) > 3*sigma+1 {
		t.Errorf("%s: %d of %d, want %.0f +- %.0f", what, got, of, want, 3*sigma)
	}
}

const many = 20000

func TestSharesFollowTheWeights(t *testing.T) {
	for _, sticky := range []string{"", "client"} {
		s := splitOf(t, sticky, nil, Arm{Upstream: "a", Weight: 90}, Arm{Upstream: "b", Weight: 9}, Arm{Upstream: "c", Weight: 1}, Arm{Upstream: "off", Weight: 0})
		got := map[string]int{}
		for i := range many {
			got[from(t, s, client(i))]++
		}
		within(t, sticky+" a", got["a"], many, 0.90)
		within(t, sticky+" b", got["b"], many, 0.09)
		within(t, sticky+" c", got["c"], many, 0.01)
		if got["off"] > 0 {
			t.Error("an arm without weight was called")
		}
	}
}

// Fault injection 24: from 1 % over 5 % to 50 % and on nobody moves back, and each share is right.
func TestRaisingAWeightMovesClientsOneWay(t *testing.T) {
	s := splitOf(t, "client", nil, Arm{Upstream: "old", Weight: 60}, Arm{Upstream: "older", Weight: 40}, Arm{Upstream: "new", Weight: 0})
	at := make([]string, many)
	for i := range at {
		at[i] = from(t, s, client(i))
	}
	for _, w := range []int{1, 5, 100, 400} { // beside 100 of the others
		if err := s.SetWeights(map[string]int{"old": 60, "older": 40, "new": w}); err != nil {
			t.Fatal(err)
		}
		moved := 0
		for i := range at {
			now := from(t, s, client(i))
			if now != at[i] && now != "new" {
				t.Fatalf("client %d moved from %s to %s when new was raised to %d", i, at[i], now, w)
			}
			if at[i] = now; now == "new" {
				moved++
			}
		}
		within(t, fmt.Sprint(w), moved, many, float64(w)/float64(100+w))
	}
}

func TestStickyBy(t *testing.T) {
	arms := []Arm{{Upstream: "a", Weight: 1}, {Upstream: "b", Weight: 1}}
	for sticky, make := range map[string]func(i int) *pipeline.Memory{
		"client":       client,
		"header:X-Org": func(i int) *pipeline.Memory { return pipeline.NewMemory("GET", "/").WithHeader("x-org", fmt.Sprint(i)) },
		"cookie:sid": func(i int) *pipeline.Memory {
			return pipeline.NewMemory("GET", "/").WithHeader("Cookie", fmt.Sprintf("x=1; sid=%d; y=2", i))
		},
	} {
		s, seen := splitOf(t, sticky, nil, arms...), map[string]int{}
		for i := range 200 {
			first := from(t, s, make(i))
			seen[first]++
			for range 3 {
				if got := from(t, s, make(i)); got != first {
					t.Fatalf("%s: client %d at %s and at %s", sticky, i, first, got)
				}
			}
		}
		if seen["a"] < 50 || seen["b"] < 50 {
			t.Errorf("%s: %v", sticky, seen)
		}
	}
	s, seen := splitOf(t, "header:X-Org", nil, arms...), map[string]int{}
	for range 200 {
		seen[from(t, s, pipeline.NewMemory("GET", "/"))]++
	}
	if len(seen) != 2 {
		t.Error("requests without the key all go one way")
	}
}

type flags map[string]bool

func (f flags) On(name string, _ uint64) bool { return f[name] }

func TestWhen(t *testing.T) {
	s := splitOf(t, "", flags{"beta": true},
		Arm{Upstream: "old", Weight: 1},
		Arm{Upstream: "canary", Weight: 0, When: &When{Headers: map[string]string{"X-Canary": "1"}}},
		Arm{Upstream: "gold", Weight: 0, When: &When{Claims: map[string]string{"plan": "gold"}, Headers: map[string]string{"X-New": "1"}}},
		Arm{Upstream: "cookied", Weight: 0, When: &When{Cookies: map[string]string{"c": "1"}}},
		Arm{Upstream: "off", Weight: 0, When: &When{Flag: "none"}},
	)
	get := func() *pipeline.Memory { return pipeline.NewMemory("GET", "/") }
	gold := get().WithHeader("X-New", "1")
	gold.Client.Claims = claims{"plan": "gold"}
	for want, m := range map[string]*pipeline.Memory{
		"canary": get().WithHeader("x-canary", "1"), "gold": gold, "cookied": get().WithHeader("Cookie", "a=2;c=1"),
	} {
		if got := from(t, s, m); got != want {
			t.Errorf("%s went to %s", want, got)
		}
	}
	for _, m := range []*pipeline.Memory{
		get(), get().WithHeader("X-Canary", "2"), get().WithHeader("X-Canary", "1").WithHeader("X-Canary", "2"), get().WithHeader("X-New", "1"), get().WithHeader("Cookie", "cc=1"),
	} {
		if got := from(t, s, m); got != "old" {
			t.Errorf("went to %s", got)
		}
	}
	if got := from(t, splitOf(t, "", flags{"beta": true}, Arm{Upstream: "old", Weight: 1}, Arm{Upstream: "new", When: &When{Flag: "beta"}}), get()); got != "new" {
		t.Error("the flag is on")
	}
}

// An arm that lets nothing through is passed over while another does, whatever chose it; when none does, the chosen one says so.
func TestUnreadyArms(t *testing.T) {
	s := splitOf(t, "client", nil, Arm{Upstream: "a", Weight: 1}, Arm{Upstream: "b", Weight: 1, When: &When{Headers: map[string]string{"X": "1"}}})
	down := map[string]bool{"b": true}
	for i := range s.arms {
		s.arms[i].branch.Ready = func() bool { return !down[s.arms[i].branch.Name] }
	}
	for i := range 50 {
		if got := from(t, s, client(i).WithHeader("X", "1")); got != "a" {
			t.Fatal("went to an arm that is down")
		}
	}
	down["a"] = true
	from(t, s, client(1))
	if down["b"] = false; from(t, s, client(1)) != "b" {
		t.Error("b is up")
	}
}

func TestSetWeightsIsStrict(t *testing.T) {
	s := splitOf(t, "", nil, Arm{Upstream: "a", Weight: 1}, Arm{Upstream: "b", Weight: 2})
	for _, bad := range []map[string]int{nil, {"a": 1}, {"a": 1, "b": -1}, {"a": 0, "b": 0}, {"a": 1, "b": 1, "c": 1}, {"a": 1, "c": 1}} {
		if s.SetWeights(bad) == nil {
			t.Errorf("%v was taken", bad)
		}
	}
	if w := s.Weights(); w["a"] != 1 || w["b"] != 2 {
		t.Errorf("%v", w)
	}
}

func BenchmarkSplit(b *testing.B) {
	s, _ := NewSplit(Destination{Sticky: "client", Split: []Arm{{Upstream: "a", Weight: 95}, {Upstream: "b", Weight: 5}}}, "r", []Branch{{Name: "a"}, {Name: "b"}}, nil)
	m := client(1)
	b.ReportAllocs()
	for b.Loop() {
		s.choose(&m.Exchange)
	}
}

// asked notes for whom a flag was asked.
type asked []uint64

func (a *asked) On(_ string, key uint64) bool { *a = append(*a, key); return false }

// A flag is on for a client everywhere or nowhere: two routes ask with the same number, while their shares are drawn apart.
func TestAFlagIsAskedForTheSameClientOnAllRoutes(t *testing.T) {
	var seen asked
	arms := []Arm{{Upstream: "a", Weight: 1}, {Upstream: "b", Weight: 1, When: &When{Flag: "new"}}}
	branches := []Branch{{Name: "a", Handler: named("a")}, {Name: "b", Handler: named("b")}}
	apart := 0
	one, _ := NewSplit(Destination{Split: arms, Sticky: "client"}, "cart", branches, &seen)
	two, _ := NewSplit(Destination{Split: arms, Sticky: "client"}, "pay", branches, &seen)
	for i := range 100 {
		if from(t, one, client(i)) != from(t, two, client(i)) {
			apart++
		}
		if n := len(seen); seen[n-1] != seen[n-2] {
			t.Fatalf("client %d is %d on one route and %d on the other", i, seen[n-2], seen[n-1])
		}
	}
	if apart < 20 {
		t.Errorf("%d of 100 clients are drawn apart", apart)
	}
}
