package h1

import "encoding/binary"

// frames follows the frames of one direction of a WebSocket (RFC 6455, 5.2) by their lengths only, to know where a frame of
// our own may stand.
type frames struct {
	head   [10]byte
	have   int
	left   uint64 // of the current frame, its mask included
	closed bool   // a Close frame has passed: nothing may follow it
}

// pass notes bytes that were passed on.
func (f *frames) pass(p []byte) {
	for len(p) > 0 {
		if f.left > 0 {
			n := min(f.left, uint64(len(p)))
			f.left -= n
			p = p[n:]
			continue
		}
		f.head[f.have] = p[0]
		f.have++
		p = p[1:]
		f.begin()
	}
}

// begin starts a frame when its length is known.
func (f *frames) begin() {
	if f.have < 2 {
		return
	}
	size, need := uint64(f.head[1]&0x7f), 2
	switch size {
	case 126:
		need = 4
	case 127:
		need = 10
	}
	if f.have < need {
		return
	}
	switch need {
	case 4:
		size = uint64(binary.BigEndian.Uint16(f.head[2:]))
	case 10:
		size = binary.BigEndian.Uint64(f.head[2:]) &^ (1 << 63)
	}
	if f.head[1]&0x80 != 0 {
		size += 4
	}
	f.closed = f.closed || f.head[0]&0x0f == 8
	f.have, f.left = 0, size
}

// between tells that no frame has begun that is not complete.
func (f *frames) between() bool { return f.have == 0 && f.left == 0 }

// closeFrame is a Close frame (RFC 6455, 5.5.1). A client's frames are masked; the mask need not be secret here, because
// nothing of what it hides was chosen by anybody else.
func closeFrame(code uint16, masked bool) []byte {
	if masked {
		return []byte{0x88, 0x82, 0, 0, 0, 0, byte(code >> 8), byte(code)}
	}
	return []byte{0x88, 2, byte(code >> 8), byte(code)}
}
