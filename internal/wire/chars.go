package wire

import (
	"encoding/binary"
	"math/bits"
)

// Classes of bytes. One table, so that a scan costs one load a byte.
const (
	charToken      uint8 = 1 << iota // tchar, RFC 9110 5.6.2
	charUnderscore                   // a tchar that CGI-like upstreams read as '-'
	charTarget                       // what may stand in an origin-form target: visible ASCII but '#'
	charUnreserved                   // RFC 3986 2.3, without '.': an escaped dot is refused, not decoded
	charHost                         // reg-name as it is used: letters, digits, '-', '.', '_'
	charVisible                      // 0x21 to 0x7e
	charDigit
)

var class = classes()

func classes() (t [256]uint8) {
	for c := 0x21; c < 0x7f; c++ {
		t[c] = charVisible | charTarget
	}
	t['#'] &^= charTarget
	alphanumeric := func(from, to int) {
		for c := from; c <= to; c++ {
			t[c] |= charToken | charUnreserved | charHost
		}
	}
	alphanumeric('0', '9')
	alphanumeric('A', 'Z')
	alphanumeric('a', 'z')
	mark := func(set string, bit uint8) {
		for i := range len(set) {
			t[set[i]] |= bit
		}
	}
	mark("!#$%&'*+-.^_`|~", charToken)
	mark("-_~", charUnreserved)
	mark("-._", charHost)
	mark("_", charUnderscore)
	mark("0123456789", charDigit)
	return t
}

// lower folds ASCII case; name folds case and '_' to '-', as upstreams do that turn fields into variables.
var (
	lower    = folds(false)
	nameFold = folds(true)
)

func folds(underscore bool) (t [256]byte) {
	for c := range t {
		t[c] = byte(c)
		if c >= 'A' && c <= 'Z' {
			t[c] = byte(c) | 0x20
		}
	}
	if underscore {
		t['_'] = '-'
	}
	return t
}

// hexValue gives the value of a hex digit; ok is false for any other byte.
func hexValue(c byte) (v byte, ok bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

const (
	everyByte = 0x0101010101010101
	highBits  = 0x80 * everyByte
)

// valueEnd gives the index of the first byte at or after i that can't stand in a field value: a control byte other than
// HTAB. Eight bytes at a time: values are most of a head.
func valueEnd(b []byte, i int) int {
	for i+8 <= len(b) {
		w := binary.LittleEndian.Uint64(b[i:])
		del := w ^ 0x7f*everyByte
		// Both masks may mark bytes above a real hit, never below it: only the lowest is looked at.
		hit := ((w - 0x20*everyByte) &^ w & highBits) | ((del - everyByte) &^ del & highBits)
		if hit == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(hit) >> 3
		if b[i] != '\t' {
			return i
		}
		i++
	}
	for i < len(b) && (b[i] >= 0x20 && b[i] != 0x7f || b[i] == '\t') {
		i++
	}
	return i
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

// trimSpace cuts optional white space (OWS, RFC 9110 5.6.3) at both ends.
func trimSpace(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// allOf reports whether every byte of b has the class. True for an empty b.
func allOf(b []byte, bit uint8) bool {
	for _, c := range b {
		if class[c]&bit == 0 {
			return false
		}
	}
	return true
}

// EqualFold compares without regard to the case of ASCII letters.
func EqualFold(a []byte, b string) bool { return equalFold(a, b) }

func equalFold[T string | []byte](a []byte, b T) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(b) {
		if lower[a[i]] != lower[b[i]] {
			return false
		}
	}
	return true
}
