// Package answer is the stored form of an upstream's answer: status, the header fields that may be told again, the gRPC status
// of a gRPC call, and the body.
//
// It promises that what it decodes is exactly what was encoded, and that no field of the deny list (credentials, cookies, hop
// by hop, limits, trace ids) is ever stored or told again. A Sealer encrypts the encoded form. It stores nothing itself; an
// answer that can't be opened counts as not kept.
package answer

import (
	"encoding/binary"
	"errors"
)

// Layout, version 1, big endian: version, status 2, number of fields 2, then each field as name and value after their
// lengths in 2 and 4, then the body to the end. Version 2 has trailers between fields and body: their number 1, then each like
// a field. It is written only for an answer that has them, so all others stay readable for gateways that know version 1 only;
// to those a version 2 is an answer that was not kept.
const (
	version  = 1
	trailing = 2
	headSize = 1 + 2 + 2
)

// ErrCorrupt is an encoded answer that can't be read.
var ErrCorrupt = errors.New("answer: corrupt")

// Builder encodes one answer. The zero value is ready; reuse it after Begin.
type Builder struct {
	buf      []byte
	fields   uint16
	trailers int // where their number stands; 0: there are none
}

// Begin starts an answer with its status.
func (b *Builder) Begin(status int) {
	b.buf, b.fields, b.trailers = append(b.buf[:0], version, byte(status>>8), byte(status), 0, 0), 0, 0
}

// Field adds a header field; repetitions and their order are kept. A denied name is left out, whatever the caller thinks,
// and so is what exceeds the format's bounds.
func (b *Builder) Field(name, value []byte) {
	if Denied(name) || len(name) > 0xffff || b.fields == 0xffff || b.trailers > 0 {
		return
	}
	b.fields++
	b.put(name, value)
}

// Trailer adds a part of the gRPC status: grpc-status, grpc-message, grpc-status-details-bin. All others are left out. No field
// may be added afterwards.
func (b *Builder) Trailer(name, value []byte) {
	if !statusField(name) {
		return
	}
	if b.trailers == 0 {
		b.buf[0], b.trailers = trailing, len(b.buf)
		b.buf = append(b.buf, 0)
	}
	if b.buf[b.trailers] < mostTrailers {
		b.buf[b.trailers]++
		b.put(name, value)
	}
}

func (b *Builder) put(name, value []byte) {
	b.buf = binary.BigEndian.AppendUint16(b.buf, uint16(len(name)))
	b.buf = append(b.buf, name...)
	b.buf = binary.BigEndian.AppendUint32(b.buf, uint32(len(value)))
	b.buf = append(b.buf, value...)
}

// End adds the body and gives the encoded answer, which is valid until the next Begin.
func (b *Builder) End(body []byte) []byte {
	binary.BigEndian.PutUint16(b.buf[3:], b.fields)
	b.buf = append(b.buf, body...)
	return b.buf
}

// Answer is a decoded answer. It borrows the bytes it was decoded from.
type Answer struct {
	Status   int
	Body     []byte
	fields   []byte
	trailers []byte
}

// Decode reads an encoded answer. The error is ErrCorrupt.
func Decode(b []byte) (Answer, error) {
	if len(b) < headSize || b[0] != version && b[0] != trailing {
		return Answer{}, ErrCorrupt
	}
	a := Answer{Status: int(binary.BigEndian.Uint16(b[1:]))}
	fields, rest, ok := take(b[headSize:], int(binary.BigEndian.Uint16(b[3:])), func(name []byte) bool { return len(name) > 0 && !Denied(name) })
	if !ok || a.Status < 200 || a.Status > 999 {
		return Answer{}, ErrCorrupt
	}
	if a.fields = fields; b[0] == trailing {
		if len(rest) == 0 || rest[0] == 0 || rest[0] > mostTrailers {
			return Answer{}, ErrCorrupt
		}
		if a.trailers, rest, ok = take(rest[1:], int(rest[0]), statusField); !ok {
			return Answer{}, ErrCorrupt
		}
	}
	a.Body = rest
	return a, nil
}

// take cuts n fields off whose names are right.
func take(b []byte, n int, right func(name []byte) bool) (fields, rest []byte, ok bool) {
	rest = b
	for range n {
		name, _, after, ok := field(rest)
		if !ok || !right(name) {
			return nil, nil, false
		}
		rest = after
	}
	return b[:len(b)-len(rest)], rest, true
}

// Each calls f for each kept field, in order. The slices are borrowed.
func (a Answer) Each(f func(name, value []byte)) { each(a.fields, f) }

// EachTrailer calls f for each part of the gRPC status. The slices are borrowed.
func (a Answer) EachTrailer(f func(name, value []byte)) { each(a.trailers, f) }

func each(rest []byte, f func(name, value []byte)) {
	for len(rest) > 0 {
		name, value, after, ok := field(rest)
		if !ok {
			return
		}
		f(name, value)
		rest = after
	}
}

func field(b []byte) (name, value, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if b = b[2:]; len(b) < n+4 {
		return nil, nil, nil, false
	}
	name, b = b[:n:n], b[n:]
	m := uint64(binary.BigEndian.Uint32(b))
	if b = b[4:]; uint64(len(b)) < m {
		return nil, nil, nil, false
	}
	return name, b[:m:m], b[m:], true
}
