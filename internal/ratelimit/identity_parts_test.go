package ratelimit

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/pipeline"
)

func keyOf(t testing.TB, l *Limit, change func(x *pipeline.Exchange, r *fakeRequest)) string {
	t.Helper()
	x, req, _ := newExchange()
	change(x, req)
	key, ok := l.appendKey(nil, x)
	if !ok {
		t.Fatal("no key")
	}
	return string(key)
}

// Edge case 25: an address counts by its bits, however it is written.
func TestOneAddressManyForms(t *testing.T) {
	l := limit(t, "x", "1/s", Config{By: By{"ip"}})
	at := func(ip string) string {
		return keyOf(t, l, func(x *pipeline.Exchange, _ *fakeRequest) { x.ClientIP = netip.MustParseAddr(ip) })
	}
	for _, same := range []string{"::ffff:192.0.2.1", "::ffff:c000:201", "::FFFF:C000:0201", "64:ff9b::192.0.2.1", "64:ff9b::c000:201", "0:0:0:0:0:ffff:c000:0201"} {
		if at(same) != at("192.0.2.1") {
			t.Errorf("%s is another client than 192.0.2.1", same)
		}
	}
	for _, other := range []string{"192.0.2.2", "64:ff9b::192.0.2.2", "64:ff9b:1::192.0.2.1", "::c000:201", "2001:db8::c000:201"} {
		if at(other) == at("192.0.2.1") {
			t.Errorf("%s is the client 192.0.2.1", other)
		}
	}
}

// Edge case 26: parts of a composite identity can't be shifted into each other, whatever bytes they hold.
func TestPartsDoNotRunTogether(t *testing.T) {
	l := limit(t, "x", "1/s", Config{By: By{"header:A", "header:B", "client"}})
	seen := map[string]string{}
	long := strings.Repeat("a", 4096)
	values := []string{"a", "aa", "a:b", "a\x00", "\x00a", ":", "h", "\x00\x00\x00\x01h", "&", long, long[1:], "a\x00\x00\x00\x02"}
	for _, a := range values {
		for _, b := range values {
			for _, who := range []string{"u", "u:v"} {
				key := keyOf(t, l, func(x *pipeline.Exchange, r *fakeRequest) {
					r.header["A"], r.header["B"], x.Client.Identity = a, b, who
				})
				if before, twice := seen[key]; twice {
					t.Fatalf("%.20q %.20q %q has the key of %s", a, b, who, before)
				}
				seen[key] = a + "|" + b + "|" + who
			}
		}
	}
}

func TestComposite(t *testing.T) {
	r := newRig(false, limit(t, "x", "1/h", Config{By: By{"client", "route"}}))
	serve := func(who, route string) error {
		x, _, _ := newExchange()
		x.Client.Identity, x.Route = who, route
		return r.serve(x)
	}
	for _, c := range []struct {
		who, route string
		want       error
	}{{"a", "r", nil}, {"a", "r", pipeline.RateLimited}, {"a", "s", nil}, {"b", "r", nil}, {"b", "s", nil}, {"b", "s", pipeline.RateLimited}} {
		if err := serve(c.who, c.route); err != c.want {
			t.Errorf("%s on %s: %v, want %v", c.who, c.route, err, c.want)
		}
	}
	reject := newRig(false, limit(t, "x", "1/h", Config{By: By{"ip", "header:A"}, OnMissing: "reject"}))
	x, _, _ := newExchange()
	if err := reject.serve(x); err != pipeline.Unauthenticated {
		t.Errorf("a part is missing: %v", err)
	}
}

// Edge case 27: what a bucket is known by does not change with the buffer that the header was in.
func TestBufferIsReused(t *testing.T) {
	r := newRig(false, limit(t, "x", "1/h", Config{Burst: 2, By: By{"header:A"}}))
	buffer := []byte("one")
	x, _, _ := newExchange()
	x.Request = &bufferRequest{buffer: buffer}
	serve := func(value string, want error) {
		t.Helper()
		copy(buffer, value)
		if err := r.serve(x); err != want {
			t.Errorf("%s: %v, want %v", value, err, want)
		}
	}
	serve("one", nil)
	serve("two", nil)
	serve("one", nil)
	serve("one", pipeline.RateLimited)
	serve("two", nil)
	serve("two", pipeline.RateLimited)
}

type bufferRequest struct {
	pipeline.Request
	buffer []byte
}

func (*bufferRequest) Method() []byte         { return nil }
func (r *bufferRequest) Header(string) []byte { return r.buffer }

// The hot path keeps to itself also with plans, prices, composite identities and a reserve.
func TestNoAllocationsWithEverything(t *testing.T) {
	if raceEnabled {
		t.Skip("pools allocate under the race detector")
	}
	everything := Config{Burst: 1000000, By: By{"client", "ip"}, Reserve: 0.2, Cost: Cost{Base: 1, Methods: map[string]int{"POST": 5}, Body: map[string]int{"1MiB": 9}},
		Plans: map[string]Plan{"claim": {Word: "plan"}, "gold": {Rate: rateOf(t, "100000000/s")}}}
	seats := NewMemorySeats(SeatsConfig{})
	r := newRig(false)
	for _, v := range []Version{Draft10, Next, XRateLimit, Off} {
		limits := []*Limit{limit(t, "x", "100000000/s", everything), inFlight(t, 10)}
		m := NewMemory(MemoryConfig{})
		h := New(limits, LayerConfig{Fields: v}, Deps{Store: m, Seats: seats})(r.end())
		x, _, _ := newExchange()
		x.Request, x.Response = quietBody{}, quietResponse{}
		serve := func() {
			if err := h.Serve(t.Context(), x); err != nil {
				t.Fatal(err)
			}
			x.Finish(pipeline.End{})
		}
		serve()
		if n := testing.AllocsPerRun(200, serve); n > 0 {
			t.Errorf("version %d: %v allocations", v, n)
		}
	}
}

type quietBody struct{ quietRequest }

func (quietBody) ContentLength() int64 { return 5 }
