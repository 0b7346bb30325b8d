package record

import (
	"encoding/binary"
	"errors"
	"math"
)

// Layout, version 2, big endian: version, state, fingerprint 32, token 16, subject 16, epoch 4, begun, lease, answer until,
// key until 8 each, status 2, then route, request id, location and answer, each after its length in 4. Version 1 had no
// subject, epoch and route; it is still read.
const (
	version   = 2
	fixedSize = 2 + 32 + 16 + 16 + 4 + 4*8 + 2 + 4*4

	firstVersion = 1
	firstSize    = fixedSize - 16 - 4 - 4
)

// ErrCorrupt is an encoded record that can't be read. Whoever meets it refuses: such a key is never executed.
var ErrCorrupt = errors.New("dedup: corrupt record")

// Append appends the encoded record.
func (r Record) Append(dst []byte) []byte {
	dst = append(dst, version, byte(r.State))
	dst = append(dst, r.Fingerprint[:]...)
	dst = append(dst, r.Token[:]...)
	dst = append(dst, r.Subject[:]...)
	dst = binary.BigEndian.AppendUint32(dst, r.Epoch)
	for _, instant := range [...]int64{r.Begun, r.Lease, r.AnswerUntil, r.KeyUntil} {
		dst = binary.BigEndian.AppendUint64(dst, uint64(instant))
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(r.Status))
	dst = appendSized(dst, r.Route)
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
	if len(b) < firstSize || b[1] == byte(Absent) || State(b[1]) >= states {
		return Record{}, ErrCorrupt
	}
	first := b[0] == firstVersion
	if !first && (b[0] != version || len(b) < fixedSize) {
		return Record{}, ErrCorrupt
	}
	r := Record{State: State(b[1]), Epoch: 1}
	b = b[2:]
	b = b[copy(r.Fingerprint[:], b):]
	b = b[copy(r.Token[:], b):]
	if !first {
		b = b[copy(r.Subject[:], b):]
		r.Epoch = binary.BigEndian.Uint32(b)
		b = b[4:]
	}
	for _, instant := range [...]*int64{&r.Begun, &r.Lease, &r.AnswerUntil, &r.KeyUntil} {
		*instant = int64(binary.BigEndian.Uint64(b))
		b = b[8:]
	}
	r.Status = int(binary.BigEndian.Uint16(b))
	b = b[2:]
	texts := []*string{&r.Route, &r.RequestID, &r.Location}
	if first {
		texts = texts[1:]
	}
	for _, text := range texts {
		part, rest, ok := sized(b)
		if !ok {
			return Record{}, ErrCorrupt
		}
		*text, b = string(part), rest
	}
	answer, rest, ok := sized(b)
	if !ok || len(rest) != 0 {
		return Record{}, ErrCorrupt
	}
	r.Answer = answer
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
