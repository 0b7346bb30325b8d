package ratelimit

import (
	"net/netip"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// TestSharedBuckets sends one request, changes it, sends another: refused means that both met one bucket.
func TestSharedBuckets(t *testing.T) {
	ip := func(s string) func(*pipeline.Exchange, *fakeRequest) {
		return func(x *pipeline.Exchange, _ *fakeRequest) { x.ClientIP = netip.MustParseAddr(s) }
	}
	who := func(id string) func(*pipeline.Exchange, *fakeRequest) {
		return func(x *pipeline.Exchange, _ *fakeRequest) { x.Client.Identity = id }
	}
	route := func(id string) func(*pipeline.Exchange, *fakeRequest) {
		return func(x *pipeline.Exchange, _ *fakeRequest) { x.Route = id }
	}
	tenant := func(v string) func(*pipeline.Exchange, *fakeRequest) {
		return func(_ *pipeline.Exchange, r *fakeRequest) { r.header["X-Tenant"] = v }
	}
	plan := func(v string) func(*pipeline.Exchange, *fakeRequest) {
		return func(x *pipeline.Exchange, _ *fakeRequest) { x.Client.Claims = claims{"plan": v} }
	}
	anonymous := func(s string) func(*pipeline.Exchange, *fakeRequest) {
		return func(x *pipeline.Exchange, _ *fakeRequest) {
			x.Client, x.ClientIP = pipeline.Client{}, netip.MustParseAddr(s)
		}
	}
	for _, c := range []struct {
		name, by, missing string
		a, b              func(*pipeline.Exchange, *fakeRequest)
		shared            bool
	}{
		{"one client, two addresses", "client", "", ip("192.0.2.1"), ip("192.0.2.2"), true},
		{"two clients", "client", "", who("main|a"), who("main|b"), false},
		{"one v4 address", "ip", "", ip("192.0.2.1"), ip("192.0.2.1"), true},
		{"two v4 addresses", "ip", "", ip("192.0.2.1"), ip("192.0.2.2"), false},
		{"v4 written as v6", "ip", "", ip("192.0.2.1"), ip("::ffff:c000:201"), true},
		{"one v6 /64", "ip", "", ip("2001:db8:1:2::1"), ip("2001:db8:1:2:ffff::9"), true},
		{"two v6 /64", "ip", "", ip("2001:db8:1:2::1"), ip("2001:db8:1:3::1"), false},
		{"zones", "ip", "", ip("fe80::1%eth0"), ip("fe80::1%eth1"), true},
		{"one route, two clients", "route", "", who("a"), who("b"), true},
		{"two routes", "route", "", route("a"), route("b"), false},
		{"all", "all", "", route("a"), who("b"), true},
		{"two headers", "header:X-Tenant", "", tenant("a"), tenant("b"), false},
		{"one header", "header:X-Tenant", "", tenant("a"), tenant("a"), true},
		{"two claims", "claim:plan", "", plan("a"), plan("b"), false},
		{"one claim", "claim:plan", "", plan("a"), plan("a"), true},
		{"anonymous by address", "client", "next", anonymous("192.0.2.1"), anonymous("192.0.2.2"), false},
		{"anonymous, one address", "client", "next", anonymous("192.0.2.1"), anonymous("192.0.2.1"), true},
		{"anonymous in one bucket", "client", "shared", anonymous("192.0.2.1"), anonymous("192.0.2.2"), true},
		{"no header, by address", "header:X-Tenant", "next", ip("192.0.2.1"), ip("192.0.2.2"), false},
		{"empty header is none", "header:X-Tenant", "shared", tenant(""), ip("192.0.2.2"), true},
		{"no claim", "claim:none", "shared", ip("192.0.2.1"), ip("192.0.2.2"), true},
		// Identities of different kinds never meet, even when they look alike.
		{"client named like an address", "client", "next", who("\xc0\x00\x02\x01"), anonymous("192.0.2.1"), false},
		{"client named like nobody", "client", "shared", who("n"), anonymous("192.0.2.1"), false},
		{"header like the shared bucket", "header:X-Tenant", "shared", tenant("n"), ip("192.0.2.1"), false},
	} {
		r := newRig(false, limit(t, "x", "1/h", Config{By: By{c.by}, OnMissing: c.missing}))
		x, req, _ := newExchange()
		c.a(x, req)
		first := r.serve(x)
		x, req, _ = newExchange()
		c.b(x, req)
		if second := r.serve(x); first != nil || (second != nil) != c.shared {
			t.Errorf("%s: first %v, second %v, want shared %v", c.name, first, second, c.shared)
		}
	}
}

func TestMissingRejected(t *testing.T) {
	other := limit(t, "other", "1/h", Config{By: By{"all"}})
	for _, by := range []string{"client", "header:X-Tenant", "claim:tenant"} {
		r := newRig(false, other, limit(t, "x", "1/s", Config{By: By{by}, OnMissing: "reject"}))
		x, _, resp := newExchange()
		x.Client = pipeline.Client{}
		if err := r.serve(x); err != pipeline.Unauthenticated || resp.header["WWW-Authenticate"] != `Bearer realm="oncegate"` || resp.header["Cache-Control"] != "no-store" {
			t.Errorf("%s: %v, %v", by, err, resp.header)
		}
		if r.store.Len() > 0 || r.calls > 0 {
			t.Errorf("%s: a rejected request was charged or passed", by)
		}
	}
}

// Keys of limits whose names and identities join to the same text stay apart (edge case 26).
func TestKeysDoNotCollide(t *testing.T) {
	r := newRig(false, limit(t, "a", "1/h", Config{}), limit(t, "ac", "1/h", Config{}))
	x, _, _ := newExchange()
	x.Client.Identity = "cz"
	r.serve(x)
	x.Client.Identity = "z"
	if err := r.serve(x); err != nil {
		t.Error("another client met the same bucket")
	}
	if r.store.Len() != 4 {
		t.Errorf("%d buckets, want 4", r.store.Len())
	}
}

// A limit keyed by another header after a reload does not find the old header's buckets.
func TestHeaderNameIsPartOfTheKey(t *testing.T) {
	x, req, _ := newExchange()
	req.header["A"], req.header["B"] = "v", "v"
	a, _ := limit(t, "x", "1/s", Config{By: By{"header:A"}}).appendKey(nil, x)
	b, _ := limit(t, "x", "1/s", Config{By: By{"header:B"}}).appendKey(nil, x)
	claim, _ := limit(t, "x", "1/s", Config{By: By{"claim:plan"}}).appendKey(nil, x)
	if string(a) == string(b) || string(a) == string(claim) {
		t.Errorf("%q, %q, %q", a, b, claim)
	}
}

// Without any address there is still a bucket.
func TestNoAddress(t *testing.T) {
	r := newRig(false, limit(t, "x", "1/h", Config{By: By{"ip"}}))
	for i, want := range []error{nil, pipeline.RateLimited} {
		x, _, _ := newExchange()
		x.ClientIP, x.Peer = netip.Addr{}, netip.AddrPort{}
		if err := r.serve(x); err != want {
			t.Errorf("request %d: %v, want %v", i, err, want)
		}
	}
	x, _, _ := newExchange()
	x.ClientIP = netip.Addr{}
	if err := r.serve(x); err != nil {
		t.Error("the peer's address was not used")
	}
	r.now.advance(time.Hour)
}
