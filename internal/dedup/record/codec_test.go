package record

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

func sample() Record {
	return Record{
		State: Completed, Fingerprint: Fingerprint{1, 2}, Token: Token{3}, Begun: 4, Lease: 5, AnswerUntil: 6, KeyUntil: 7,
		Status: 201, RequestID: "id", Location: "/orders/1", Answer: []byte("answer"),
	}
}

func TestCodecRoundTrip(t *testing.T) {
	for _, want := range []Record{sample(), {State: InFlight, Answer: []byte{}}, {State: Unknown, KeyUntil: -1, Answer: []byte{}}} {
		encoded := want.Append(nil)
		got, err := Decode(encoded)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v\nwant %+v", got, err, want)
		}
		if len(encoded) != want.Size() {
			t.Errorf("Size says %d, encoded are %d", want.Size(), len(encoded))
		}
	}
}

func TestDecodeRefusesWhatIsBroken(t *testing.T) {
	whole := sample().Append(nil)
	broken := map[string][]byte{
		"empty":         nil,
		"trailing byte": append(bytes.Clone(whole), 0),
		"other version": append([]byte{9}, whole[1:]...),
		"absent":        append([]byte{version, 0}, whole[2:]...),
		"no such state": append([]byte{version, byte(states)}, whole[2:]...),
	}
	for i := range whole {
		if _, err := Decode(whole[:i]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	for name, b := range broken {
		if _, err := Decode(b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(sample().Append(nil))
	f.Add(Record{State: InFlight}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Decode(b)
		if err != nil {
			return
		}
		if again := r.Append(nil); !bytes.Equal(again, b) {
			t.Fatalf("%x is read as %+v, which is written as %x", b, r, again)
		}
	})
}
