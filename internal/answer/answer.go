// Package answer is the stored form of an upstream's answer: status, the header fields that may be told again, and the body.
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
// lengths in 2 and 4, then the body to the end.
const (
	version  = 1
	headSize = 1 + 2 + 2
)

// ErrCorrupt is an encoded answer that can't be read.
var ErrCorrupt = errors.New("answer: corrupt")

// Builder encodes one answer. The zero value is ready; reuse it after Begin.
type Builder struct {
	buf    []byte
	fields uint16
}

// Begin starts an answer with its status.
func (b *Builder) Begin(status int) {
	b.buf, b.fields = append(b.buf[:0], version, byte(status>>8), byte(status), 0, 0), 0
}

// Field adds a header field; repetitions and their order are kept. A denied name is left out, whatever the caller thinks,
// and so is what exceeds the format's bounds.
func (b *Builder) Field(name, value []byte) {
	if Denied(name) || len(name) > 0xffff || b.fields == 0xffff {
		return
	}
	b.fields++
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
	Status int
	Body   []byte
	fields []byte
}

// Decode reads an encoded answer. The error is ErrCorrupt.
func Decode(b []byte) (Answer, error) {
	if len(b) < headSize || b[0] != version {
		return Answer{}, ErrCorrupt
	}
	status, n := int(binary.BigEndian.Uint16(b[1:])), int(binary.BigEndian.Uint16(b[3:]))
	if status < 200 || status > 999 {
		return Answer{}, ErrCorrupt
	}
	rest := b[headSize:]
	for range n {
		name, _, after, ok := field(rest)
		if !ok || len(name) == 0 || Denied(name) {
			return Answer{}, ErrCorrupt
		}
		rest = after
	}
	return Answer{Status: status, Body: rest, fields: b[headSize : len(b)-len(rest)]}, nil
}

// Each calls f for each kept field, in order. The slices are borrowed.
func (a Answer) Each(f func(name, value []byte)) {
	for rest := a.fields; len(rest) > 0; {
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
