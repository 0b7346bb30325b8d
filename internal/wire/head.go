package wire

import "bytes"

// Head is a checked request head. It is reused by Check, its results are borrowed from the bytes given to Check and from
// the head itself, and it must not be copied. After a failed Check nothing of it is to be used but its fields, to name the
// request in a log: those that could be read are there, none of an earlier head.
type Head struct {
	Fields
	path, query     []byte
	trails          []byte // Trailer
	host, authority []byte
	named           []byte // the authority of a target in absolute-form; nil in origin-form
	length          int64
	http10          bool
	closes          bool // Connection: close
	keeps           bool // Connection: keep-alive
	expects         bool
	upgrades        bool // Connection: upgrade
	websocket       bool // Upgrade: websocket
	chunked         bool
	seen            [rolePinned + 1]uint8 // fields by role, for those that must stand alone
	scratch         []byte
	hostBuffer      []byte // for a host that was not sent in lower case
}

// Limits bound a head. Its size in bytes is the reader's to bound.
type Limits struct {
	Headers int // field lines; 0: 100
}

const defaultHeaders = 100

// Check judges a head: method, target, protocol (all as in the request line) and the raw field lines. What it accepts has
// one meaning only; the error is a Fault. Hop-by-hop fields, fields that Connection names, Expect, and fields that would
// let a client rewrite what was authorised are dropped; Host and Content-Length stay. A target in absolute-form is taken
// (RFC 9112 3.2.2) when it names what Host names, letter by letter; what two places say differently is refused.
func (h *Head) Check(method, target, proto, rawFields []byte, lim Limits) error {
	h.Reset()
	if lim.Headers <= 0 {
		lim.Headers = defaultHeaders
	}
	unread := h.Parse(rawFields, lim.Headers)
	if err := h.checkLine(method, proto); err != nil {
		return err
	}
	if err := h.checkTarget(target); err != nil {
		return err
	}
	if unread != nil {
		return unread
	}
	return h.checkFields()
}

// Path is the canonical path.
func (h *Head) Path() []byte { return h.path }

// Query is what follows '?', as sent; nil when there was no '?'.
func (h *Head) Query() []byte { return h.query }

// Host is the host in lower case, without port and trailing dot; an IPv6 address keeps its brackets. It is nil when a client
// of HTTP/1.0 named none.
func (h *Head) Host() []byte { return h.host }

// Authority is the Host field as received; nil when a client of HTTP/1.0 sent none.
func (h *Head) Authority() []byte { return h.authority }

// KeepAlive reports whether the client wants the connection to stay (RFC 9112 9.3).
func (h *Head) KeepAlive() bool { return !h.closes && (!h.http10 || h.keeps) }

// HTTP10 reports whether the client speaks HTTP/1.0: it takes no chunks.
func (h *Head) HTTP10() bool { return h.http10 }

// ContentLength is the body's length: -1 when it is chunked, 0 when there is none.
func (h *Head) ContentLength() int64 {
	if h.chunked {
		return -1
	}
	return h.length
}

// ExpectContinue reports whether the client waits for 100 before it sends the body. HTTP/1.0 clients don't (RFC 9110 10.1.1).
func (h *Head) ExpectContinue() bool { return h.expects && !h.http10 }

// WebSocket reports whether the head, whose method is GET, asks for WebSocket (RFC 6455 4.1): HTTP/1.1, one Upgrade field with
// that word alone, Connection with upgrade, and no body.
func (h *Head) WebSocket() bool {
	return h.websocket && h.upgrades && h.seen[roleUpgrade] == 1 && !h.http10 && !h.expects && !h.chunked && h.length == 0
}

// Trails is the names of trailers as the head announces them; nil when it doesn't, or when the body is not chunked.
func (h *Head) Trails() []byte {
	if !h.chunked {
		return nil
	}
	return h.trails
}

// Own copies what the head borrows, so that it lives longer than the bytes given to Check.
func (h *Head) Own() {
	h.raw = bytes.Clone(h.raw)
	h.path, h.query, h.named = bytes.Clone(h.path), bytes.Clone(h.query), bytes.Clone(h.named)
	h.host, h.authority, h.joined = bytes.Clone(h.host), bytes.Clone(h.authority), bytes.Clone(h.joined)
	h.list = append(make([]entry, 0, len(h.list)), h.list...)
	h.scratch, h.hostBuffer = nil, nil // an owned head may live for long: it is as small as can be
}

// Reset forgets the last head. It is for heads that can't even be given to Check.
func (h *Head) Reset() {
	h.raw, h.list = nil, h.list[:0]
	h.path, h.query, h.host, h.authority, h.named = nil, nil, nil, nil, nil
	h.length = 0
	h.http10, h.closes, h.keeps, h.expects, h.chunked = false, false, false, false, false
	h.upgrades, h.websocket, h.trails = false, false, nil
	h.seen = [rolePinned + 1]uint8{}
}

