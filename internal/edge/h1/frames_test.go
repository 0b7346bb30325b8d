package h1

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// frame is one of n bytes.
func frame(op byte, masked bool, n int) []byte {
	b := []byte{0x80 | op}
	switch {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	if masked {
		b[1] |= 0x80
		b = append(b, 1, 2, 3, 4)
	}
	return append(b, make([]byte, n)...)
}

// However the bytes are cut, a frame may stand exactly where one of theirs has ended.
func TestFrames(t *testing.T) {
	var all []byte
	ends := map[int]bool{0: true}
	for _, masked := range []bool{false, true} {
		for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536, 70000} {
			all = append(all, frame(2, masked, n)...)
			ends[len(all)] = true
		}
	}
	for _, step := range []int{1, 2, 3, 7, 1024, 65536} {
		var f frames
		for at := 0; at < len(all); at += step {
			if f.between() != ends[at] {
				t.Fatalf("step %d at %d: between %v", step, at, f.between())
			}
			f.pass(all[at:min(at+step, len(all))])
		}
		if !f.between() || f.closed {
			t.Errorf("step %d: %+v", step, f)
		}
	}
	var f frames
	f.pass(frame(9, true, 3))
	if f.closed {
		t.Error("a ping is no Close")
	}
	if f.pass(closeFrame(1001, true)); !f.closed || !f.between() {
		t.Errorf("%+v after a Close", f)
	}
	if got := closeFrame(1001, false); !bytes.Equal(got, []byte{0x88, 2, 3, 0xe9}) {
		t.Errorf("% x", got)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(frame(1, true, 5), 3)
	f.Add([]byte{0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 1)
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		if at < 0 || at > len(b) {
			return
		}
		var whole, cut frames
		whole.pass(b)
		cut.pass(b[:at])
		cut.pass(b[at:])
		if whole.between() != cut.between() || whole.left != cut.left || whole.closed != cut.closed {
			t.Errorf("%+v, in two pieces %+v", whole, cut)
		}
	})
}
