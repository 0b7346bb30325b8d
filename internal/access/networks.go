package access

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// networks is a set of addresses as ranges that are sorted and do not touch: what lies in another network takes no room, and a
// look-up is one binary search whatever the number of prefixes. It is immutable.
type networks struct {
	v4 ranges[uint32]
	v6 ranges[wide]
}

// ranges hold from first[i] to last[i], both included.
type ranges[A any] struct{ first, last []A }

// wide is an IPv6 address.
type wide struct{ high, low uint64 }

func (a wide) compare(b wide) int {
	return cmp.Or(cmp.Compare(a.high, b.high), cmp.Compare(a.low, b.low))
}

func newNetworks(texts []string) (*networks, error) {
	var v4 []span[uint32]
	var v6 []span[wide]
	for _, text := range texts {
		network, err := parse(text)
		if err != nil {
			return nil, err
		}
		if network.Addr().Is4() {
			first := narrow(network.Addr())
			v4 = append(v4, span[uint32]{first, first | uint32(uint64(1)<<(32-network.Bits())-1)})
		} else {
			v6 = append(v6, wideSpan(network))
		}
	}
	return &networks{
		v4: merged(v4, cmp.Compare[uint32], func(a uint32) uint32 { return a + 1 }),
		v6: merged(v6, wide.compare, wide.next),
	}, nil
}

type span[A any] struct{ first, last A }

func narrow(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func widen(a netip.Addr) wide {
	b := a.As16()
	return wide{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (a wide) next() wide {
	if a.low++; a.low == 0 {
		a.high++
	}
	return a
}

func wideSpan(network netip.Prefix) span[wide] {
	first, bits := widen(network.Addr()), network.Bits()
	last := first
	if bits < 64 {
		last.high |= ^uint64(0) >> bits
		last.low = ^uint64(0)
	} else {
		last.low |= ^uint64(0) >> (bits - 64) // shifting by 64 gives 0
	}
	return span[wide]{first, last}
}

// merged sorts spans and joins those that overlap or touch.
func merged[A comparable](list []span[A], compare func(a, b A) int, next func(A) A) ranges[A] {
	slices.SortFunc(list, func(a, b span[A]) int { return compare(a.first, b.first) })
	var r ranges[A]
	for _, s := range list {
		n := len(r.last) - 1
		if n < 0 || compare(s.first, r.last[n]) > 0 && next(r.last[n]) != s.first {
			r.first, r.last = append(r.first, s.first), append(r.last, s.last)
		} else if compare(s.last, r.last[n]) > 0 {
			r.last[n] = s.last
		}
	}
	return r
}

// has reports whether an address without zone, and not IPv4 in IPv6, is in the set.
func (n *networks) has(a netip.Addr) bool {
	if a.Is4() {
		return n.hasNarrow(narrow(a))
	}
	return n.hasWide(widen(a))
}

func (n *networks) hasNarrow(a uint32) bool {
	low, high := 0, len(n.v4.first)
	for low < high {
		if mid := int(uint(low+high) >> 1); n.v4.first[mid] <= a {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low > 0 && a <= n.v4.last[low-1]
}

func (n *networks) hasWide(a wide) bool {
	low, high := 0, len(n.v6.first)
	for low < high {
		if mid := int(uint(low+high) >> 1); !a.below(n.v6.first[mid]) {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low > 0 && !n.v6.last[low-1].below(a)
}

func (a wide) below(b wide) bool { return a.high < b.high || a.high == b.high && a.low < b.low }

// parse reads a network, or an address as a network of one. Host bits have to be zero, because 10.0.0.1/8 could mean two
// things; IPv4 is written as IPv4, because that is how clients are compared; a zone means nothing elsewhere.
func parse(text string) (netip.Prefix, error) {
	network, err := netip.ParsePrefix(text)
	if address, alone := netip.ParseAddr(text); alone == nil {
		network, err = netip.PrefixFrom(address, address.BitLen()), nil
	}
	switch {
	case strings.Contains(text, "%"):
		return netip.Prefix{}, fmt.Errorf("%q: a zone means nothing here", text)
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("%q is not a network such as 192.0.2.0/24 or 2001:db8::/32", text)
	case network.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%q is IPv4 inside IPv6: write it as IPv4", text)
	case network != network.Masked():
		return netip.Prefix{}, fmt.Errorf("%q has bits set beyond its length: write %s, or the address alone", text, network.Masked())
	}
	return network, nil
}
