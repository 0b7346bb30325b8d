package headers

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// usual is what security_headers: true gives.
func usual() *Config {
	return &Config{HSTS: "max-age=31536000", ContentType: "nosniff", Frame: "deny", Referrer: "no-referrer"}
}

// ends is an upstream, or a layer below that refuses.
func ends(err error, fields ...string) pipeline.Handler {
	return pipeline.HandlerFunc(func(_ context.Context, x *pipeline.Exchange) error {
		for i := 0; i < len(fields); i += 2 {
			x.Response.Add(fields[i], []byte(fields[i+1]))
		}
		return err
	})
}

func TestAnswers(t *testing.T) {
	const plain = "Content-Security-Policy=frame-ancestors 'none' Referrer-Policy=no-referrer X-Content-Type-Options=nosniff X-Frame-Options=DENY"
	const tls = "Content-Security-Policy=frame-ancestors 'none' Referrer-Policy=no-referrer Strict-Transport-Security=max-age=31536000 X-Content-Type-Options=nosniff X-Frame-Options=DENY"
	theirs := []string{"x-frame-options", "SAMEORIGIN", "Content-Security-Policy", "script-src x", "Strict-Transport-Security", "max-age=1"}
	for _, c := range []struct {
		name   string
		change func(*Config)
		secure bool
		below  pipeline.Handler
		want   string
	}{
		{"plain", nil, false, ends(nil), plain},
		{"TLS", nil, true, ends(nil), tls},
		{"refused", nil, true, ends(pipeline.RateLimited), tls},
		{"upstream's own", nil, true, ends(nil, theirs...), "Content-Security-Policy=script-src x Referrer-Policy=no-referrer Strict-Transport-Security=max-age=1 X-Content-Type-Options=nosniff x-frame-options=SAMEORIGIN"},
		{"upstream's own without TLS", nil, false, ends(nil, theirs...), "Content-Security-Policy=script-src x Referrer-Policy=no-referrer X-Content-Type-Options=nosniff x-frame-options=SAMEORIGIN"},
		{"overridden", func(c *Config) { c.Override = true }, true, ends(nil, theirs...), tls},
		{"our own answer", nil, true, ends(pipeline.Internal, theirs...), tls},
		{"same origin", func(c *Config) { c.Frame = "sameorigin" }, false, ends(nil), strings.NewReplacer("'none'", "'self'", "DENY", "SAMEORIGIN").Replace(plain)},
		{"no frame", func(c *Config) { c.Frame = off }, false, ends(nil), "Referrer-Policy=no-referrer X-Content-Type-Options=nosniff"},
		{"policy", func(c *Config) { c.CSP = "default-src 'self';" }, false, ends(nil), strings.Replace(plain, "frame-a", "default-src 'self'; frame-a", 1)},
		{"policy with ancestors", func(c *Config) { c.CSP = "default-src 'self';  Frame-Ancestors https://a.test" }, false, ends(nil), strings.Replace(plain, "frame-ancestors 'none'", "default-src 'self';  Frame-Ancestors https://a.test", 1)},
		{"policy alone", func(c *Config) { c.CSP, c.Frame = "default-src 'self'", off }, false, ends(nil), "Content-Security-Policy=default-src 'self' Referrer-Policy=no-referrer X-Content-Type-Options=nosniff"},
		{"no HSTS", func(c *Config) { c.HSTS = off }, true, ends(nil), plain},
		{"no HSTS, upstream's", func(c *Config) { c.HSTS = off }, true, ends(nil, "Strict-Transport-Security", "max-age=1"), strings.Replace(tls, "31536000", "1", 1)},
		{"HSTS alone", func(c *Config) { c.ContentType, c.Frame, c.Referrer = off, off, off }, true, ends(nil), "Strict-Transport-Security=max-age=31536000"},
	} {
		cfg := usual()
		if c.change != nil {
			c.change(cfg)
		}
		m := pipeline.NewMemory("GET", "/")
		m.Secure = c.secure
		_ = pipeline.Compose(c.below, New(cfg)).Serve(t.Context(), &m.Exchange)
		var got []string
		m.Response.EachField(func(name, value []byte) { got = append(got, string(name)+"="+string(value)) })
		slices.Sort(got)
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, text, c.want)
		}
	}
}

func TestTheRefusalComesOut(t *testing.T) {
	m := pipeline.NewMemory("GET", "/")
	if err := pipeline.Compose(ends(pipeline.UpstreamFailed), New(usual())).Serve(t.Context(), &m.Exchange); !errors.Is(err, pipeline.UpstreamFailed) {
		t.Error(err)
	}
}

func TestOff(t *testing.T) {
	nothing := &Config{HSTS: off, ContentType: off, Frame: off, Referrer: off}
	for _, cfg := range []*Config{nil, {Off: true}, nothing} {
		if New(cfg) != nil {
			t.Errorf("%v has a layer", cfg)
		}
	}
	c := usual()
	for word, want := range map[string]bool{"true": false, "false": true} {
		if err := c.FromScalar(word); err != nil || c.Off != want {
			t.Errorf("%s: %v %v", word, err, c.Off)
		}
	}
	if c.FromScalar("on") == nil {
		t.Error("on is a word")
	}
}

func TestValidate(t *testing.T) {
	for text, words := range map[string]string{
		"max-age=31536000": "", "max-age=0": "", "max-age=63072000; includeSubDomains; preload": "", "MAX-AGE=1;includesubdomains": "", off: "",
		"": "unknown directive", "31536000": "unknown directive", "max-age": "number", "max-age=": "number", "max-age=-1": "number", "max-age=1y": "number", "max-age=9999999999": "number",
		"max-age=1; max-age=2": "number", "includeSubDomains": "max-age is missing", "max-age=1; preload; includeSubDomains": "31536000", "max-age=31536000; preload": "includeSubDomains", "max-age=1; x": "unknown directive", "max-age=1\r\nX: y": "number",
	} {
		cfg := usual()
		cfg.HSTS = text
		check(t, cfg, "hsts", text, words)
	}
	for text, words := range map[string]string{
		"default-src 'self'; frame-ancestors 'none'": "", "a\r\nSet-Cookie: x": "plain ASCII", "default-src ä": "plain ASCII", "default-src a, script-src b": "comma", "  ": "empty",
	} {
		cfg := usual()
		cfg.CSP = text
		check(t, cfg, "csp", text, words)
	}
	check(t, &Config{Off: true}, "", "", "")
}

func check(t *testing.T, cfg *Config, path, text, words string) {
	t.Helper()
	p := units.NewProblems()
	cfg.Validate(p)
	if found := p.List(); words == "" && len(found) > 0 || words != "" && (len(found) != 1 || found[0].Path != path || !strings.Contains(found[0].Message, words)) {
		t.Errorf("%q: %v", text, found)
	}
}

// room takes fields and forgets them.
type room struct {
	pipeline.Response
	n int
}

func (*room) HasAny(pipeline.Names) bool { return false }
func (r *room) Add(_ string, v []byte)   { r.n += len(v) }

func TestNothingIsAllocated(t *testing.T) {
	h := pipeline.Compose(ends(nil), New(usual()))
	x := &pipeline.Exchange{Response: &room{}, Secure: true}
	if n := testing.AllocsPerRun(100, func() { _ = h.Serve(context.Background(), x) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLayer(b *testing.B) {
	h := pipeline.Compose(ends(nil), New(usual()))
	x := &pipeline.Exchange{Response: &room{}, Secure: true}
	b.ReportAllocs()
	for b.Loop() {
		_ = h.Serve(context.Background(), x)
	}
}