func (h *Head) checkLine(method, proto []byte) error {
	if len(proto) != len("HTTP/1.x") || string(proto[:7]) != "HTTP/1." || proto[7] != '0' && proto[7] != '1' {
		return VersionNotSupported
	}
	h.http10 = proto[7] == '0'
	if len(method) == 0 || !allOf(method, charToken) {
		return BadRequest
	}
	// Methods are case-sensitive, but some upstreams aren't: a lower-case connect is refused too.
	if EqualFold(method, "CONNECT") || EqualFold(method, "TRACE") {
		return MethodNotAllowed
	}
	return nil
}

func (h *Head) checkTarget(target []byte) (err error) {
	h.named, target = splitAbsolute(target)
	h.path, h.query, h.scratch, err = Canonical(h.scratch[:0], target)
	return err
}

// checkFields is the second look: fields by their meaning, then those that need the others.
func (h *Head) checkFields() error {
	fault := Fault(0)
	for i := range h.list {
		e := &h.list[i]
		if e.role == roleOther || e.dropped {
			continue
		}
		switch f := h.checkField(e); f {
		case 0, fault:
		case BadRequest:
			return BadRequest
		default:
			fault = f
		}
	}
	if h.seen[roleHost] != 1 && !(h.http10 && h.seen[roleHost] == 0) || h.seen[roleContentLength] > 0 && h.seen[roleTransferEncoding] > 0 {
		return BadRequest
	}
	if h.named != nil && !bytes.EqualFold(h.named, h.authority) {
		return BadRequest
	}
	if h.seen[roleConnection] > 0 && !h.dropNominated() {
		return BadRequest
	}
	if fault != 0 {
		return fault
	}
	return nil
}

// checkField judges one field. Bad framing wins over an unknown expectation.
func (h *Head) checkField(e *entry) Fault {
	if h.seen[e.role] < 2 {
		h.seen[e.role]++
	}
	again := h.seen[e.role] > 1
	value := h.valueOf(e)
	ok := true
	switch e.role {
	case roleHost:
		ok = !again && h.setHost(value)
	case roleContentLength:
		h.length, ok = parseLength(value)
		ok = ok && !again
	case roleAuthorization:
		ok = !again
	case roleTransferEncoding:
		e.dropped, h.chunked = true, true
		ok = !again && !h.http10 && EqualFold(value, "chunked")
	case roleExpect:
		e.dropped, h.expects = true, true
		if !EqualFold(value, "100-continue") {
			return ExpectationFailed
		}
	case roleUpgrade:
		e.dropped, h.websocket = true, EqualFold(value, "websocket")
	case roleHop:
		e.dropped = true
		if EqualFold(h.nameOf(e), "Trailer") {
			h.trails = value
		}
	case roleConnection, roleUnwanted:
		e.dropped = true
	}
	if !ok {
		return BadRequest
	}
	return 0
}

// setHost checks the authority and keeps it in both forms.
func (h *Head) setHost(authority []byte) bool {
	host, ok := splitAuthority(authority)
	if !ok {
		return false
	}
	h.authority, h.host = authority, host
	for i, c := range host {
		if lower[c] != c {
			h.hostBuffer = append(h.hostBuffer[:0], host...)
			for ; i < len(host); i++ {
				h.hostBuffer[i] = lower[host[i]]
			}
			h.host = h.hostBuffer
			break
		}
	}
	return true
}

// maxLengthDigits keeps every accepted length inside an int64.
const maxLengthDigits = 18

func parseLength(value []byte) (n int64, ok bool) {
	if len(value) == 0 || len(value) > maxLengthDigits || !allOf(value, charDigit) {
		return 0, false
	}
	for _, c := range value {
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// maxOptions bounds the work that Connection can ask for: each option is compared with every field.
const maxOptions = 32

// dropNominated reads the Connection fields: close, keep-alive, and names of fields for this hop only. Fields that frame,
// identify or protect a request stay: else a client could, through a proxy that adds them, take them away again
// (CVE-2024-45410). False when there are too many options.
func (h *Head) dropNominated() bool {
	options := 0
	for i := range h.list {
		if h.list[i].role != roleConnection {
			continue
		}
		for rest := h.valueOf(&h.list[i]); len(rest) > 0; {
			var option []byte
			option, rest, _ = bytes.Cut(rest, []byte(","))
			if option = trimSpace(option); len(option) == 0 {
				continue
			}
			if options++; options > maxOptions {
				return false
			}
			h.option(option)
		}
	}
	return true
}

func (h *Head) option(option []byte) {
	switch {
	case EqualFold(option, "close"):
		h.closes = true
		return
	case EqualFold(option, "keep-alive"):
		h.keeps = true
		return
	case EqualFold(option, "upgrade"):
		h.upgrades = true
		return
	}
	for i := range h.list {
		e := &h.list[i]
		if e.role != roleOther || int(e.nameEnd-e.name) != len(option) {
			continue
		}
		if equalFold(h.nameOf(e), option) {
			e.dropped = true
		}
	}
}
