package routes

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

func noProblems(m *Match) string {
	p := units.NewProblems()
	m.Validate(p)
	if len(p.List()) == 0 {
		return ""
	}
	return fmt.Sprint(p.List())
}

// fixed is a request without allocation of its own.
type fixed struct{ method, host, path, query, header []byte }

func (f *fixed) Method() []byte { return f.method }
func (f *fixed) Host() []byte   { return f.host }
func (f *fixed) Path() []byte   { return f.path }
func (f *fixed) Query() []byte  { return f.query }
func (f *fixed) Header(string) []byte {
	return f.header
}

func fix(line string) *fixed {
	a := ask(line, "x-a", "1")
	return &fixed{a.Method(), a.Host(), a.Path(), a.Query(), a.Header("x-a")}
}

// many makes n routes as documents have them: literals, parameters, subtrees, hosts, methods and conditions.
func many(n int) []Rule[int] {
	rules := make([]Rule[int], n)
	for i := range rules {
		m := Match{Path: fmt.Sprintf("/v1/service%d/{id}/items", i)}
		switch i % 5 {
		case 1:
			m.Path = fmt.Sprintf("/v1/service%d/**", i)
		case 2:
			m.Hosts = list(fmt.Sprintf("h%d.test", i%97), "*.eu.test")
		case 3:
			m.Methods, m.Headers = list("GET", "POST"), pairs{"X-A": "1"}
		case 4:
			m.Path, m.Query = fmt.Sprintf("/v1/service%d/{id}/items/{item}", i), pairs{"beta": "1"}
		}
		rules[i] = Rule[int]{ID: fmt.Sprint("r", i), Match: m, Value: i}
	}
	return rules
}

var requests = []string{
	"GET api.test/v1/service5/42/items",
	"GET api.test/v1/service6/a/b/c",
	"GET deep.eu.test/v1/service7/42/items",
	"POST api.test/v1/service8/42/items",
	"GET api.test/v1/service9/42/items/7?a=1&beta=1",
	"GET api.test/v1/nothing/42/items",
}

func benchmarkFind(b *testing.B, n int) {
	routes, conflicts := New(many(n))
	if len(conflicts) > 0 {
		b.Fatal(conflicts[0])
	}
	for _, line := range requests {
		r := fix(line)
		b.Run(strings.TrimPrefix(line, "GET "), func(b *testing.B) {
			var params pipeline.Params
			b.ReportAllocs()
			for b.Loop() {
				routes.Find(r, &params)
			}
		})
	}
}

func BenchmarkFind10(b *testing.B)    { benchmarkFind(b, 10) }
func BenchmarkFind10000(b *testing.B) { benchmarkFind(b, 10_000) }

func BenchmarkNew10000(b *testing.B) {
	rules := many(10_000)
	for b.Loop() {
		New(rules)
	}
}

// tangle has every mix of a literal and {x} over depth segments, none of which ends where the worst request ends.
func tangle(depth int) []Rule[int] {
	var rules []Rule[int]
	for mix := range 1 << depth {
		var b strings.Builder
		params := 0
		for i := range depth {
			if mix>>i&1 == 0 {
				b.WriteString("/a")
			} else {
				fmt.Fprintf(&b, "/{p%d}", i)
				params++
			}
		}
		if params <= maxParams {
			rules = append(rules, Rule[int]{ID: fmt.Sprint(mix), Match: Match{Path: b.String() + "/end"}})
		}
	}
	return rules
}

// The worst that New lets pass: nine segments.
const tangled = 9

func BenchmarkFindWorst(b *testing.B) {
	routes, conflicts := New(tangle(tangled - 1))
	if len(conflicts) > 0 {
		b.Fatal(conflicts[0])
	}
	r := fix("GET x" + strings.Repeat("/a", tangled-1) + "/nope")
	var params pipeline.Params
	b.ReportAllocs()
	for b.Loop() {
		routes.Find(r, &params)
	}
}

// A set of routes whose look-ups would take more steps than the bound is refused with two of its routes.
func TestStepsAreBounded(t *testing.T) {
	if _, found := New(tangle(tangled - 1)); len(found) != 0 {
		t.Errorf("%+v", found[0])
	}
	_, found := New(tangle(tangled + 1))
	if len(found) != 1 || found[0].First >= found[0].Second || !strings.Contains(found[0].Message, "steps") {
		t.Errorf("%+v", found)
	}
	routes, _ := New(many(10_000))
	for _, tree := range routes.hosts.trees {
		if steps := tree.root.steps(); steps > 20 {
			t.Errorf("%d steps for a usual document", steps)
		}
	}
}

func TestFindAllocatesNothing(t *testing.T) {
	routes, _ := New(many(1000))
	for _, line := range requests {
		r := fix(line)
		var params pipeline.Params
		if n := testing.AllocsPerRun(100, func() { routes.Find(r, &params) }); n != 0 {
			t.Errorf("%s: %v allocations", line, n)
		}
	}
}

// A reload of 10,000 routes must not take noticeable time.
func TestCompileTime(t *testing.T) {
	rules := many(10_000)
	best := time.Hour
	for range 3 { // the best of three: the machine may be busy
		begun := time.Now()
		New(rules)
		best = min(best, time.Since(begun))
	}
	if best > time.Second {
		t.Errorf("10,000 routes took %v", best)
	}
}
