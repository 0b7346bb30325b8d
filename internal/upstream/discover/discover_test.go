package discover

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/oncegate/oncegate/internal/upstream/dnstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const name = "orders.test."

func texts(addrs []netip.Addr) (list []string) {
	for _, a := range addrs {
		list = append(list, a.String())
	}
	return list
}

func TestLookup(t *testing.T) {
	dns := dnstest.New(t)
	dns.Says(dnstest.NoError, "10.0.0.2", "10.0.0.1", "10.0.0.2", "2001:db8::1", "0.0.0.0", "224.0.0.1", "::ffff:10.0.0.1")
	for family, want := range map[string][]string{
		"any": {"10.0.0.1", "10.0.0.2", "2001:db8::1"}, "ipv4": {"10.0.0.1", "10.0.0.2"}, "ipv6": {"2001:db8::1"},
	} {
		addrs, left, err := New(dns.Addr, family).Lookup(t.Context(), name, 5*time.Second)
		got := texts(addrs)
		if family == "ipv6" { // a mapped address is one of the other family: which way it is told is the resolver's choice
			got = slices.DeleteFunc(got, func(s string) bool { return s == "10.0.0.1" })
		}
		if err != nil || left != 0 || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %d, %v", family, got, left, err)
		}
	}
}

// Edge case 26: what says "there is nothing" is told from what says nothing.
func TestLookupTellsNothingFromFailure(t *testing.T) {
	dns := dnstest.New(t)
	for _, c := range []struct {
		code    int
		nothing bool
	}{{dnstest.NXDomain, true}, {dnstest.NoError, true}, {dnstest.ServFail, false}, {dnstest.Silent, false}} {
		dns.Says(c.code)
		limit := 5 * time.Second
		if c.code == dnstest.Silent {
			limit = 200 * time.Millisecond
		}
		_, _, err := New(dns.Addr, "any").Lookup(t.Context(), name, limit)
		if err == nil || errors.Is(err, ErrNothing) != c.nothing {
			t.Errorf("code %d: %v", c.code, err)
		}
	}
}

func TestLookupIsBounded(t *testing.T) {
	dns := dnstest.New(t)
	var many []string
	for i := range 300 {
		many = append(many, fmt.Sprintf("10.0.%d.%d", i/250, i%250))
	}
	dns.Says(dnstest.NoError, many...)
	addrs, left, err := New(dns.Addr, "ipv4").Lookup(t.Context(), name, 5*time.Second)
	if err != nil || len(addrs) != Most || left != 300-Most || addrs[0].String() != "10.0.0.0" {
		t.Errorf("%d addresses, %d left, %v", len(addrs), left, err)
	}
}

func TestLookupEndsWithTheContext(t *testing.T) {
	dns := dnstest.New(t)
	dns.Says(dnstest.Silent)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	start := time.Now()
	if _, _, err := New(dns.Addr, "any").Lookup(ctx, name, time.Minute); err == nil || time.Since(start) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

// Edge case 26 again: the last good answer stays for a number of look-ups, and for ever while servers fail.
func TestMemoryKeepsTheLastGoodAnswer(t *testing.T) {
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	var m Memory
	if m.Take(nil, ErrNothing, 1) || m.Take(nil, errors.New("no server"), 1) || len(m.Addrs()) != 0 {
		t.Error("an empty memory changed")
	}
	if !m.Take([]netip.Addr{a}, nil, 3) || m.Take([]netip.Addr{a}, nil, 3) {
		t.Error("the first answer is a change, the same one again is none")
	}
	for range 100 {
		if m.Take(nil, errors.New("no server"), 3) {
			t.Fatal("failing servers took the answer away")
		}
	}
	for range 2 {
		if m.Take(nil, ErrNothing, 3) {
			t.Error("given up too early")
		}
	}
	if !m.Take([]netip.Addr{a, b}, nil, 3) {
		t.Error("a new answer is a change")
	}
	for n := range 3 {
		if m.Take(nil, ErrNothing, 3) != (n == 2) {
			t.Errorf("empty answer %d: a good answer did not begin the row anew, or the third in a row was not the last", n+1)
		}
	}
	if len(m.Addrs()) != 0 {
		t.Error("still known")
	}
	m.Take([]netip.Addr{a}, nil, 0)
	for range 100 {
		if m.Take(nil, ErrNothing, 0) {
			t.Fatal("0 gave up")
		}
	}
}
