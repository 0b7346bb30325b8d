package access

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

func compiled(t testing.TB, cfg Config) *List {
	t.Helper()
	l, err := New(&cfg, "r", nil)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestAdmits(t *testing.T) {
	for _, c := range []struct {
		name        string
		allow, deny string // separated by blanks
		in, out     string
	}{
		{"allow", "10.0.0.0/8 192.0.2.7 2001:db8::/32", "", "10.0.0.0 10.255.255.255 192.0.2.7 2001:db8:: 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "9.255.255.255 11.0.0.0 192.0.2.6 192.0.2.8 2001:db7:ffff:ffff:ffff:ffff:ffff:ffff 2001:db9:: ::1"},
		{"deny", "", "10.0.0.0/8 2001:db8::1", "11.0.0.1 2001:db8:: 2001:db8::2", "10.1.2.3 2001:db8::1"},
		{"deny wins", "10.0.0.0/8", "10.1.0.0/16", "10.0.0.1 10.2.0.1", "10.1.0.1 11.0.0.1"},
		{"deny wins over the same", "10.0.0.0/8", "10.0.0.0/8", "", "10.0.0.1"},
		{"deny a wider one", "10.1.0.0/16", "10.0.0.0/8", "", "10.1.0.1 11.0.0.1"},
		{"mapped", "10.0.0.0/8", "10.1.0.0/16", "::ffff:10.0.0.1", "::ffff:10.1.0.1 ::ffff:11.0.0.1 ::ffff:a01:1"},
		{"IPv4 is not IPv6", "::/0", "", "::1 2001:db8::1", "10.0.0.1 ::ffff:10.0.0.1"},
		{"IPv6 is not IPv4", "0.0.0.0/0", "", "0.0.0.0 255.255.255.255 ::ffff:10.0.0.1", "::1 ::"},
		{"all", "0.0.0.0/0 ::/0", "", "10.0.0.1 ::1 255.255.255.255 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""},
		{"edges", "255.255.255.255 0.0.0.0 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ::", "", "255.255.255.255 0.0.0.0 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ::", "255.255.255.254 0.0.0.1 ::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"},
		{"touching", "10.0.0.0/25 10.0.0.128/25 2001:db8::/33 2001:db8:8000::/33", "", "10.0.0.127 10.0.0.128 10.0.0.255 2001:db8:7fff:ffff:ffff:ffff:ffff:ffff 2001:db8:8000::", "10.0.1.0 9.255.255.255 2001:db9::"},
		{"last before a gap", "254.0.0.0/8 255.0.0.0/8 1.0.0.0/8", "", "1.2.3.4 254.0.0.1 255.255.255.255", "2.0.0.0 253.0.0.1"},
		{"zone", "fe80::/10", "fe80::1", "fe80::2%eth0", "fe80::1%eth0"},
		{"64 bits", "2001:db8:0:1::/64 2001:db8::1:0/112", "", "2001:db8:0:1:ffff:ffff:ffff:ffff 2001:db8::1:ffff", "2001:db8:0:2:: 2001:db8::2:0"},
	} {
		l := compiled(t, Config{Allow: strings.Fields(c.allow), Deny: strings.Fields(c.deny)})
		for _, a := range strings.Fields(c.in) {
			if !l.Admits(netip.MustParseAddr(a)) {
				t.Errorf("%s: %s is kept out", c.name, a)
			}
		}
		for _, a := range strings.Fields(c.out) {
			if l.Admits(netip.MustParseAddr(a)) {
				t.Errorf("%s: %s is let in", c.name, a)
			}
		}
		if l.Admits(netip.Addr{}) {
			t.Errorf("%s: an unknown address is let in", c.name)
		}
	}
}

// Random sets are compared with netip's own idea of containment, at their edges above all.
func TestAgainstPrefixes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var prefixes []netip.Prefix
		var texts []string
		for range 1 + r.IntN(40) {
			a := anyAddress(r)
			p, _ := a.Prefix(r.IntN(a.BitLen() + 1))
			if r.IntN(3) > 0 { // narrow ones, so that sets do not cover everything
				p, _ = a.Prefix(a.BitLen() - r.IntN(12))
			}
			prefixes, texts = append(prefixes, p), append(texts, p.String())
		}
		n, err := newNetworks(texts)
		if err != nil {
			t.Fatal(err)
		}
		try := func(a netip.Addr) {
			want := false
			for _, p := range prefixes {
				want = want || p.Contains(a)
			}
			if a.IsValid() && n.has(a) != want {
				t.Fatalf("%s in %v: %v", a, texts, !want)
			}
		}
		for _, p := range prefixes {
			first := p.Addr()
			try(first)
			try(first.Prev())
			last := first
			for last.Next().IsValid() && p.Contains(last.Next()) && p.Bits() > first.BitLen()-12 {
				last = last.Next()
			}
			try(last)
			try(last.Next())
		}
		for range 50 {
			try(anyAddress(r))
		}
	}
}

// anyAddress clusters, so that networks overlap.
func anyAddress(r *rand.Rand) netip.Addr {
	if r.IntN(2) == 0 {
		return netip.AddrFrom4([4]byte{10, byte(r.IntN(3)), byte(r.IntN(256)), byte(r.IntN(256))})
	}
	var b [16]byte
	b[0], b[1], b[7], b[14], b[15] = 0x20, 0x01, byte(r.IntN(3)), byte(r.IntN(256)), byte(r.IntN(256))
	return netip.AddrFrom16(b)
}

func TestRangesAreJoined(t *testing.T) {
	n, err := newNetworks(strings.Fields("10.0.0.0/25 10.0.0.128/25 10.0.1.0/24 10.0.0.7 255.0.0.0/8 0.0.0.0/32 2001:db8::/33 2001:db8:8000::/33 2001:db9::1"))
	if err != nil || len(n.v4.first) != 3 || len(n.v6.first) != 2 {
		t.Errorf("%v %v", n, err)
	}
}

type counted []string

func (c *counted) AddressRefused(route string) { *c = append(*c, route) }

func TestLayer(t *testing.T) {
	var refused counted
	l, err := New(&Config{Deny: []string{"192.0.2.0/24"}}, "orders", &refused)
	if err != nil {
		t.Fatal(err)
	}
	reached := 0
	h := pipeline.Compose(pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange) error { reached++; return nil }), l.Layer())
	m := pipeline.NewMemory("GET", "/")
	if err := h.Serve(t.Context(), &m.Exchange); !errors.Is(err, pipeline.Forbidden) || m.Sent.Header("WWW-Authenticate") != nil || string(m.Sent.Header("Cache-Control")) != "no-store" {
		t.Errorf("%v", err)
	}
	m.ClientIP = netip.MustParseAddr("198.51.100.1")
	if err := h.Serve(t.Context(), &m.Exchange); err != nil || reached != 1 {
		t.Errorf("%v, reached %d", err, reached)
	}
	if len(refused) != 1 || refused[0] != "orders" {
		t.Errorf("counted %q", refused)
	}
}

