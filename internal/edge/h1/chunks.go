package h1

import (
	"bytes"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

const (
	maxChunkDigits = 15      // sizes stay far below 2^63
	maxExtensions  = 4 << 10 // chunk extensions of one body
	maxTrailers    = 8 << 10
)

// The states of chunked framing, RFC 9112 section 7.1: what the next byte belongs to.
const (
	atSize = iota
	atExtension
	atSizeLF
	atData
	atDataCR
	atDataLF
	atTrailer // the first byte of a line
	atTrailerName
	atTrailerValue
	atTrailerLF
	atEndLF
	atEnd
)

// chunks decodes chunked framing. It is stricter than most: no blanks around the size, no bare line feeds, bounded
// extensions and trailers, nothing in a trailer that could change the meaning of the request.
type chunks struct {
	state    uint8
	digits   uint8
	left     int64  // of the current chunk
	overhead int    // bytes of extensions or trailers
	trailers []byte // their lines so far
	line     int    // where the last of them begins
}

// next takes framing from in up to the next data, which it returns as a part of in. used counts both. Data is empty when in
// ran out or the body has ended.
func (d *chunks) next(in []byte) (used int, data []byte, err error) {
	for used < len(in) && d.state != atEnd {
		if d.state == atData {
			n := int(min(d.left, int64(len(in)-used)))
			data = in[used : used+n]
			d.took(n)
			return used + n, data, nil
		}
		if !d.step(in[used]) {
			return used, nil, pipeline.BadRequest
		}
		used++
	}
	return used, nil, nil
}

// took counts data that was read from the chunk.
func (d *chunks) took(n int) {
	if d.left -= int64(n); d.left == 0 {
		d.state = atDataCR
	}
}

func (d *chunks) step(b byte) bool {
	switch d.state {
	case atSize:
		return d.size(b)
	case atExtension:
		d.overhead++
		if b == '\r' {
			d.state = atSizeLF
			return true
		}
		return d.overhead <= maxExtensions && text(b)
	case atSizeLF:
		if d.state = atData; d.left == 0 {
			d.state, d.overhead = atTrailer, 0
		}
		return b == '\n'
	case atDataCR:
		d.state = atDataLF
		return b == '\r'
	case atDataLF:
		d.state, d.digits = atSize, 0
		return b == '\n'
	}
	d.overhead++
	return d.overhead <= maxTrailers && d.trailer(b)
}

func (d *chunks) size(b byte) bool {
	if v := unhex[b]; v != 0 {
		d.left = d.left<<4 | int64(v-1)
		d.digits++
		return d.digits <= maxChunkDigits
	}
	switch {
	case d.digits == 0:
		return false
	case b == '\r':
		d.state = atSizeLF
	case b == ';':
		d.state = atExtension
	default:
		return false
	}
	return true
}

func (d *chunks) trailer(b byte) bool {
	if d.state == atTrailer && b == '\r' {
		d.state = atEndLF
		return true
	}
	if d.state != atEndLF {
		d.trailers = append(d.trailers, b)
	}
	switch d.state {
	case atTrailer:
		d.state, d.line = atTrailerName, len(d.trailers)-1
		return token[b]
	case atTrailerName:
		return d.trailerName(b)
	case atTrailerValue:
		if b == '\r' {
			d.state = atTrailerLF
			return true
		}
		return text(b)
	case atTrailerLF:
		d.state = atTrailer
		return b == '\n'
	}
	d.state = atEnd
	return b == '\n'
}

func (d *chunks) trailerName(b byte) bool {
	if b == ':' {
		d.state = atTrailerValue
		return wire.TrailerAllowed(d.trailers[d.line : len(d.trailers)-1])
	}
	return token[b]
}

// each gives the trailers of a body that has ended. Names with '_' are left out, as they are from heads.
func (d *chunks) each(f func(name, value []byte)) {
	for line := range bytes.Lines(d.trailers) {
		name, value, _ := bytes.Cut(line, []byte{':'})
		if bytes.IndexByte(name, '_') < 0 {
			f(name, bytes.Trim(value, " \t\r\n"))
		}
	}
}

// text reports what may stand in a field value or an extension.
func text(b byte) bool { return b >= ' ' && b != 0x7f || b == '\t' }

// unhex holds the value of a hexadecimal digit plus one.
var unhex = func() (t [256]uint8) {
	for i := range 10 {
		t['0'+i] = uint8(i) + 1
	}
	for i := range 6 {
		t['a'+i], t['A'+i] = uint8(i)+11, uint8(i)+11
	}
	return
}()

var token = func() (t [256]bool) {
	for b := byte('!'); b <= '~'; b++ {
		t[b] = true
	}
	for _, b := range []byte("\"(),/:;<=>?@[\\]{}") {
		t[b] = false
	}
	return
}()
