package wire

import (
	"bytes"
	"unicode/utf8"
)

// Canonical splits an origin-form target at '?' and gives the path in its canonical form: unreserved escapes decoded once,
// the hex digits of the others in upper case (RFC 3986 6.2.2). Anything that two hops could read differently is BadRequest:
// empty and dot segments in any spelling, escaped '/', '\', '.', '%' and control bytes, escapes that are broken or not
// UTF-8, and '\', '#', control bytes, spaces or bytes outside ASCII anywhere.
//
// path aliases target when nothing had to change, else it is appended to scratch. query is nil when there is no '?'; it is
// checked for such bytes but not touched.
func Canonical(scratch, target []byte) (path, query, scratchOut []byte, err error) {
	path, query, ok := splitTarget(target)
	if !ok {
		return nil, nil, scratch, BadRequest
	}
	if i := bytes.IndexByte(path, '%'); i >= 0 {
		start := len(scratch)
		if scratch, ok = appendDecoded(scratch, path); !ok {
			return nil, nil, scratch, BadRequest
		}
		if decoded := scratch[start:]; bytes.Equal(decoded, path) {
			scratch = scratch[:start]
		} else {
			path = decoded
		}
	}
	if !legalSegments(path) {
		return nil, nil, scratch, BadRequest
	}
	return path, query, scratch, nil
}

// CanonicalPath reports whether path is its own canonical form, so that a pattern written in a document can match at all.
func CanonicalPath(path []byte) bool {
	got, query, _, err := Canonical(nil, path)
	return err == nil && query == nil && bytes.Equal(got, path)
}

func splitTarget(target []byte) (path, query []byte, ok bool) {
	if len(target) == 0 || target[0] != '/' || !allOf(target, charTarget) {
		return nil, nil, false
	}
	path = target
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		path, query = target[:i:i], target[i+1:]
	}
	return path, query, bytes.IndexByte(path, '\\') < 0
}

// appendDecoded appends path with its escapes in canonical form. False when one is refused.
func appendDecoded(dst, path []byte) ([]byte, bool) {
	for i := 0; i < len(path); {
		if path[i] != '%' {
			dst = append(dst, path[i])
			i++
			continue
		}
		c, ok := unescape(path[i:])
		switch {
		case !ok || c < 0x20 || c == 0x7f || c == '/' || c == '\\' || c == '.' || c == '%':
			return dst, false
		case c < utf8.RuneSelf && class[c]&charUnreserved != 0:
			dst = append(dst, c)
			i += 3
			continue
		}
		n := 1
		if c >= utf8.RuneSelf {
			if n = escapedRune(path[i:]); n == 0 {
				return dst, false
			}
		}
		for ; n > 0; n-- {
			dst = append(dst, '%', upperHex(path[i+1]), upperHex(path[i+2]))
			i += 3
		}
	}
	return dst, true
}

// unescape gives the byte that the escape at the start of b stands for.
func unescape(b []byte) (byte, bool) {
	if len(b) < 3 || b[0] != '%' {
		return 0, false
	}
	high, ok1 := hexValue(b[1])
	low, ok2 := hexValue(b[2])
	return high<<4 | low, ok1 && ok2
}

// escapedRune gives the number of escapes at the start of b that form one character of UTF-8; 0 when they form none.
// Overlong forms and surrogates are none: an upstream that decodes them leniently would see another path than we do.
func escapedRune(b []byte) int {
	var seq [utf8.UTFMax]byte
	n := 0
	for n < len(seq) {
		c, ok := unescape(b[3*n:])
		if !ok {
			break
		}
		seq[n] = c
		n++
	}
	r, size := utf8.DecodeRune(seq[:n])
	if r == utf8.RuneError && size <= 1 {
		return 0
	}
	return size
}

func upperHex(c byte) byte {
	if c >= 'a' && c <= 'f' {
		return c - 0x20
	}
	return c
}

// legalSegments refuses empty segments, save the last, and dot segments.
func legalSegments(path []byte) bool {
	for i := range len(path) - 1 {
		if path[i] != '/' {
			continue
		}
		if next := path[i+1]; next == '/' || next == '.' && dotSegment(path[i+1:]) {
			return false
		}
	}
	return true
}

// dotSegment reports whether b starts with "." or ".." as a whole segment, or with one before a parameter: some upstreams
// cut ";v=1" off before they resolve dots. %3B may be decoded before that cut.
func dotSegment(b []byte) bool {
	b = b[1:]
	if len(b) > 0 && b[0] == '.' {
		b = b[1:]
	}
	return len(b) == 0 || b[0] == '/' || b[0] == ';' || bytes.HasPrefix(b, []byte("%3B"))
}

var root = []byte("/")

// splitAbsolute takes a target in absolute-form apart: the authority that it names, and the target in origin-form. named is
// nil for every other target, which comes back as it is. An authority without a path means the root.
func splitAbsolute(target []byte) (named, origin []byte) {
	rest := target
	switch {
	case len(target) > 7 && EqualFold(target[:7], "http://"):
		rest = target[7:]
	case len(target) > 8 && EqualFold(target[:8], "https://"):
		rest = target[8:]
	default:
		return nil, target
	}
	slash := bytes.IndexByte(rest, '/')
	if slash < 0 && bytes.IndexByte(rest, '?') < 0 {
		return rest, root
	}
	if slash <= 0 || bytes.IndexByte(rest[:slash], '?') >= 0 {
		return nil, target // no authority, or a query without a path: what is left is no path either
	}
	return rest[:slash], rest[slash:]
}
