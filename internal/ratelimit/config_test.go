package ratelimit

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/units"
)

func problemsOf(cfg Config) string {
	p := units.NewProblems()
	cfg.Validate(p.Key("rate_limits").Key("x"))
	var out []string
	for _, problem := range p.List() {
		out = append(out, fmt.Sprintf("%s: %s", strings.TrimPrefix(problem.Path, "rate_limits.x."), problem.Message))
		if problem.Meant != "" {
			out[len(out)-1] += " (" + problem.Meant + ")"
		}
	}
	return strings.Join(out, "; ")
}

// Edge cases 1 and 2 of the research: impossible rates and costs are errors of the document.
func TestValidate(t *testing.T) {
	perSecond := func(n float64) Rate { return Rate{Rate: units.Rate{Count: n, Per: time.Second}} }
	for _, c := range []struct {
		name string
		cfg  Config
		want string // part of the only problem; "" none
	}{
		{"good", Config{Rate: perSecond(100), Burst: 200, By: By{"client"}, Cost: Cost{Base: 1}}, ""},
		{"default burst", Config{Rate: perSecond(0.1), By: By{"ip"}, Cost: Cost{Base: 1}}, ""},
		{"default burst holds the cost", Config{Rate: perSecond(9.5), By: By{"ip"}, Cost: Cost{Base: 10}}, ""},
		{"no rate", Config{By: By{"client"}, Cost: Cost{Base: 1}}, "rate: a limit needs a rate"},
		{"quota alone", Config{Quota: Quota{Count: 10, N: 1, Unit: "d"}, By: By{"client"}, Cost: Cost{Base: 1}}, ""},
		{"rate NaN", Config{Rate: perSecond(math.NaN()), Cost: Cost{Base: 1}, Burst: 1}, "rate: "},
		{"rate too high", Config{Rate: perSecond(2e9), Cost: Cost{Base: 1}, Burst: 1}, "rate: "},
		{"fill takes for ever", Config{Rate: Rate{Rate: units.Rate{Count: 1, Per: 1e9 * 86400}}, Burst: 10000, Cost: Cost{Base: 1}}, "ten years"},
		{"negative burst", Config{Rate: perSecond(1), Burst: -1, Cost: Cost{Base: 1}}, "burst: -1"},
		{"cost above burst", Config{Rate: perSecond(100), Burst: 10, Cost: Cost{Base: 11}}, "cost: a request costs 11 tokens, but a full bucket holds only 10"},
		{"cost above default burst", Config{Rate: perSecond(0.5), Cost: Cost{Base: 2}}, "holds only 1"},
		{"near word", Config{Rate: perSecond(1), Cost: Cost{Base: 1}, By: By{"clients"}}, `by: unknown identity "clients" (client)`},
		{"far word", Config{Rate: perSecond(1), Cost: Cost{Base: 1}, By: By{"whatever"}}, `by: unknown identity "whatever"`},
		{"header", Config{Rate: perSecond(1), Cost: Cost{Base: 1}, By: By{"header:X-Tenant"}}, ""},
		{"claim", Config{Rate: perSecond(1), Cost: Cost{Base: 1}, By: By{"claim:https://x/plan"}}, ""},
		{"near header", Config{Rate: perSecond(1), Cost: Cost{Base: 1}, By: By{"headers:X-Tenant"}}, "(header:X-Tenant)"},
		{"no header name", Config{Rate: perSecond(1), Cost: Cost{Base: 1}, By: By{"header:"}}, `"header:" needs a name: header:Name`},
		{"no claim name", Config{Rate: perSecond(1), Cost: Cost{Base: 1}, By: By{"claim:"}}, `"claim:" needs a name: claim:Name`},
		{"bad header name", Config{Rate: perSecond(1), Cost: Cost{Base: 1}, By: By{"header:X Tenant"}}, `"X Tenant" is not the name of a header`},
		{"word without its name", Config{Rate: perSecond(1), Cost: Cost{Base: 1}, By: By{"header"}}, `"header" needs a name: header:Name`},
	} {
		got := problemsOf(c.cfg)
		if c.want == "" && got != "" || !strings.Contains(got, c.want) || strings.Contains(got, ";") {
			t.Errorf("%s: problems %q, want %q", c.name, got, c.want)
		}
	}
}

func FuzzBy(f *testing.F) {
	for _, s := range []string{"", "client", "ip", "route", "all", "header:X-A", "claim:plan", "header:", ":", "claim:a:b", "header:\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b, ok := parseBy(text)
		cfg := Config{Rate: Rate{Rate: units.Rate{Count: 1, Per: time.Second}}, Cost: Cost{Base: 1}, By: By{text}}
		if problems := problemsOf(cfg); ok != (problems == "") {
			t.Fatalf("by %q: accepted %v, problems %q", text, ok, problems)
		}
		if !ok {
			return
		}
		switch named := b.kind == byHeader || b.kind == byClaim; {
		case named && (b.name == "" || !strings.HasSuffix(text, ":"+b.name)):
			t.Fatalf("by %q: name %q", text, b.name)
		case b.kind == byHeader && strings.ContainsAny(b.name, " \t\r\n:\x00"):
			t.Fatalf("by %q is no header name", text)
		case !named && b.name != "":
			t.Fatalf("by %q has a name", text)
		}
	})
}
