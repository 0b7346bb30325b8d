package h1

import (
	"bytes"
	"errors"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

const (
	maxChunkLine = 4 << 10  // size and extensions of a chunk, or one trailer
	maxTrailers  = 16 << 10 // the whole trailer section
)

var (
	errChunk    = errors.New("malformed chunk")
	errNeedMore = errors.New("more bytes needed")
)

// chunks decodes a chunked body (RFC 9112, section 7.1). It is strict: CRLF only, digits first, no space before the size, no
// control bytes in extensions. Extensions are dropped, and so are trailers, unless somebody wants them.
type chunks struct {
	left    int64 // data bytes of the current chunk still to come
	step    chunkStep
	trailer int                // bytes of the trailer section so far
	into    *pipeline.Trailers // nil: nobody wants them
}

type chunkStep uint8

const (
	atSize chunkStep = iota
	inData
	afterData
	inTrailer
	atEnd
)

// next looks at the front of b: skip bytes of framing, then data bytes of content. With errNeedMore skip was still passed.
func (d *chunks) next(b []byte) (skip, data int, err error) {
	for {
		rest := b[skip:]
		switch d.step {
		case inData:
			if len(rest) == 0 {
				return skip, 0, errNeedMore
			}
			return skip, int(min(d.left, int64(len(rest)))), nil
		case atEnd:
			return skip, 0, nil
		case afterData:
			if len(rest) < 2 {
				return skip, 0, errNeedMore
			}
			if rest[0] != '\r' || rest[1] != '\n' {
				return skip, 0, errChunk
			}
			skip += 2
			d.step = atSize
		default:
			n, err := d.line(rest)
			if err != nil {
				return skip, 0, err
			}
			skip += n
		}
	}
}

// took tells that n content bytes were consumed.
func (d *chunks) took(n int) {
	if d.left -= int64(n); d.left == 0 && d.step == inData {
		d.step = afterData
	}
}

func (d *chunks) line(b []byte) (int, error) {
	end := bytes.IndexByte(b, '\n')
	if end < 0 && len(b) <= maxChunkLine {
		return 0, errNeedMore
	}
	if end < 1 || end > maxChunkLine || b[end-1] != '\r' {
		return 0, errChunk
	}
	line := b[:end-1]
	for _, ch := range line {
		if !validValue[ch] {
			return 0, errChunk
		}
	}
	if d.step == inTrailer {
		return end + 1, d.trailerLine(line)
	}
	return end + 1, d.sizeLine(line)
}

func (d *chunks) trailerLine(line []byte) error {
	d.trailer += len(line) + 2
	colon := bytes.IndexByte(line, ':')
	switch {
	case len(line) == 0:
		d.step = atEnd
	case d.trailer > maxTrailers || colon < 1:
		return errChunk
	case d.into != nil && trailerName(line[:colon]):
		d.into.Add(string(line[:colon]), string(bytes.Trim(line[colon+1:], " \t")))
	}
	return nil
}

// trailerName tells a name that may stand behind a body.
func trailerName(name []byte) bool {
	return wire.TrailerAllowed(name) && bytes.IndexByte(name, '_') < 0
}

func (d *chunks) sizeLine(line []byte) error {
	var size int64
	i := 0
	for ; i < len(line); i++ {
		digit := hexValue(line[i])
		if digit < 0 {
			break
		}
		if i == 15 {
			return errChunk
		}
		size = size<<4 | int64(digit)
	}
	if rest := bytes.TrimLeft(line[i:], " \t"); i == 0 || len(rest) > 0 && rest[0] != ';' {
		return errChunk
	}
	d.left, d.step = size, inData
	if size == 0 {
		d.step = inTrailer
	}
	return nil
}

func hexValue(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// decodeWhole decodes a body that is in b as a whole, in place. used is 0 when it is not, or is malformed: the stream finds out.
// into gets its trailers; nil: nobody wants them.
func decodeWhole(b []byte, into *pipeline.Trailers) (content []byte, used int) {
	if !bytes.Contains(b, []byte("0\r\n")) {
		return nil, 0
	}
	check := chunks{}
	for at := 0; check.step != atEnd; {
		skip, n, err := check.next(b[at:])
		if err != nil {
			return nil, 0
		}
		check.took(n)
		at += skip + n
	}
	d := chunks{into: into}
	at, w := 0, 0
	for d.step != atEnd {
		skip, n, _ := d.next(b[at:])
		w += copy(b[w:], b[at+skip:at+skip+n])
		d.took(n)
		at += skip + n
	}
	return b[:w], at
}
