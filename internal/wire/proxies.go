package wire

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
)

// Proxies says who may set X-Forwarded-*. It is immutable; nil trusts nobody.
type Proxies struct {
	nets []netip.Prefix
}

// ParseProxies reads networks (10.0.0.0/8) and single addresses. Host bits are ignored. IPv4 networks written as IPv6
// (::ffff:10.0.0.0/104) mean the IPv4 network. The error names the entry.
func ParseProxies(cidrs []string) (*Proxies, error) {
	p := &Proxies{nets: make([]netip.Prefix, 0, len(cidrs))}
	for _, text := range cidrs {
		prefix, err := parseNet(text)
		if err != nil {
			return nil, fmt.Errorf("trusted proxy %q: %w", text, err)
		}
		p.nets = append(p.nets, prefix)
	}
	return p, nil
}

func parseNet(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, err
		}
		addr = plain(addr)
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	if addr := prefix.Addr(); addr.Is4In6() && prefix.Bits() >= 96 {
		prefix = netip.PrefixFrom(addr.Unmap(), prefix.Bits()-96)
	}
	return prefix.Masked(), nil
}

// plain gives the one form in which addresses are compared: IPv4 is never mapped, zones are cut.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// Trusts reports whether a is a listed proxy.
func (p *Proxies) Trusts(a netip.Addr) bool {
	if p == nil || len(p.nets) == 0 {
		return false
	}
	a = plain(a)
	for _, n := range p.nets {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// Forwarded is whom a request is for, as far as that can be believed. The bytes are borrowed from the table of fields.
type Forwarded struct {
	Client netip.Addr // unmapped, without a zone
	Proto  string     // "http" or "https" as the nearest proxy says; "" when it doesn't, or isn't trusted
	Host   []byte     // host[:port] as the nearest proxy says, checked; nil when it doesn't, or isn't trusted
	Chain  []byte     // the part of X-Forwarded-For that trusted proxies vouch for, Client first; nil when there is none
}

// maxHops bounds the walk; real chains have fewer than ten.
const maxHops = 64

// Resolve finds the client's address: it walks X-Forwarded-For from right to left for as long as the speaker is a trusted
// proxy. What can't be read ends the walk at the last good hop, so that what stands left of it, which anybody may have
// written, is never believed nor passed on. X-Forwarded-*, X-Real-IP and Forwarded are dropped from the table in every
// case: the gateway writes its own from the result.
func (p *Proxies) Resolve(peer netip.Addr, f *Fields) Forwarded {
	out := Forwarded{Client: plain(peer)}
	if p.Trusts(peer) {
		out.Client, out.Chain = p.walk(out.Client, f.forwardedFor())
		switch proto := lastMember(f, "X-Forwarded-Proto"); {
		case EqualFold(proto, "https"):
			out.Proto = "https"
		case EqualFold(proto, "http"):
			out.Proto = "http"
		}
		host := lastMember(f, "X-Forwarded-Host")
		if _, ok := splitAuthority(host); ok {
			out.Host = host
		}
	}
	for i := range f.list {
		if f.list[i].role == roleForwarding {
			f.list[i].dropped = true
		}
	}
	return out
}

// walk gives the client and the part of the list from it on.
func (p *Proxies) walk(peer netip.Addr, list []byte) (client netip.Addr, chain []byte) {
	client = peer
	list = bytes.TrimRight(list, ", \t") // empty members are legal; at the end they would show in chain
	rest := list
	for range maxHops {
		cut := bytes.LastIndexByte(rest, ',') + 1
		if hop := trimSpace(rest[cut:]); len(hop) > 0 {
			addr, ok := parseHop(hop)
			if !ok {
				break
			}
			client, chain = addr, trimSpace(list[cut:])
			if !p.Trusts(addr) {
				break
			}
		}
		if cut == 0 {
			break
		}
		rest = rest[:cut-1]
	}
	return client, chain
}

// parseHop reads an address as proxies write it: with or without a port, IPv6 with or without brackets.
func parseHop(hop []byte) (netip.Addr, bool) {
	host, port := hop, []byte(nil)
	if hop[0] == '[' {
		end := bytes.IndexByte(hop, ']')
		if end < 0 {
			return netip.Addr{}, false
		}
		host, port = hop[1:end], hop[end+1:]
	} else if i := bytes.IndexByte(hop, ':'); i >= 0 && bytes.LastIndexByte(hop, ':') == i {
		host, port = hop[:i], hop[i:]
	}
	if len(port) > 0 && (port[0] != ':' || !legalPort(port[1:])) {
		return netip.Addr{}, false
	}
	if i := bytes.IndexByte(host, '%'); i >= 0 {
		host = host[:i]
	}
	addr, ok := parseAddr(host)
	return addr.Unmap(), ok && (hop[0] != '[' || addr.Is6())
}

// forwardedFor gives all X-Forwarded-For fields as one list, in order.
func (f *Fields) forwardedFor() []byte {
	const name = "X-Forwarded-For"
	if f.Count(name) < 2 {
		return f.Get(name)
	}
	f.joined = f.joined[:0]
	for i := range f.list {
		if e := &f.list[i]; f.is(e, name) {
			if len(f.joined) > 0 {
				f.joined = append(f.joined, ", "...)
			}
			f.joined = append(f.joined, f.valueOf(e)...)
		}
	}
	return f.joined
}

// lastMember gives the last member of a list field: the one that the nearest proxy wrote.
func lastMember(f *Fields, name string) []byte {
	for i := len(f.list) - 1; i >= 0; i-- {
		if e := &f.list[i]; f.is(e, name) {
			value := f.valueOf(e)
			return trimSpace(value[bytes.LastIndexByte(value, ',')+1:])
		}
	}
	return nil
}
