package lifecycle

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

type used []string

func (u *used) VersionUsed(route, version string) { *u = append(*u, route+" "+version) }

func serve(t *testing.T, cfg Config, at string, err error) (*pipeline.Memory, error) {
	t.Helper()
	var rec used
	layer, problem := New(cfg, "r", &rec)
	if problem != nil {
		t.Fatal(problem)
	}
	m := pipeline.NewMemory("GET", "/")
	m.Start, _ = time.Parse(time.RFC3339, at)
	got := layer(pipeline.HandlerFunc(func(_ context.Context, x *pipeline.Exchange) error {
		if err == nil {
			x.Response.Set("Link", []byte(`</next>; rel="next"`))
		}
		return err
	})).Serve(context.Background(), &m.Exchange)
	if !slices.Equal(rec, []string{"r v1"}) {
		t.Errorf("counted %q", rec)
	}
	return m, got
}

func TestFields(t *testing.T) {
	cfg := Config{Name: "v1", Deprecated: "2026-01-01", Sunset: "2026-12-31T12:00:00Z", Link: "https://example.com/v1", AfterSunset: "serve"}
	for _, refusal := range []error{nil, pipeline.RateLimited} {
		m, err := serve(t, cfg, "2027-06-01T00:00:00Z", refusal)
		if err != refusal || string(m.Sent.Header("Deprecation")) != "@1767225600" || string(m.Sent.Header("Sunset")) != "Thu, 31 Dec 2026 12:00:00 GMT" {
			t.Errorf("%v: %s, %s", err, m.Sent.Header("Deprecation"), m.Sent.Header("Sunset"))
		}
		if links := m.Sent.Values("Link"); !slices.Contains(links, `<https://example.com/v1>; rel="deprecation"; type="text/html"`) || refusal == nil && len(links) != 2 {
			t.Errorf("%q", links)
		}
	}
	if m, _ := serve(t, Config{Name: "v1"}, "2026-01-01T00:00:00Z", nil); m.Sent.Header("Deprecation") != nil || m.Sent.Header("Sunset") != nil {
		t.Error("a version that has no end")
	}
}

func TestGone(t *testing.T) {
	cfg := Config{Name: "v1", Sunset: "2026-12-31", AfterSunset: "gone"}
	if _, err := serve(t, cfg, "2026-12-30T23:59:59Z", nil); err != nil {
		t.Error(err)
	}
	if m, err := serve(t, cfg, "2026-12-31T00:00:00Z", nil); err != pipeline.Gone || m.Sent.Header("Sunset") == nil {
		t.Error(err)
	}
}

func TestProblems(t *testing.T) {
	for _, cfg := range []Config{
		{Name: "v1", Deprecated: "soon"}, {Name: "v1", Sunset: "2026-13-01"}, {Name: "v1", Deprecated: "2026-02-01", Sunset: "2026-01-01"},
		{Name: "v1", Link: "example.com"}, {Name: "v1", Link: "https://x/>"}, {Name: "v1", AfterSunset: "gone"},
	} {
		p := units.NewProblems()
		if cfg.Validate(p); len(p.List()) != 1 {
			t.Errorf("%+v: %v", cfg, p.List())
		}
	}
}
