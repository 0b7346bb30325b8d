// Package discover finds targets by DNS.
//
// It promises that a failed look-up never takes anything away: the last good answer stays while servers fail or are silent,
// and while they say that the name holds nothing it stays for a number of look-ups. A name with more than Most addresses gives
// the first of them. Go's resolver tells no TTL: names are asked again as often as the caller likes.
package discover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// Most is how many addresses of one name are used.
const Most = 256

// ErrNothing is an answer without an address: the name does not exist, or holds none of the kind that was asked for.
var ErrNothing = errors.New("the name has no address")

// Resolver asks for the addresses of a name.
type Resolver struct {
	net     *net.Resolver
	network string
}

// New makes a resolver. server is host:port of a DNS server, "" asks as the system is set up; family is any, ipv4 or ipv6.
func New(server, family string) *Resolver {
	r := &Resolver{net: &net.Resolver{PreferGo: true}, network: "ip"}
	switch family {
	case "ipv4":
		r.network = "ip4"
	case "ipv6":
		r.network = "ip6"
	}
	r.net.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if server != "" {
			address = server
		}
		var d net.Dialer
		c, err := d.DialContext(ctx, network, address)
		if err == nil { // Go's resolver would go on reading until its own time-out
			context.AfterFunc(ctx, func() { _ = c.Close() })
		}
		return c, err
	}
	return r
}

// Lookup gives the addresses in order, each once, and how many were left out. The error wraps ErrNothing when the servers said
// that there are none.
func (r *Resolver) Lookup(ctx context.Context, name string, limit time.Duration) (addrs []netip.Addr, left int, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	addrs, err = r.net.LookupNetIP(ctx, r.network, name)
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return nil, 0, fmt.Errorf("%w: %w", ErrNothing, err)
	case err != nil:
		return nil, 0, err
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	addrs = slices.DeleteFunc(addrs, func(a netip.Addr) bool { return a.IsUnspecified() || a.IsMulticast() })
	slices.SortFunc(addrs, netip.Addr.Compare)
	addrs = slices.Compact(addrs)
	if len(addrs) == 0 {
		return nil, 0, ErrNothing
	}
	if len(addrs) > Most {
		return addrs[:Most], len(addrs) - Most, nil
	}
	return addrs, 0, nil
}

// Memory is the last good answer. The zero value knows none.
type Memory struct {
	addrs []netip.Addr
	empty int // answers without an address in a row
}

// Addrs is what is known.
func (m *Memory) Addrs() []netip.Addr { return m.addrs }

// Take notes the outcome of a look-up and tells whether Addrs changed. After keep answers in a row that the name holds nothing
// the last good one is given up; 0: never.
func (m *Memory) Take(addrs []netip.Addr, err error, keep int) (changed bool) {
	switch {
	case err == nil:
		m.empty = 0
		if slices.Equal(addrs, m.addrs) {
			return false
		}
		m.addrs = addrs
		return true
	case !errors.Is(err, ErrNothing):
		return false // servers that fail say nothing about the name
	}
	if m.empty++; keep == 0 || m.empty < keep || len(m.addrs) == 0 {
		return false
	}
	m.addrs = nil
	return true
}
