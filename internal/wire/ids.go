package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
)

const (
	requestID    = "X-Request-Id"
	maxRequestID = 128
)

// ValidRequestID reports whether a caller's request id may be kept: 1 to 128 visible ASCII characters.
func ValidRequestID(id []byte) bool {
	return len(id) > 0 && len(id) <= maxRequestID && allOf(id, charVisible)
}

// RequestID is the caller's request id; nil when there is none that may be kept, or more than one.
func (f *Fields) RequestID() []byte {
	if id := f.Get(requestID); ValidRequestID(id) && f.Count(requestID) == 1 {
		return id
	}
	return nil
}

// FindRequestID is RequestID of a head that can't be read, or was not read to its end: of its lines but the first, exactly one
// complete one has that name, and a valid id. Nil also when its lines can't be told apart: a bare CR or LF, a folded line.
func FindRequestID(head []byte) []byte {
	if !mentionsRequestID(head) {
		return nil
	}
	var id []byte
	first, found := true, false
	for {
		i := bytes.IndexByte(head, '\n')
		cr := bytes.IndexByte(head, '\r')
		if i < 0 {
			if cr >= 0 && cr != len(head)-1 {
				return nil
			}
			return id
		}
		line := head[:max(i-1, 0)]
		switch {
		case cr != i-1:
			return nil
		case len(line) > 0 && isSpace(line[0]):
			return nil
		case first:
			first = len(line) == 0 // RFC 9112 2.2: empty lines may come before
		case namesRequestID(line):
			if id = trimSpace(line[len(requestID)+1:]); found || line[len(requestID)] != ':' || !ValidRequestID(id) {
				return nil
			}
			found = true
		}
		head = head[i+1:]
	}
}

// mentionsRequestID is for heads of all kinds, of which most don't: a look at where each line's name would end.
func mentionsRequestID(head []byte) bool {
	for {
		i := bytes.IndexByte(head, '\n')
		if i < 0 {
			return false
		}
		if head = head[i+1:]; namesRequestID(head) {
			return true
		}
	}
}

// namesRequestID takes a line with blanks behind the name, too, which is malformed.
func namesRequestID(line []byte) bool {
	n := len(requestID)
	return len(line) > n && (line[n] == ':' || isSpace(line[n])) && EqualFold(line[:n], requestID)
}

// AppendRequestID appends a fresh id: 32 hex digits from the runtime's ChaCha8 generator, seeded by the system.
func AppendRequestID(dst []byte) []byte {
	id := NewTraceID()
	return hex.AppendEncode(dst, id[:])
}

// NewTraceID gives a random trace id; never all zero, which would be invalid.
func NewTraceID() (id [16]byte) {
	binary.NativeEndian.PutUint64(id[:8], rand.Uint64())
	binary.NativeEndian.PutUint64(id[8:], nonZero())
	return id
}

// NewSpanID gives a random span id; never all zero.
func NewSpanID() (id [8]byte) {
	binary.NativeEndian.PutUint64(id[:], nonZero())
	return id
}

func nonZero() uint64 {
	for {
		if n := rand.Uint64(); n != 0 {
			return n
		}
	}
}

// W3C Trace Context: version "-" trace-id "-" parent-id "-" flags, all in lower-case hex.
const (
	traceparentLen = 55
	knownFlags     = 0x03 // sampled, random
)

// ParseTraceparent reads a traceparent field (W3C Trace Context, levels 1 and 2). Version ff and zero ids are invalid. Of a
// future version the fields known today are read. Unknown flags are cleared, as the text asks of who passes them on.
func ParseTraceparent(b []byte) (id [16]byte, parent [8]byte, flags byte, ok bool) {
	if len(b) < traceparentLen || b[2] != '-' || b[35] != '-' || b[52] != '-' {
		return id, parent, 0, false
	}
	var version, flag [1]byte
	ok = decodeHex(version[:], b[:2]) && decodeHex(id[:], b[3:35]) && decodeHex(parent[:], b[36:52]) && decodeHex(flag[:], b[53:55])
	ok = ok && version[0] != 0xff && id != [16]byte{} && parent != [8]byte{}
	if len(b) > traceparentLen {
		ok = ok && version[0] != 0 && b[traceparentLen] == '-'
	}
	if !ok {
		return [16]byte{}, [8]byte{}, 0, false
	}
	return id, parent, flag[0] & knownFlags, true
}

// decodeHex wants lower case, unlike encoding/hex.
func decodeHex(dst, src []byte) bool {
	for i := range dst {
		high, ok1 := hexValue(src[2*i])
		low, ok2 := hexValue(src[2*i+1])
		if !ok1 || !ok2 || lower[src[2*i]] != src[2*i] || lower[src[2*i+1]] != src[2*i+1] {
			return false
		}
		dst[i] = high<<4 | low
	}
	return true
}

// AppendTraceparent appends a traceparent of version 00.
func AppendTraceparent(dst []byte, id [16]byte, span [8]byte, flags byte) []byte {
	dst = append(dst, "00-"...)
	dst = hex.AppendEncode(dst, id[:])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, span[:])
	dst = append(dst, '-')
	return hex.AppendEncode(dst, []byte{flags})
}
