package ratelimit

import (
	"encoding/binary"
	"strings"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// kind says what an identity is. It is a byte of every key, so that an address can never meet a client's name.
type kind byte

const (
	byClient  kind = 'c'
	byAddress kind = 'i'
	byRoute   kind = 'r'
	byAll     kind = 'a'
	byHeader  kind = 'h'
	byClaim   kind = 'm'
	byNobody  kind = 'n' // the one bucket of all without identity
	bySeveral kind = '&' // how many parts follow
)

// by is a parsed identity: name is the header's or the claim's.
type by struct {
	kind kind
	name string
}

// missing says what happens to a request without the identity.
type missing uint8

const (
	missingNext missing = iota
	missingReject
	missingShared
)

func cutBy(text string) (kind, name string, named bool) { return strings.Cut(text, ":") }

// parseBy reads client, ip, route, all, header:Name or claim:name; no text is client.
func parseBy(text string) (by, bool) {
	word, name, named := cutBy(text)
	if named {
		switch {
		case word == "header" && isToken(name):
			return by{byHeader, name}, true
		case word == "claim" && name != "":
			return by{byClaim, name}, true
		}
		return by{}, false
	}
	switch word {
	case "", "client":
		return by{kind: byClient}, true
	case "ip":
		return by{kind: byAddress}, true
	case "route":
		return by{kind: byRoute}, true
	case "all":
		return by{kind: byAll}, true
	}
	return by{}, false
}

// isToken follows RFC 9110, section 5.6.2.
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9'
		if !letter && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// appendKey appends whose bucket a request takes from: the limit's name, the kind of identity, the identity. Every part but
// the last is preceded by its length, so no two different identities share a key. ok is false when the identity is missing
// and the limit rejects that.
func (l *Limit) appendKey(dst []byte, x *pipeline.Exchange) (key []byte, ok bool) {
	dst = append(dst, l.prefix...)
	if len(l.by) == 1 {
		return l.appendPart(dst, &l.by[0], x)
	}
	dst = append(dst, byte(bySeveral), byte(len(l.by)))
	for i := range l.by {
		at := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		if dst, ok = l.appendPart(dst, &l.by[i], x); !ok {
			return dst, false
		}
		binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	}
	return dst, true
}

func (l *Limit) appendPart(dst []byte, who *by, x *pipeline.Exchange) (key []byte, ok bool) {
	switch who.kind {
	case byClient:
		if !x.Client.Anonymous() {
			return append(append(dst, byte(byClient)), x.Client.Identity...), true
		}
	case byAddress:
		return appendAddress(dst, x), true
	case byRoute:
		return append(append(dst, byte(byRoute)), x.Route...), true
	case byAll:
		return append(dst, byte(byAll)), true
	case byHeader:
		if value := x.Request.Header(who.name); len(value) > 0 {
			return append(who.appendNamed(dst), value...), true
		}
	case byClaim:
		if value := claim(&x.Client, who.name); value != "" {
			return append(who.appendNamed(dst), value...), true
		}
	}
	switch l.onMissing {
	case missingReject:
		return dst, false
	case missingShared:
		return append(dst, byte(byNobody)), true
	}
	return appendAddress(dst, x), true
}

// appendNamed keeps header:A and header:B of one limit apart across a reload.
func (b *by) appendNamed(dst []byte) []byte {
	dst = append(dst, byte(b.kind))
	dst = binary.AppendUvarint(dst, uint64(len(b.name)))
	return append(dst, b.name...)
}

// nat64 is how an IPv4 client looks behind a translator (RFC 6052, section 2.1).
var nat64 = [12]byte{0x00, 0x64, 0xff, 0x9b}

// appendAddress counts an IPv4 address alone, however it is written, and an IPv6 address by its /64: a host owns all of it.
func appendAddress(dst []byte, x *pipeline.Exchange) []byte {
	addr := x.ClientIP
	if !addr.IsValid() {
		addr = x.Peer.Addr()
	}
	if addr = addr.Unmap(); addr.Is4() {
		four := addr.As4()
		return append(append(dst, byte(byAddress)), four[:]...)
	}
	if !addr.IsValid() {
		return append(dst, byte(byNobody))
	}
	sixteen := addr.As16()
	if [12]byte(sixteen[:12]) == nat64 {
		return append(append(dst, byte(byAddress)), sixteen[12:]...)
	}
	return append(append(dst, byte(byAddress)), sixteen[:8]...)
}

func claim(c *pipeline.Client, name string) string {
	if c.Claims == nil {
		return ""
	}
	value, _ := c.Claims.Claim(name)
	return value
}
