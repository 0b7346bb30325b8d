package cors

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

const app = "https://app.example.com"

// policy has the defaults that a document would give.
func policy(t testing.TB, change func(*Config), methods ...string) *Policy {
	t.Helper()
	cfg := &Config{
		Origins: []string{app, "https://*.example.org"}, Headers: []string{"Authorization", "Content-Type"},
		Expose: []string{"RateLimit", "Retry-After"}, MaxAge: units.Duration(10 * time.Minute),
	}
	if change != nil {
		change(cfg)
	}
	p, err := New(cfg, methods)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func everyone(c *Config)    { c.Origins = []string{"*"} }
func withCookies(c *Config) { c.Credentials = true }

// ends is an upstream, or a layer below that refuses.
func ends(err error, fields ...string) pipeline.Handler {
	return pipeline.HandlerFunc(func(_ context.Context, x *pipeline.Exchange) error {
		for i := 0; i < len(fields); i += 2 {
			x.Response.Add(fields[i], []byte(fields[i+1]))
		}
		return err
	})
}

// cross gives what CORS and Vary fields an answer has, each name with all its values.
func cross(m *pipeline.Memory) string {
	var got []string
	m.Response.EachField(func(name, value []byte) {
		if strings.HasPrefix(string(name), "Access-Control-") || string(name) == "Vary" {
			got = append(got, strings.TrimPrefix(string(name), "Access-Control-")+"="+string(value))
		}
	})
	slices.Sort(got)
	return strings.Join(got, "; ")
}

func TestAnswers(t *testing.T) {
	theirs := []string{"Access-Control-Allow-Origin", "*", "access-control-allow-origin", "https://evil.org", "Access-Control-Allow-Credentials", "true",
		"Access-Control-Expose-Headers", "X", "Access-Control-Allow-Methods", "X", "Access-Control-Allow-Headers", "X", "Access-Control-Max-Age", "1",
		"Access-Control-Allow-Private-Network", "true", "Access-Control-Allow-Local-Network", "true"}
	const allowed = "Allow-Origin=" + app + "; Expose-Headers=RateLimit, Retry-After; Vary=Origin"
	for _, c := range []struct {
		name    string
		change  func(*Config)
		origins []string
		below   pipeline.Handler
		want    string
	}{
		{"allowed", nil, []string{app}, ends(nil), allowed},
		{"by pattern", nil, []string{"https://a.b.example.org"}, ends(nil), strings.Replace(allowed, app, "https://a.b.example.org", 1)},
		{"no origin", nil, nil, ends(nil), "Vary=Origin"},
		{"another", nil, []string{"https://evil.org"}, ends(nil), "Vary=Origin"},
		{"null", nil, []string{"null"}, ends(nil), "Vary=Origin"},
		{"empty", nil, []string{""}, ends(nil), "Vary=Origin"},
		{"two", nil, []string{app, app}, ends(nil), "Vary=Origin"},
		{"two, one foreign", nil, []string{app, "https://evil.org"}, ends(nil), "Vary=Origin"},
		{"refused", nil, []string{app}, ends(pipeline.RateLimited), allowed},
		{"refused another", nil, []string{"https://evil.org"}, ends(pipeline.Unauthenticated), "Vary=Origin"},
		{"upstream's own", nil, []string{app}, ends(nil, theirs...), allowed},
		{"upstream's own, another", nil, []string{"https://evil.org"}, ends(nil, theirs...), "Vary=Origin"},
		{"upstream's own, no origin", nil, nil, ends(nil, theirs...), "Vary=Origin"},
		{"credentials", withCookies, []string{app}, ends(nil), "Allow-Credentials=true; " + allowed},
		{"credentials another", withCookies, []string{"null"}, ends(nil), "Vary=Origin"},
		{"vary joined", nil, []string{app}, ends(nil, "Vary", "Accept-Encoding"), "Allow-Origin=" + app + "; Expose-Headers=RateLimit, Retry-After; Vary=Accept-Encoding; Vary=Origin"},
		{"vary known", nil, nil, ends(nil, "Vary", "Accept, origin"), "Vary=Accept, origin"},
		{"vary like it", nil, nil, ends(nil, "Vary", "X-Origin"), "Vary=Origin; Vary=X-Origin"},
		{"vary all", nil, nil, ends(nil, "Vary", "*"), "Vary=*"},
		{"everybody", everyone, []string{"https://any.test"}, ends(nil), "Allow-Origin=*; Expose-Headers=RateLimit, Retry-After"},
		{"everybody, no origin", everyone, nil, ends(nil, theirs...), "Allow-Origin=*; Expose-Headers=RateLimit, Retry-After"},
		{"everybody, refused", everyone, nil, ends(pipeline.Overloaded), "Allow-Origin=*; Expose-Headers=RateLimit, Retry-After"},
		{"nothing exposed", func(c *Config) { c.Expose = nil }, []string{app}, ends(nil), "Allow-Origin=" + app + "; Vary=Origin"},
	} {
		m := pipeline.NewMemory("GET", "/")
		for _, origin := range c.origins {
			m.WithHeader("Origin", origin)
		}
		_ = pipeline.Compose(c.below, policy(t, c.change).Layer()).Serve(t.Context(), &m.Exchange)
		if got := cross(m); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestTheRefusalComesOut(t *testing.T) {
	m := pipeline.NewMemory("GET", "/").WithHeader("Origin", app)
	if err := pipeline.Compose(ends(pipeline.UpstreamFailed), policy(t, nil).Layer()).Serve(t.Context(), &m.Exchange); !errors.Is(err, pipeline.UpstreamFailed) {
		t.Error(err)
	}
}

func asks(origin, method string, more ...string) *pipeline.Memory {
	m := pipeline.NewMemory("OPTIONS", "/").WithHeader("Origin", origin).WithHeader(requestMethod, method)
	for i := 0; i < len(more); i += 2 {
		m.WithHeader(more[i], more[i+1])
	}
	return m
}

func TestPreflights(t *testing.T) {
	const varies = "Vary=Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
	const fine = "Allow-Headers=Authorization, Content-Type; Allow-Methods=GET, HEAD, POST, PUT, PATCH, DELETE; Allow-Origin=" + app + "; Max-Age=600; " + varies
	for _, c := range []struct {
		name   string
		policy *Policy
		origin string
		refuse bool
		want   string
	}{
		{"allowed", policy(t, nil), app, false, fine},
		{"another", policy(t, nil), "https://evil.org", true, varies},
		{"null", policy(t, nil), "null", true, varies},
		{"credentials", policy(t, withCookies), app, false, "Allow-Credentials=true; " + fine},
		{"everybody", policy(t, everyone), "https://any.test", false, strings.Replace(fine, app, "*", 1)},
		{"methods of the route", policy(t, nil, "GET", "POST"), app, false, strings.Replace(fine, "GET, HEAD, POST, PUT, PATCH, DELETE", "GET, POST, HEAD", 1)},
		{"no reading", policy(t, nil, "POST"), app, false, strings.Replace(fine, "GET, HEAD, POST, PUT, PATCH, DELETE", "POST", 1)},
		{"methods said", policy(t, func(c *Config) { c.Methods = []string{"PUT"} }, "GET", "PUT"), app, false, strings.Replace(fine, "GET, HEAD, POST, PUT, PATCH, DELETE", "PUT", 1)},
		{"no fields, no age", policy(t, func(c *Config) { c.Headers, c.MaxAge = nil, 0 }), app, false, strings.Replace(strings.Replace(fine, "Allow-Headers=Authorization, Content-Type; ", "", 1), "Max-Age=600", "Max-Age=0", 1)},
	} {
		m := asks(c.origin, "POST")
		err := c.policy.Preflight().Serve(t.Context(), &m.Exchange)
		if c.refuse != errors.Is(err, pipeline.Forbidden) || !c.refuse && (err != nil || m.Sent.Status() != 204) {
			t.Errorf("%s: %v %d", c.name, err, m.Sent.Status())
		}
		if got := cross(m); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
	m := asks(app, "POST")
	m.Deferred = ErrOrigin
	if err := policy(t, nil).Preflight().Serve(t.Context(), &m.Exchange); !errors.Is(err, pipeline.Forbidden) || cross(m) != varies {
		t.Errorf("what was decided above: %v %s", err, cross(m))
	}
}

func TestOnlyTruePreflights(t *testing.T) {
	for _, c := range []struct {
		m    *pipeline.Memory
		want bool
	}{
		{asks(app, "POST"), true},
		{asks("null", ""), true},
		{pipeline.NewMemory("OPTIONS", "/"), false},
		{pipeline.NewMemory("OPTIONS", "/").WithHeader("Origin", app), false},
		{pipeline.NewMemory("OPTIONS", "/").WithHeader(requestMethod, "POST"), false},
		{pipeline.NewMemory("POST", "/").WithHeader("Origin", app).WithHeader(requestMethod, "POST"), false},
		{pipeline.NewMemory("options", "/").WithHeader("Origin", app).WithHeader(requestMethod, "POST"), false},
	} {
		if got := IsPreflight(c.m.Request); got != c.want {
			t.Errorf("%s %v: %v", c.m.Request.Method(), c.m.Request.Fields(), got)
		}
	}
	for method, want := range map[string]string{
		"POST": "POST", "patch": "patch", "X-CUSTOM": "X-CUSTOM", "": "", "A B": "", "GET, POST": "", "CONNECT": "", "TRACE": "", "TRACK": "", "\x00": "", strings.Repeat("A", 33): "",
	} {
		if got := string(Asked(asks(app, method).Request)); got != want {
			t.Errorf("%q: %q", method, got)
		}
	}
	m := asks(app, "GET", requestHeaders, "content-type,x-b", "access-control-request-headers", " x-c ")
	for name, want := range map[string]bool{"Content-Type": true, "X-B": true, "X-C": true, "X-D": false, "X": false} {
		if Names(m.Request, name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

func TestOff(t *testing.T) {
	for _, cfg := range []*Config{nil, {Off: true}} {
		p, err := New(cfg, nil)
		if p != nil || err != nil || p.Layer() != nil || p.Preflight() != nil {
			t.Errorf("%v %v", p, err)
		}
	}
	if _, err := New(&Config{Origins: []string{"*"}, Credentials: true}, nil); err == nil {
		t.Error("* with credentials is compiled")
	}
	if _, err := New(&Config{Origins: []string{"null"}}, nil); err == nil {
		t.Error("null is compiled")
	}
	var c Config
	if err := c.FromScalar("false"); err != nil || !c.Off {
		t.Error(err)
	}
	if err := c.FromScalar("*"); err == nil {
		t.Error("cors: * is a word")
	}
}

func TestValidate(t *testing.T) {
	for want, cfg := range map[string]Config{
		"":                 {Origins: []string{app, "https://*.example.org"}, Methods: []string{"GET"}, Headers: []string{"X-A"}},
		"stands alone":     {Origins: []string{app, "*"}},
		"* can't go with":  {Origins: []string{"*"}, Credentials: true},
		"* means nothing":  {Origins: []string{app}, Credentials: true, Headers: []string{"*"}},
		"means nothing to": {Origins: []string{app}, Credentials: true, Expose: []string{"*"}},
		"twice":            {Origins: []string{app, app}},
		"stands here":      {Origins: []string{app}, Headers: []string{"X-A", "x-a"}},
		"\"GET\" stands":   {Origins: []string{app}, Methods: []string{"GET", "GET"}},
		"not a method":     {Origins: []string{app}, Methods: []string{"TRACE"}},
		"\"A B\" is not a": {Origins: []string{app}, Methods: []string{"A B"}},
		"name of a field":  {Origins: []string{app}, Expose: []string{"X A"}},
		"whole seconds":    {Origins: []string{app}, MaxAge: units.Duration(time.Millisecond)},
		"sandboxed":        {Origins: []string{"null"}},
	} {
		p := units.NewProblems()
		cfg.Validate(p)
		if found := p.List(); want == "" && len(found) > 0 || want != "" && (len(found) != 1 || !strings.Contains(found[0].Message, want)) {
			t.Errorf("%q: %v", want, found)
		}
	}
	p := units.NewProblems()
	(&Config{Off: true}).Validate(p)
	if len(p.List()) > 0 {
		t.Error(p.List())
	}
}
