package wire

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
)

func proxies(t *testing.T, cidrs ...string) *Proxies {
	t.Helper()
	p, err := ParseProxies(cidrs)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParseProxies(t *testing.T) {
	p := proxies(t, "10.0.0.1/8", "192.0.2.7", "fd00::/8", "::ffff:172.16.0.0/108", "::ffff:198.51.100.1")
	for addr, want := range map[string]bool{
		"10.9.9.9": true, "::ffff:10.9.9.9": true, "11.0.0.1": false, "192.0.2.7": true, "192.0.2.8": false, "fd12::1": true, "fd12::1%eth0": true,
		"fe80::1": false, "172.16.3.4": true, "172.32.0.1": false, "198.51.100.1": true, "::a00:1": false,
	} {
		if p.Trusts(netip.MustParseAddr(addr)) != want {
			t.Errorf("%s: not %t", addr, want)
		}
	}
	if p.Trusts(netip.Addr{}) || (*Proxies)(nil).Trusts(netip.MustParseAddr("127.0.0.1")) || proxies(t).Trusts(netip.MustParseAddr("10.0.0.1")) {
		t.Error("somebody is trusted without being listed")
	}
	for _, bad := range []string{"", "10.0.0.0/33", "10.0.0/8", "localhost", "10.0.0.1/", "/8"} {
		if _, err := ParseProxies([]string{"10.0.0.0/8", bad}); err == nil || !strings.Contains(err.Error(), `"`+bad+`"`) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestResolveClient(t *testing.T) {
	p := proxies(t, "10.0.0.0/8", "fd00::/8")
	for _, c := range []struct{ name, peer, fields, client, chain string }{
		{"no field", "10.0.0.1", "", "10.0.0.1", ""},
		{"one hop", "10.0.0.1", "1.2.3.4", "1.2.3.4", "1.2.3.4"},
		{"peer is mapped", "::ffff:10.0.0.1", "1.2.3.4", "1.2.3.4", "1.2.3.4"},
		{"untrusted peer", "9.9.9.9", "1.2.3.4", "9.9.9.9", ""},
		{"spoofed left part", "10.0.0.1", "6.6.6.6, 1.2.3.4, 10.1.1.1", "1.2.3.4", "1.2.3.4, 10.1.1.1"},
		{"all trusted", "10.0.0.1", "10.3.3.3,10.2.2.2", "10.3.3.3", "10.3.3.3,10.2.2.2"},
		{"junk ends the walk", "10.0.0.1", "1.2.3.4, junk, 10.2.2.2", "10.2.2.2", "10.2.2.2"},
		{"only junk", "10.0.0.1", "unknown", "10.0.0.1", ""},
		{"junk from the client only", "10.0.0.1", "<script>, 1.2.3.4", "1.2.3.4", "1.2.3.4"},
		{"mapped client", "10.0.0.1", "::ffff:1.2.3.4", "1.2.3.4", "::ffff:1.2.3.4"},
		{"mapped proxy", "10.0.0.1", "5.5.5.5, ::ffff:10.1.1.1", "5.5.5.5", "5.5.5.5, ::ffff:10.1.1.1"},
		{"port", "10.0.0.1", "1.2.3.4:5678", "1.2.3.4", "1.2.3.4:5678"},
		{"IPv6", "10.0.0.1", "2001:db8::1", "2001:db8::1", "2001:db8::1"},
		{"IPv6 in brackets", "10.0.0.1", "[2001:db8::1]", "2001:db8::1", "[2001:db8::1]"},
		{"IPv6 with port", "fd00::2", "1.1.1.1, [fd00::1]:443", "1.1.1.1", "1.1.1.1, [fd00::1]:443"},
		{"zone", "10.0.0.1", "fe80::1%eth0", "fe80::1", "fe80::1%eth0"},
		{"several fields", "10.0.0.1", "6.6.6.6\r\nX-Forwarded-For: 1.2.3.4\r\nx-forwarded-for: 10.1.1.1, 10.2.2.2", "1.2.3.4", "1.2.3.4, 10.1.1.1, 10.2.2.2"},
		{"empty members", "10.0.0.1", ",1.2.3.4 ,, 10.1.1.1,\t,", "1.2.3.4", "1.2.3.4 ,, 10.1.1.1"},
		{"only commas", "10.0.0.1", ",,,", "10.0.0.1", ""},
		{"bad port", "10.0.0.1", "1.2.3.4:x", "10.0.0.1", ""},
		{"port too large", "10.0.0.1", "1.2.3.4:65536", "10.0.0.1", ""},
		{"unclosed bracket", "10.0.0.1", "[::1", "10.0.0.1", ""},
		{"IPv4 in brackets", "10.0.0.1", "[1.2.3.4]", "10.0.0.1", ""},
		{"text behind bracket", "10.0.0.1", "[::1]x", "10.0.0.1", ""},
		{"short form", "10.0.0.1", "127.1", "10.0.0.1", ""},
		{"leading zeros", "10.0.0.1", "010.0.0.1", "10.0.0.1", ""},
		{"too many hops", "10.0.0.1", "1.2.3.4" + strings.Repeat(",10.0.0.2", 64), "10.0.0.2", "10.0.0.2" + strings.Repeat(",10.0.0.2", 63)},
	} {
		raw := "A: 1\r\n\r\n"
		if c.fields != "" {
			raw = "X-Forwarded-For: " + c.fields + "\r\n" + raw
		}
		got := p.Resolve(netip.MustParseAddr(c.peer), parsed(t, raw))
		if got.Client.String() != c.client || string(got.Chain) != c.chain || (c.chain == "") != (got.Chain == nil) {
			t.Errorf("%s: client %s, chain %q", c.name, got.Client, got.Chain)
		}
	}
}

func TestResolveProtoAndHost(t *testing.T) {
	p := proxies(t, "10.0.0.0/8")
	trusted, other := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("9.9.9.9")
	for _, c := range []struct{ fields, proto, host string }{
		{"X-Forwarded-Proto: HTTPS\r\nX-Forwarded-Host: A.test:8443\r\n", "https", "A.test:8443"},
		{"X-Forwarded-Proto: https, http\r\nX-Forwarded-Host: evil, a\r\n", "http", "a"},
		{"X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n", "http", ""},
		{"X-Forwarded-Proto: wss\r\nX-Forwarded-Host: u@evil\r\n", "", ""},
		{"X-Forwarded-Proto:\r\nX-Forwarded-Host:\r\n", "", ""},
		{"", "", ""},
	} {
		got := p.Resolve(trusted, parsed(t, c.fields+"\r\n"))
		if got.Proto != c.proto || string(got.Host) != c.host || (got.Host == nil) != (c.host == "") {
			t.Errorf("%q: %q, %q", c.fields, got.Proto, got.Host)
		}
		if got := p.Resolve(other, parsed(t, c.fields+"\r\n")); got.Proto != "" || got.Host != nil {
			t.Errorf("%q is believed from an untrusted peer", c.fields)
		}
	}
}

func TestResolveDropsInEveryCase(t *testing.T) {
	raw := "X-Forwarded-For: 1.1.1.1\r\nx-forwarded-proto: https\r\nX-Forwarded-Host: a\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Prefix: /\r\n" +
		"X-Forwarded-Uri: /\r\nX-Forwarded-Ssl: on\r\nX-Real-IP: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\nX-FORWARDED-NEW: x\r\nX-Forwarde: stays\r\n\r\n"
	for _, p := range []*Proxies{nil, proxies(t, "9.9.9.9")} {
		f := parsed(t, raw)
		p.Resolve(netip.MustParseAddr("9.9.9.9"), f)
		for i := range f.Len() - 1 {
			if name, _ := f.At(i); name != nil {
				t.Errorf("%s is kept", name)
			}
		}
		if f.Get("X-Forwarde") == nil {
			t.Error("another field is dropped")
		}
	}
}

func FuzzForwarded(f *testing.F) {
	for _, seed := range []string{"1.2.3.4, 10.0.0.1", "[fd00::1]:80,10.1.1.1", "a,,%,[", "::ffff:10.0.0.1:1", "fe80::1%x, 10.0.0.9:1"} {
		f.Add([]byte(seed))
	}
	p, err := ParseProxies([]string{"10.0.0.0/8", "fd00::/8"})
	if err != nil {
		f.Fatal(err)
	}
	peer := netip.MustParseAddr("10.0.0.1")
	table := &Fields{}
	f.Fuzz(func(t *testing.T, value []byte) {
		raw := append(append([]byte("X-Forwarded-For: "), value...), "\r\n\r\n"...)
		if table.Parse(raw, 10) != nil {
			return
		}
		got := p.Resolve(peer, table)
		if !got.Client.IsValid() || got.Client.Is4In6() || got.Client.Zone() != "" {
			t.Fatalf("client %v", got.Client)
		}
		if got.Chain == nil {
			if got.Client != peer {
				t.Fatalf("client %v without a chain", got.Client)
			}
			return
		}
		// The first member is the client, all the others are trusted proxies.
		members := bytes.Split(got.Chain, []byte(","))
		for i, m := range members {
			if m = trimSpace(m); len(m) == 0 {
				continue
			}
			addr, ok := parseHop(m)
			if !ok || i == 0 && plain(addr) != got.Client || i > 0 && !p.Trusts(addr) {
				t.Fatalf("member %q of %q, client %v", m, got.Chain, got.Client)
			}
		}
	})
}
