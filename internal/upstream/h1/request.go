package h1

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

var errForbiddenField = fmt.Errorf("%w: a layer set a field that the exchange alone decides, or one with a forbidden byte", pipeline.Internal)

var errForbiddenHead = fmt.Errorf("%w: the request's head holds a byte that would change its meaning", pipeline.Internal)

// appendHead appends the head of the request that goes upstream. host is the target's, for requests without a host of their
// own. The result is checked as a whole: it has exactly as many lines as were meant, whatever a value holds.
func appendHead(dst []byte, x *pipeline.Exchange, host string, b *Payload) ([]byte, error) {
	start := len(dst)
	dst = append(dst, x.Request.Method()...)
	dst = append(dst, ' ')
	target := len(dst)
	dst = appendTarget(dst, x)
	if !visible(dst[target:]) {
		return dst, errForbiddenHead
	}
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = appendHost(dst, x, host)
	dst = append(dst, "\r\n"...)
	dst, lines, err := appendFields(dst, x, b)
	if err != nil {
		return dst, err
	}
	dst = append(dst, "\r\n"...)
	return dst, whole(dst[start:], lines+3)
}

// whole checks that a head has as many lines as were meant.
func whole(head []byte, lines int) error {
	if bytes.Count(head, []byte{'\n'}) != lines || bytes.Count(head, []byte{'\r'}) != lines || bytes.IndexByte(head, 0) >= 0 {
		return errForbiddenHead
	}
	return nil
}

// appendFields appends the client's fields, what frames the body unless b is nil, the gateway's own fields, and those that
// layers set.
func appendFields(dst []byte, x *pipeline.Exchange, b *Payload) (_ []byte, lines int, err error) {
	dst, lines = appendClientFields(dst, x)
	own := 0
	if b != nil {
		dst, own = b.appendFraming(dst)
		lines += own
		if x.Switch.Granted {
			dst = append(dst, "Connection: Upgrade\r\nUpgrade: websocket\r\n"...)
			lines += 2
		}
	}
	if b != nil && x.Calls() { // its status stands in trailers
		dst = append(dst, "Connection: TE\r\nTE: trailers\r\n"...)
		lines += 2
	}
	dst, own = appendOwnFields(dst, x)
	lines += own
	for _, f := range x.Outgoing.Fields() {
		if f.Value == nil {
			continue
		}
		if !settable(f.Name) {
			return dst, lines, errForbiddenField
		}
		dst = appendField(dst, f.Name, f.Value)
		lines++
	}
	return dst, lines, nil
}

// Head is a request's head for another protocol's exchange.
type Head struct {
	Host, Target string
	Fields       []byte // lines "name: value\r\n" without those that frame the request; hop-by-hop fields are gone
}

// HeadOf makes the head of the request of x by the same rules; the fields are appended to dst, host is the target's.
func HeadOf(dst []byte, x *pipeline.Exchange, host string) (h Head, err error) {
	start := len(dst)
	dst = appendTarget(dst, x)
	if !visible(dst[start:]) {
		return h, errForbiddenHead
	}
	target := len(dst)
	dst = appendHost(dst, x, host)
	fields := len(dst)
	h.Target, h.Host = string(dst[start:target]), string(dst[target:fields])
	dst, lines, err := appendFields(dst, x, nil)
	if err != nil {
		return h, err
	}
	h.Fields = dst[fields:]
	return h, whole(h.Fields, lines)
}

func appendTarget(dst []byte, x *pipeline.Exchange) []byte {
	path := x.Outgoing.Path
	if path == nil {
		path = x.Request.Path()
	}
	dst = append(dst, path...)
	if q := x.Request.Query(); q != nil {
		dst = append(dst, '?')
		dst = append(dst, q...)
	}
	return dst
}

// appendHost: a host that a layer set, else the client's. An empty one stands for the target's.
func appendHost(dst []byte, x *pipeline.Exchange, target string) []byte {
	host := x.Outgoing.Host
	if host == nil {
		host = x.Request.Authority()
	}
	if len(host) == 0 {
		return append(dst, target...)
	}
	return append(dst, host...)
}

