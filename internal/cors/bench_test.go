package cors

import (
	"context"
	"testing"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// head is a request whose fields cost what a parsed table costs.
type head struct {
	pipeline.Request
	fields wire.Fields
}

func (h *head) Fields() int               { return h.fields.Len() }
func (h *head) Field(i int) (n, v []byte) { return h.fields.At(i) }
func (h *head) Header(name string) []byte { return h.fields.Get(name) }
func (h *head) Method() []byte            { return get }

var get = []byte("GET")

// room takes fields and forgets them.
type room struct {
	pipeline.Response
	n int
}

func (*room) HasAny(pipeline.Names) bool { return false }
func (*room) Header(string) []byte       { return nil }
func (r *room) Add(_ string, v []byte)   { r.n += len(v) }

func browser(t testing.TB, origin string) *pipeline.Exchange {
	h := &head{}
	if origin != "" {
		origin = "Origin: " + origin + "\r\n"
	}
	raw := "Host: api.example.com\r\nUser-Agent: test\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n" + origin + "Authorization: Bearer x\r\n\r\n"
	if err := h.fields.Parse([]byte(raw), 100); err != nil {
		t.Fatal(err)
	}
	return &pipeline.Exchange{Request: h, Response: &room{}}
}

var cases = []struct{ name, origin string }{
	{"none", ""}, {"exact", app}, {"pattern", "https://a.b.example.org"}, {"another", "https://evil.example.com"},
}

func TestNothingIsAllocated(t *testing.T) {
	end := pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange) error { return nil })
	h := pipeline.Compose(end, policy(t, withCookies).Layer())
	for _, c := range cases {
		x := browser(t, c.origin)
		if n := testing.AllocsPerRun(100, func() { _ = h.Serve(context.Background(), x) }); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}

func BenchmarkLayer(b *testing.B) {
	end := pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange) error { return nil })
	h := pipeline.Compose(end, policy(b, withCookies).Layer())
	for _, c := range cases {
		x := browser(b, c.origin)
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = h.Serve(context.Background(), x)
			}
		})
	}
}
