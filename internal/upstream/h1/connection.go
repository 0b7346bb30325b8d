package h1

import (
	"bytes"

	"github.com/oncegate/oncegate/internal/wire"
)

// connection notes what a Connection field says. Its options other than close and keep-alive name fields to drop.
func (h *head) connection(value []byte) error {
	h.dropping = true
	for len(value) > 0 {
		var option []byte
		option, value, _ = bytes.Cut(value, []byte{','})
		option = trimSpace(option)
		switch {
		case len(option) == 0 || wire.EqualFold(option, "keep-alive"):
		case wire.EqualFold(option, "content-length"): // it frames the answer: without it the client could not tell the end
		case wire.EqualFold(option, "upgrade"):
			h.switches = true
		case wire.EqualFold(option, "close"):
			h.close = true
		case h.nnamed+len(option)+1 > len(h.named):
			return errTooNamed
		default:
			h.nnamed += copy(h.named[h.nnamed:], option)
			h.named[h.nnamed] = ','
			h.nnamed++
		}
	}
	return nil
}

func (h *head) isNamed(name []byte) bool {
	for rest := h.named[:h.nnamed]; len(rest) > 0; {
		n := bytes.IndexByte(rest, ',')
		if wire.EqualFold(name, string(rest[:n])) {
			return true
		}
		rest = rest[n+1:]
	}
	return false
}

// compact moves the field lines that are passed on together and gives their end.
func (h *head) compact(b []byte, first, last int) int {
	w := first
	for at := first; at < last; {
		n := bytes.IndexByte(b[at:], '\n') + 1
		name := b[at : at+bytes.IndexByte(b[at:], ':')]
		if !wire.HopByHop(name) && !h.isNamed(name) && !(h.status == 204 && wire.EqualFold(name, "content-length")) {
			w += copy(b[w:], b[at:at+n])
		}
		at += n
	}
	return w
}

// keepAliveTimeout reads timeout=N of a Keep-Alive field; -1 when there is none.
func keepAliveTimeout(value []byte) int {
	for len(value) > 0 {
		var param []byte
		param, value, _ = bytes.Cut(value, []byte{','})
		digits, ok := bytes.CutPrefix(trimSpace(param), []byte("timeout="))
		if !ok || len(digits) == 0 || len(digits) > 6 {
			continue
		}
		n := 0
		for _, c := range digits {
			if c < '0' || c > '9' {
				return -1
			}
			n = n*10 + int(c-'0')
		}
		return n
	}
	return -1
}