func TestOff(t *testing.T) {
	for _, cfg := range []*Config{nil, {}, {Off: true, Deny: []string{"10.0.0.0/8"}}} {
		l, err := New(cfg, "", nil)
		if l != nil || err != nil || l.Layer() != nil || !l.Admits(netip.Addr{}) {
			t.Errorf("%v: %v %v", cfg, l, err)
		}
	}
	for _, cfg := range []*Config{{Allow: []string{"x"}}, {Deny: []string{"10.0.0.1/8"}}} {
		if _, err := New(cfg, "", nil); err == nil {
			t.Errorf("%v is compiled", cfg)
		}
	}
}

func TestValidate(t *testing.T) {
	for text, words := range map[string]string{
		"10.0.0.0/8": "", "10.0.0.1": "", "2001:db8::/32": "", "::1": "", "0.0.0.0/0": "", "::/0": "",
		"10.0.0.1/8": "10.0.0.0/8", "2001:db8::1/32": "2001:db8::/32", "10.0.0.0/33": "not a network", "10.0.0": "not a network", "": "not a network", "10.0.0.0/": "not a network",
		"example.com": "not a network", "010.0.0.1": "not a network", "10.0.0.0/08": "not a network", "10.0.0.0-10.0.0.9": "not a network", "[::1]": "not a network",
		"::ffff:10.0.0.0/104": "IPv4 inside IPv6", "::ffff:10.0.0.1": "IPv4 inside IPv6", "fe80::1%eth0": "zone", "fe80::%eth0/64": "zone",
	} {
		p := units.NewProblems()
		(&Config{Allow: []string{text}}).Validate(p)
		if found := p.List(); words == "" && len(found) > 0 || words != "" && (len(found) != 1 || !strings.Contains(found[0].Message, words) || found[0].Path != "allow[0]") {
			t.Errorf("%q: %v", text, found)
		}
	}
	for want, cfg := range map[string]Config{"name no networks": {}, "twice": {Deny: []string{"::1", "::1"}}} {
		p := units.NewProblems()
		cfg.Validate(p)
		if found := p.List(); len(found) != 1 || !strings.Contains(found[0].Message, want) {
			t.Errorf("%q: %v", want, found)
		}
	}
}

// many networks that do not touch, none wider than a /24.
func many(n int) []string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(1 + i>>15), byte(i >> 7), byte(i << 1), 0}), 24).String()
		if i%4 == 3 {
			var b [16]byte
			b[0], b[1], b[4], b[5] = 0x20, 0x01, byte(i>>8), byte(i)
			texts[i] = netip.PrefixFrom(netip.AddrFrom16(b), 48).String()
		}
	}
	return texts
}

func TestNothingIsAllocated(t *testing.T) {
	l := compiled(t, Config{Allow: many(10000), Deny: many(10)})
	h := pipeline.Compose(pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange) error { return nil }), l.Layer())
	m := pipeline.NewMemory("GET", "/")
	m.ClientIP = netip.MustParseAddr("1.70.10.7")
	if n := testing.AllocsPerRun(100, func() {
		if h.Serve(context.Background(), &m.Exchange) != nil {
			t.Fatal("kept out")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAdmits(b *testing.B) {
	addresses := make([]netip.Addr, 1024) // not one address, which the processor would learn
	r := rand.New(rand.NewPCG(1, 2))
	for i := range addresses {
		addresses[i] = netip.AddrFrom4([4]byte{byte(r.IntN(3)), byte(r.IntN(256)), byte(r.IntN(256)), 1})
		if i%4 == 3 {
			var bytes [16]byte
			bytes[0], bytes[1], bytes[4], bytes[5] = 0x20, 0x01, byte(r.IntN(40)), byte(r.IntN(256))
			addresses[i] = netip.AddrFrom16(bytes)
		}
	}
	for name, n := range map[string]int{"1": 1, "10": 10, "10000": 10000, "1000000": 1000000} {
		l := compiled(b, Config{Allow: many(n)})
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				l.Admits(addresses[i&1023])
				i++
			}
		})
	}
}
