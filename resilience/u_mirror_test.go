package resilience

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const mirrored = "  - { id: all, match: { path: /** }, auth: none, to: { upstream: up, mirror: { upstream: copy%s } } }\n"

// copies counts what became of copies.
func (g *gate) copies(result string) float64 {
	return g.metric(fmt.Sprintf("gateway_mirrored_total{result=%q,upstream=\"copy\"}", result))
}

// Edge case 44: a mirror that hangs, or is dead, or gets too much, costs the request nothing.
func TestU44MirrorsCostNothing(t *testing.T) {
	t.Parallel()
	o, hung := scripted(t, gives(fine)), scripted(t, turns("..."))
	g := begin(t, "limits: { body: 16MiB },", up("up", "", o.url)+up("copy", "", hung.url), fmt.Sprintf(mirrored, ", in_flight: 4"))
	base, _, _ := g.process()
	start := time.Now()
	for range 20 {
		g.want(200, "", "POST", "/x", "body")
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("20 requests took %v", took)
	}
	g.eventually("dropped copies", func() bool { return g.copies("dropped") == 16 && hung.count() == 4 })
	big := strings.Repeat("x", 8<<20)
	for range 4 {
		g.want(200, "", "POST", "/big", big)
	}
	a, err := g.streamed("POST", "/unknown", "body")
	g.wanted(200, "", "a body of unknown length", a, err)
	if n := g.copies("skipped"); n != 5 || hung.count() != 4 {
		t.Errorf("%v skipped, %d arrived", n, hung.count())
	}
	if kib, _, _ := g.process(); kib-base > 24<<10 {
		t.Errorf("memory grew by %d KiB", kib-base)
	}
	if n := o.count(); n != 25 {
		t.Errorf("the upstream saw %d of 25", n)
	}
	dead := begin(t, "", up("up", "", o.url)+up("copy", "", "http://"+refusing(t)), fmt.Sprintf(mirrored, ""))
	dead.want(200, "", "GET", "/x", "")
	dead.eventually("the failed copy", func() bool { return dead.copies("failed") == 1 })
}

// Edge case 45: a cap on bodies does not concern a request without one.
func TestU45MirrorWithoutBody(t *testing.T) {
	t.Parallel()
	o, copied := scripted(t, gives(fine)), scripted(t, gives(fine))
	g := begin(t, "", up("up", "", o.url)+up("copy", "", copied.url), fmt.Sprintf(mirrored, ", body: 1B"))
	g.want(200, "", "GET", "/x", "")
	g.want(200, "", "POST", "/x", "")
	g.want(200, "", "POST", "/x", "1")
	g.want(200, "", "POST", "/x", "12")
	g.eventually("three copies", func() bool { return g.copies("sent") == 3 && g.copies("skipped") == 1 })
	for _, a := range copied.all() {
		if a.header.Get("X-Gateway-Mirror") != "1" {
			t.Errorf("a copy is not marked: %s", a.raw)
		}
	}
}
