package rewrite

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// sent is what the upstream gets as its path.
func sent(t *testing.T, cfg Config, m *pipeline.Memory) string {
	t.Helper()
	layer, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h := pipeline.Compose(pipeline.HandlerFunc(func(_ context.Context, x *pipeline.Exchange) error {
		x.Response.Set("Server", []byte("theirs"))
		x.Response.Set("X-Debug", []byte("1"))
		return nil
	}), layer)
	if err := h.Serve(context.Background(), &m.Exchange); err != nil {
		t.Fatal(err)
	}
	if m.Outgoing.Path == nil {
		return string(m.Request.Path())
	}
	return string(m.Outgoing.Path)
}

func TestPaths(t *testing.T) {
	for _, c := range []struct {
		cfg        Config
		path, want string
	}{
		{Config{StripPrefix: "/v1"}, "/v1/orders", "/orders"},
		{Config{StripPrefix: "/v1"}, "/v1", "/"},
		{Config{StripPrefix: "/v1"}, "/v1/", "/"},
		{Config{StripPrefix: "/v1"}, "/v10/orders", "/v10/orders"}, // whole segments only
		{Config{StripPrefix: "/v1"}, "/x/v1", "/x/v1"},
		{Config{StripPrefix: "/a/b"}, "/a/b/c", "/c"},
		{Config{AddPrefix: "/api"}, "/orders", "/api/orders"},
		{Config{AddPrefix: "/api"}, "/", "/api/"},
		{Config{StripPrefix: "/v1", AddPrefix: "/v2"}, "/v1/orders/", "/v2/orders/"},
		{Config{StripPrefix: "/v1", AddPrefix: "/v2"}, "/v1", "/v2"},
		{Config{StripPrefix: "/v1", AddPrefix: "/v2"}, "/v1/", "/v2/"},
		{Config{Path: "/fixed"}, "/any", "/fixed"},
		{Config{Path: "/u/{id}/profile"}, "/users/42", "/u/42/profile"},
		{Config{Path: "/{id}"}, "/users/42", "/42"},
		{Config{Path: "/x/"}, "/any", "/x/"},
		{Config{Host: "upstream"}, "/a", "/a"},
	} {
		m := pipeline.NewMemory("GET", c.path)
		m.Params.Names = []string{"id"}
		m.Params.Values[0] = []byte("42")
		if got := sent(t, c.cfg, m); got != c.want {
			t.Errorf("%+v %s: %s, not %s", c.cfg, c.path, got, c.want)
		}
	}
}

func TestHostAndFields(t *testing.T) {
	cfg := Config{
		Host:     "orders.internal:8443",
		Request:  Headers{Set: map[string]string{"X-Team": "pay"}, Remove: []string{"Cookie"}},
		Response: Headers{Set: map[string]string{"Server": "ours"}, Remove: []string{"x-debug"}},
	}
	m := pipeline.NewMemory("GET", "/a")
	sent(t, cfg, m)
	if string(m.Outgoing.Host) != "orders.internal:8443" || string(m.Sent.Header("Server")) != "ours" || m.Sent.Header("X-Debug") != nil {
		t.Error("host or answer differ")
	}
	if got := fmt.Sprint(m.Outgoing.Fields()); !strings.Contains(got, "{X-Team [112 97 121]}") || !strings.Contains(got, "{Cookie []}") {
		t.Error(got)
	}
	m = pipeline.NewMemory("GET", "/a")
	if sent(t, Config{Host: "upstream"}, m); m.Outgoing.Host == nil || len(m.Outgoing.Host) > 0 {
		t.Error("the target's own name is meant")
	}
	if layer, err := New(Config{Host: "client"}); layer != nil || err != nil {
		t.Error("a layer for nothing")
	}
}