func appendClientFields(dst []byte, x *pipeline.Exchange) (_ []byte, lines int) {
	changes := x.Outgoing.Fields()
	for i := range x.Request.Fields() {
		name, value := x.Request.Field(i)
		if name == nil || wire.HopByHop(name) || framing(name) || identity(name) || changed(changes, name) {
			continue
		}
		if !x.Outgoing.Authorization && credential(name) {
			continue
		}
		dst = append(dst, name...)
		dst = append(dst, ": "...)
		dst = append(dst, value...)
		dst = append(dst, "\r\n"...)
		lines++
	}
	return dst, lines
}

// credential are the fields that show a client's token: it is the gateway's to judge.
func credential(name []byte) bool { return sameName(name, "authorization") || sameName(name, "dpop") }

func changed(changes []pipeline.Field, name []byte) bool {
	for i := range changes {
		if same(name, changes[i].Name) {
			return true
		}
	}
	return false
}

func isSet(changes []pipeline.Field, name string) bool {
	for i := range changes {
		if len(changes[i].Name) == len(name) && same([]byte(name), changes[i].Name) {
			return true
		}
	}
	return false
}

// appendOwnFields says who asks and under which id, unless a layer said so itself.
func appendOwnFields(dst []byte, x *pipeline.Exchange) (_ []byte, lines int) {
	var own int
	changes := x.Outgoing.Fields()
	put := func(name string, value []byte) {
		if len(value) > 0 && !isSet(changes, name) {
			dst = appendField(dst, name, value)
			lines++
		}
	}
	put("X-Request-Id", x.ID)
	var room [64]byte
	if x.Trace.ID != [16]byte{} {
		put("traceparent", wire.AppendTraceparent(room[:0], x.Trace.ID, x.Trace.Span, x.Trace.Flags))
		put("tracestate", x.Trace.State)
	}
	if !isSet(changes, "X-Forwarded-For") {
		dst, own = appendForwardedFor(dst, x)
		lines += own
	}
	scheme := "http"
	if x.Secure {
		scheme = "https"
	}
	put("X-Forwarded-Proto", append(room[:0], scheme...))
	if x.Asked != nil {
		put("X-Forwarded-Host", x.Asked)
	} else {
		put("X-Forwarded-Host", x.Request.Authority())
	}
	return dst, lines
}

// appendForwardedFor names the way that is known to be true: what trusted proxies vouch for, then who is connected.
func appendForwardedFor(dst []byte, x *pipeline.Exchange) (_ []byte, lines int) {
	last := x.Peer.Addr()
	if !last.IsValid() || len(x.Hops) == 0 {
		last = x.ClientIP
	}
	if !last.IsValid() {
		return dst, 0
	}
	dst = append(dst, "X-Forwarded-For: "...)
	if len(x.Hops) > 0 {
		dst = append(dst, x.Hops...)
		dst = append(dst, ", "...)
	}
	if x.PeerIP != nil && last == x.Peer.Addr() {
		dst = append(dst, x.PeerIP...)
	} else {
		dst = last.AppendTo(dst)
	}
	return append(dst, "\r\n"...), 1
}

func appendField(dst []byte, name string, value []byte) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

// settable reports whether a layer may set a field of this name.
func settable(name string) bool {
	for i := range len(name) {
		if !validName[name[i]] {
			return false
		}
	}
	n := []byte(name)
	return name != "" && !wire.HopByHop(n) && !framing(n)
}

// visible reports that b is not empty and that nothing in it ends a request target.
func visible(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c == 0x7f {
			return false
		}
	}
	return len(b) > 0 && b[0] == '/'
}

// appendFraming appends Content-Length or Transfer-Encoding.
func (b *Payload) appendFraming(dst []byte) (_ []byte, lines int) {
	switch {
	case b.none && !b.declared:
		return dst, 0
	case b.length < 0:
		return append(dst, "Transfer-Encoding: chunked\r\n"...), 1
	}
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, b.length, 10)
	return append(dst, "\r\n"...), 1
}

var errShortBody = errors.New("the request's body ended before its Content-Length")
