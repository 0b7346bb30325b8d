package health

import (
	"bytes"
	"encoding/binary"
	"testing"
)

func framed(message ...byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

func TestServingStatus(t *testing.T) {
	for name, tt := range map[string]struct {
		frame  []byte
		status uint64
		ok     bool
	}{
		"serving":                {framed(8, 1), 1, true},
		"not serving":            {framed(8, 2), 2, true},
		"left out, so unknown":   {framed(), 0, true},
		"the last one counts":    {framed(8, 1, 8, 2), 2, true},
		"a field that is new":    {framed(0x12, 2, 'a', 'b', 8, 1), 1, true},
		"a number that is new":   {framed(0x18, 7, 8, 1), 1, true},
		"nothing":                {nil, 0, false},
		"no message":             {[]byte{0, 0, 0, 0}, 0, false},
		"compressed":             {[]byte{1, 0, 0, 0, 2, 8, 1}, 0, false},
		"two frames":             {append(framed(8, 1), framed(8, 1)...), 0, false},
		"cut":                    {framed(8, 1)[:6], 0, false},
		"a number without end":   {framed(8, 0x80), 0, false},
		"a tag without end":      {framed(0x80), 0, false},
		"a text beyond the end":  {framed(0x12, 9, 'a'), 0, false},
		"a text of all lengths":  {framed(0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1), 0, false},
		"another kind of field":  {framed(0x0d, 1, 0, 0, 0), 0, false},
		"the status as a string": {framed(0x0a, 1, 1), 0, true},
	} {
		if status, ok := servingStatus(tt.frame); ok != tt.ok || ok && status != tt.status {
			t.Errorf("%s: %d, %v", name, status, ok)
		}
	}
}

func TestCheckRequest(t *testing.T) {
	for service, want := range map[string][]byte{"": framed(), "ab": framed(0x0a, 2, 'a', 'b')} {
		if got := checkRequest(service); !bytes.Equal(got, want) {
			t.Errorf("%q: %x, want %x", service, got, want)
		}
	}
}

// What an upstream answers never breaks a check, and serving is found only where a status of 1 stands.
func FuzzServingStatus(f *testing.F) {
	f.Add(framed(8, 1))
	f.Add(framed(0x12, 2, 'a', 'b', 8, 2))
	f.Add([]byte{0, 0, 0, 0, 2, 8})
	f.Fuzz(func(t *testing.T, frame []byte) {
		status, ok := servingStatus(frame)
		if ok && status == serving && !bytes.Contains(frame[5:], []byte{8}) {
			t.Errorf("serving in %x", frame)
		}
		if !ok && status != 0 {
			t.Errorf("%d of a malformed answer", status)
		}
	})
}
