package wire

import (
	"net/netip"
	"unsafe"
)

// maxHost is the longest host name of the DNS, in its text form with a trailing dot.
const maxHost = 254

// splitAuthority checks host[:port] as a Host field may hold it (RFC 9110 7.2), stricter than RFC 3986: the name is made of
// letters, digits, '-', '.' and '_', without empty labels; an IPv6 address stands in brackets without a zone; a port is a
// number up to 65535. host keeps its case, and its brackets; a trailing dot is cut.
func splitAuthority(authority []byte) (host []byte, ok bool) {
	host, port := authority, []byte(nil)
	for i := len(authority) - 1; i >= 0 && authority[i] != ']'; i-- {
		if authority[i] == ':' {
			host, port = authority[:i], authority[i+1:]
			if !legalPort(port) {
				return nil, false
			}
			break
		}
	}
	if len(host) == 0 || len(host) > maxHost {
		return nil, false
	}
	if host[0] == '[' {
		return host, legalIPv6(host)
	}
	if host[len(host)-1] == '.' {
		host = host[:len(host)-1]
	}
	return host, legalName(host)
}

func legalPort(port []byte) bool {
	if len(port) == 0 || len(port) > 5 {
		return false
	}
	n := 0
	for _, c := range port {
		if class[c]&charDigit == 0 {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return n <= 65535
}

func legalName(host []byte) bool {
	label := 0
	for _, c := range host {
		if class[c]&charHost == 0 {
			return false
		}
		if c != '.' {
			label++
			continue
		}
		if label == 0 {
			return false
		}
		label = 0
	}
	return label > 0
}

func legalIPv6(host []byte) bool {
	n := len(host)
	if n < 4 || n > 47 || host[n-1] != ']' {
		return false
	}
	addr, ok := parseAddr(host[1 : n-1])
	return ok && addr.Is6()
}

// parseAddr is netip.ParseAddr over borrowed bytes, without a copy of them, and without zones: the result holds no text.
// Only the error of a failed parse would, and that is let go here.
func parseAddr(b []byte) (netip.Addr, bool) {
	if len(b) == 0 || len(b) > 45 {
		return netip.Addr{}, false
	}
	for _, c := range b {
		if c == '%' {
			return netip.Addr{}, false
		}
	}
	addr, err := netip.ParseAddr(unsafe.String(&b[0], len(b)))
	return addr, err == nil
}