// A refusal is not touched: what is removed from answers must not remove what explains one.
func TestRefusalsStay(t *testing.T) {
	layer, _ := New(Config{Response: Headers{Remove: []string{"Retry-After"}}})
	m := pipeline.NewMemory("GET", "/a")
	m.Response.Set("Retry-After", []byte("1"))
	_ = layer(pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange) error { return pipeline.UpstreamOpen })).Serve(context.Background(), &m.Exchange)
	if m.Sent.Header("Retry-After") == nil {
		t.Error("gone")
	}
}

func TestProblems(t *testing.T) {
	for text, cfg := range map[string]Config{
		"strip_prefix: \"v1\"":                         {StripPrefix: "v1"},
		"strip_prefix: \"/v1/\"":                       {StripPrefix: "/v1/"},
		"add_prefix: \"/a/../b\"":                      {AddPrefix: "/a/../b"},
		"add_prefix: \"/a%2fb\"":                       {AddPrefix: "/a%2fb"},
		"path: path replaces":                          {Path: "/a", AddPrefix: "/b"},
		"path: \"/a/x{id}\" has a parameter":           {Path: "/a/x{id}"},
		"path: \"/a//b\" is not canonical":             {Path: "/a//b"},
		"path: \"a\" does not begin":                   {Path: "a"},
		"host: \"a b\"":                                {Host: "a b"},
		"request_headers.set.Host: Host is set":        {Request: Headers{Set: map[string]string{"Host": "x"}}},
		"set.X_Request_Id: X_Request_Id is set":        {Request: Headers{Set: map[string]string{"X_Request_Id": "x"}}},
		"set.authorization: authorization is set":      {Request: Headers{Set: map[string]string{"authorization": "x"}}},
		"remove[0]: Transfer-Encoding is decided":      {Request: Headers{Remove: []string{"Transfer-Encoding"}}},
		"set.X: the value is not printable":            {Request: Headers{Set: map[string]string{"X": "a\r\nb"}}},
		"set.X Y: \"X Y\" is not the name":             {Response: Headers{Set: map[string]string{"X Y": "1"}}},
		"response_headers.remove[0]: Idempotency-Stat": {Response: Headers{Remove: []string{"Idempotency-Status"}}},
	} {
		p := units.NewProblems()
		cfg.Validate(p)
		if got := fmt.Sprint(p.List()); len(p.List()) != 1 || !strings.Contains(strings.ReplaceAll(got, "{", ""), strings.SplitN(text, ":", 2)[0]) {
			t.Errorf("%s: %s", text, got)
		}
	}
	p := units.NewProblems()
	(&Config{StripPrefix: "/v1", AddPrefix: "/v2", Host: "a.b:1", Request: Headers{Set: map[string]string{"X-A": "b c"}}}).Validate(p)
	(&Config{Path: "/{id}/x"}).CheckParams(p, []string{"id"})
	if len(p.List()) > 0 {
		t.Errorf("%v", p.List())
	}
	if (&Config{Path: "/{idd}/x"}).CheckParams(p, []string{"id"}); len(p.List()) != 1 {
		t.Errorf("%v", p.List())
	}
}

// Whatever is set up, a canonical path stays one.
func FuzzPath(f *testing.F) {
	f.Add("/v1", "/v2", "/v1/a/b", "/u/{id}", "7")
	f.Fuzz(func(t *testing.T, stripped, added, path, template, value string) {
		p := units.NewProblems()
		cfg := Config{StripPrefix: stripped, AddPrefix: added}
		cfg.Validate(p)
		if len(p.List()) > 0 || !strings.HasPrefix(path, "/") || !isCanonical(strings.TrimSuffix(path, "/")) && path != "/" {
			return
		}
		got := sent(t, cfg, pipeline.NewMemory("GET", path))
		if got != "/" && !isCanonical(strings.TrimSuffix(got, "/")) || !strings.HasPrefix(got, "/") || strings.HasPrefix(got, "//") {
			t.Errorf("%+v makes %q of %q", cfg, got, path)
		}
	})
}
