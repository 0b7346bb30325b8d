package ratelimit

import (
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

func rateOf(t testing.TB, text string) Rate {
	t.Helper()
	var r Rate
	if err := r.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return r
}

// planned is 1/s with a burst of 2; gold 100/s with 10; internal unlimited; banned deny.
func planned(t testing.TB, cfg Config) *Limit {
	cfg.Burst = 2
	cfg.Plans = map[string]Plan{
		"claim": {Word: "plan"}, "gold": {Rate: rateOf(t, "100/s"), Burst: 10},
		"internal": {Word: "unlimited", Rate: Rate{Word: "unlimited"}}, "banned": {Word: "deny", Rate: Rate{Word: "deny"}},
	}
	return limit(t, "x", "1/s", cfg)
}

func (r *rig) as(plan string) (*fakeResponse, *pipeline.Exchange, error) {
	x, _, resp := newExchange()
	x.Client.Claims = claims{"plan": plan, "rate": "1000000/s", "burst": "999"}
	err := r.serve(x)
	return resp, x, err
}

func TestPlans(t *testing.T) {
	r := newRig(false, planned(t, Config{}))
	resp, _, _ := r.as("gold")
	wantFields(t, resp, `"x";q=10;w=1`, `"x";r=9;t=1`)
	for range 50 {
		if resp, _, err := r.as("internal"); err != nil || len(resp.header) > 0 {
			t.Fatalf("unlimited: %v, %v", err, resp.header)
		}
	}
	resp, x, err := r.as("banned")
	if err != pipeline.RateLimited || x.Problem.RetryAfter != pipeline.NoRetryAfter || x.Problem.Policy != "x" {
		t.Errorf("denied: %v, %+v", err, x.Problem)
	}
	wantFields(t, resp, `"x";q=0`, `"x";r=0`)
	r.wantDecisions(t, "map[x allowed:51 x refused:1]")
	if r.calls != 51 {
		t.Errorf("%d requests passed", r.calls)
	}
}

// Research test T26: a plan that is not known, or missing, is none; numbers in a token are no limits.
func TestUnknownPlan(t *testing.T) {
	r := newRig(false, planned(t, Config{}))
	for _, plan := range []string{"platinum", "", "claim", "gold "} {
		resp, _, err := r.as(plan)
		if got := resp.header["RateLimit-Policy"]; got != `"x";q=2;w=2` {
			t.Errorf("plan %q: %s", plan, got)
		}
		if err == nil {
			r.now.advance(time.Second)
		}
	}
	x, _, _ := newExchange()
	x.Client = pipeline.Client{} // anonymous
	r.serve(x)
	if r.seen.n["x no_plan"] != 5 {
		t.Errorf("decisions %v", r.seen.n)
	}
}

// Edge case 19: another plan is other numbers for the same bucket.
func TestChangeOfPlanKeepsTheBucket(t *testing.T) {
	r := newRig(false, planned(t, Config{}))
	for range 9 {
		r.as("gold")
	}
	resp, _, _ := r.as("silver")
	wantFields(t, resp, `"x";q=2;w=2`, `"x";r=0;t=2`)
	if _, _, err := r.as("silver"); err != pipeline.RateLimited {
		t.Errorf("a change of plan filled the bucket: %v", err)
	}
	r.now.advance(time.Hour)
	r.as("silver")
	if resp, _, _ = r.as("gold"); resp.header["RateLimit"] != `"x";r=0;t=1` {
		t.Errorf("a better plan filled the bucket: %s", resp.header["RateLimit"])
	}
}

// A denied plan is refused before anything is asked, and nobody is charged for it.
func TestDeniedChargesNobody(t *testing.T) {
	other := limit(t, "other", "1/h", Config{Burst: 5})
	r := newRig(false, other, planned(t, Config{}))
	for range 3 {
		if _, _, err := r.as("banned"); err != pipeline.RateLimited {
			t.Fatal(err)
		}
	}
	if r.store.Len() != 0 || r.calls != 0 {
		t.Errorf("%d buckets, %d calls", r.store.Len(), r.calls)
	}
	shadow := newRig(false, planned(t, Config{Mode: "shadow"}))
	if _, _, err := shadow.as("banned"); err != nil || shadow.seen.n["x shadow_refused"] != 1 {
		t.Errorf("shadow: %v, %v", err, shadow.seen.n)
	}
}

func TestDenyAndUnlimitedWithoutPlans(t *testing.T) {
	for word, want := range map[string]error{"deny": pipeline.RateLimited, "unlimited": nil} {
		r := newRig(false, limit(t, "x", word, Config{}))
		if _, _, err := r.as(""); err != want {
			t.Errorf("%s: %v", word, err)
		}
	}
}

func TestRateText(t *testing.T) {
	for text, shown := range map[string]string{"deny": "deny", "unlimited": "unlimited", "100/s": "100/s", "5000/m": "5000/m"} {
		if r := rateOf(t, text); r.String() != shown {
			t.Errorf("%s is %s", text, r)
		}
	}
	var r Rate
	err := r.UnmarshalText([]byte("unlimitted"))
	if m, ok := err.(*units.Mistaken); !ok || m.Meant != "unlimited" {
		t.Errorf("%v", err)
	}
}
