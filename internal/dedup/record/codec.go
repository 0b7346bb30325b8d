package record

import (
	"encoding/binary"
	"errors"
	"math"
)

// Layout, version 1, big endian: version, state, fingerprint 32, token 16, begun, lease, answer until, key until 8 each,
// status 2, then request id, location and answer, each after its length in 4.
const (
	version   = 1
	fixedSize = 2 + 32 + 16 + 4*8 + 2 + 3*4
)

// ErrCorrupt is an encoded record that can't be read. Whoever meets it refuses: such a key is never executed.
var ErrCorrupt = errors.New("dedup: corrupt record")

// Append appends the encoded record.
func (r Record) Append(dst []byte) []byte {
	dst = append(dst, version, byte(r.State))
	dst = append(dst, r.Fingerprint[:]...)
	dst = append(dst, r.Token[:]...)
	for _, instant := range [...]int64{r.Begun, r.Lease, r.AnswerUntil, r.KeyUntil} {
		dst = binary.BigEndian.AppendUint64(dst, uint64(instant))
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(r.Status))
	dst = appendSized(dst, r.RequestID)
	dst = appendSized(dst, r.Location)
	return appendSized(dst, r.Answer)
}

func appendSized[T string | []byte](dst []byte, s T) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(s)))
	return append(dst, s...)
}

// Decode reads an encoded record. Answer is borrowed from b; the rest is owned. The error is ErrCorrupt.
func Decode(b []byte) (Record, error) {
	var r Record
	if len(b) < fixedSize || b[0] != version || b[1] == byte(Absent) || State(b[1]) >= states {
		return Record{}, ErrCorrupt
	}
	r.State = State(b[1])
	b = b[2:]
	b = b[copy(r.Fingerprint[:], b):]
	b = b[copy(r.Token[:], b):]
	for _, instant := range [...]*int64{&r.Begun, &r.Lease, &r.AnswerUntil, &r.KeyUntil} {
		*instant = int64(binary.BigEndian.Uint64(b))
		b = b[8:]
	}
	r.Status = int(binary.BigEndian.Uint16(b))
	b = b[2:]
	var id, location []byte
	for _, part := range [...]*[]byte{&id, &location, &r.Answer} {
		var ok bool
		if *part, b, ok = sized(b); !ok {
			return Record{}, ErrCorrupt
		}
	}
	if len(b) != 0 {
		return Record{}, ErrCorrupt
	}
	r.RequestID, r.Location = string(id), string(location)
	return r, nil
}

func sized(b []byte) (part, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint32(b)
	b = b[4:]
	if n > math.MaxInt32 || int(n) > len(b) {
		return nil, nil, false
	}
	return b[:n:n], b[n:], true
}
