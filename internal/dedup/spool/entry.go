package spool

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

// Entry is a result that a store did not take. Key and Token name it.
type Entry struct {
	Key    record.Key
	Token  record.Token
	Result record.Result
	At     time.Time // when it was put
}

// Layout, version 1, big endian: version, key 32, token 16, at 8 (nanoseconds since 1970), state, fingerprint 32, subject 16,
// status 2, keep answer and keep key 8 each (nanoseconds), then route, request id, location and answer, each after its length
// in 4, then the CRC-32C of all that in 4.
const (
	version   = 1
	fixedSize = 1 + 32 + 16 + 8 + 1 + 32 + 16 + 2 + 2*8
	sumSize   = 4
	leastSize = fixedSize + 4*4 + sumSize
)

var (
	errDamaged = errors.New("damaged")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// name is the entry's file. It is a hash: a folder's listing tells nothing.
func (e Entry) name() string {
	sum := sha256.Sum256(append(e.Key[:], e.Token[:]...))
	return hex.EncodeToString(sum[:20]) + suffix
}

func (e Entry) encode() ([]byte, error) {
	r := e.Result
	if !settles(r.State) || r.Status < 0 || r.Status > math.MaxUint16 {
		return nil, fmt.Errorf("spool: not a result: %s, status %d", r.State, r.Status)
	}
	texts := [...]string{r.Route, r.RequestID, r.Location}
	b := make([]byte, 0, leastSize+len(r.Route)+len(r.RequestID)+len(r.Location)+len(r.Answer))
	b = append(append(append(b, version), e.Key[:]...), e.Token[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(e.At.UnixNano()))
	b = append(b, byte(r.State))
	b = append(append(b, r.Fingerprint[:]...), r.Subject[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(r.Status))
	b = binary.BigEndian.AppendUint64(b, uint64(r.KeepAnswer))
	b = binary.BigEndian.AppendUint64(b, uint64(r.KeepKey))
	for _, text := range texts {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(text))), text...)
	}
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(r.Answer))), r.Answer...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

func settles(s record.State) bool {
	return s == record.Completed || s == record.Sealed || s == record.Unknown
}

// decode reads an encoded entry. Its answer is borrowed from b. The error wraps errDamaged.
func decode(b []byte) (Entry, error) {
	if len(b) < leastSize {
		return Entry{}, fmt.Errorf("%w: too short", errDamaged)
	}
	b, sum := b[:len(b)-sumSize], b[len(b)-sumSize:]
	if crc32.Checksum(b, castagnoli) != binary.BigEndian.Uint32(sum) {
		return Entry{}, fmt.Errorf("%w: its checksum is wrong", errDamaged)
	}
	if b[0] != version {
		return Entry{}, fmt.Errorf("%w: version %d is not known", errDamaged, b[0])
	}
	var e Entry
	r := &e.Result
	b = b[1:]
	b = b[copy(e.Key[:], b):]
	b = b[copy(e.Token[:], b):]
	e.At = time.Unix(0, int64(binary.BigEndian.Uint64(b)))
	r.State = record.State(b[8])
	b = b[9:]
	b = b[copy(r.Fingerprint[:], b):]
	b = b[copy(r.Subject[:], b):]
	r.Status = int(binary.BigEndian.Uint16(b))
	r.KeepAnswer = time.Duration(binary.BigEndian.Uint64(b[2:]))
	r.KeepKey = time.Duration(binary.BigEndian.Uint64(b[10:]))
	if !settles(r.State) || !decodeTexts(b[18:], r) {
		return Entry{}, fmt.Errorf("%w: not a result", errDamaged)
	}
	return e, nil
}

func decodeTexts(b []byte, r *record.Result) bool {
	for _, text := range [...]*string{&r.Route, &r.RequestID, &r.Location} {
		part, rest, ok := sized(b)
		if !ok {
			return false
		}
		*text, b = string(part), rest
	}
	answer, rest, ok := sized(b)
	if len(answer) > 0 {
		r.Answer = answer
	}
	return ok && len(rest) == 0
}

func sized(b []byte) (part, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := uint64(binary.BigEndian.Uint32(b))
	if b = b[4:]; n > uint64(len(b)) {
		return nil, nil, false
	}
	return b[:n:n], b[n:], true
}
