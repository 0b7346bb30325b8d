package record

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func sample() Record {
	return Record{
		State: Completed, Fingerprint: Fingerprint{1, 2}, Token: Token{3}, Subject: Subject{8, 9}, Route: "orders", Epoch: 0x01020304,
		Begun: 4, Lease: 5, AnswerUntil: 6, KeyUntil: 7, Status: 201, RequestID: "id", Location: "/orders/1", Answer: []byte("answer"),
	}
}

func TestCodecRoundTrip(t *testing.T) {
	for _, want := range []Record{
		sample(), {State: InFlight, Epoch: 1, Answer: []byte{}}, {State: Unknown, KeyUntil: -1, Answer: []byte{}}, {State: Sealed, Route: "r", Answer: []byte{}},
	} {
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

// A field that the codec forgets is found here, also one that is added later.
func TestCodecSampleIsFull(t *testing.T) {
	v := reflect.ValueOf(sample())
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("%s is not in the sample", v.Type().Field(i).Name)
		}
	}
}

// v1 is a record as version 1 wrote it, byte by byte.
func v1(state string, texts string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll("01 "+state+
		" 0102000000000000000000000000000000000000000000000000000000000000"+ // fingerprint
		" 03000000000000000000000000000000"+ // token
		" 0000000000000004 0000000000000005 0000000000000006 0000000000000007"+ // begun, lease, answer until, key until
		" 00c9 "+texts, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

const (
	v1Texts  = "00000002 6964 00000009 2f6f72646572732f31 00000006 616e73776572" // request id, location, answer
	v1Nobody = "00000000 00000000 00000000"
)

func TestDecodeReadsVersion1(t *testing.T) {
	want := sample()
	want.Subject, want.Route, want.Epoch = Subject{}, "", 1
	got, err := Decode(v1("02", v1Texts))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	want.State, want.RequestID, want.Location, want.Answer = InFlight, "", "", []byte{}
	if got, err = Decode(v1("01", v1Nobody)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	rewritten := got.Append(nil)
	if again, err := Decode(rewritten); err != nil || rewritten[0] != version || !reflect.DeepEqual(again, got) {
		t.Errorf("written again: %+v, %v", again, err)
	}
}

func TestDecodeRefusesWhatIsBroken(t *testing.T) {
	for name, whole := range map[string][]byte{"version 1": v1("02", v1Texts), "version 2": sample().Append(nil), "bare": v1("04", v1Nobody)} {
		for i := range whole {
			if _, err := Decode(whole[:i]); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%s, cut at %d: %v", name, i, err)
			}
		}
		for what, b := range map[string][]byte{
			"trailing byte": append(bytes.Clone(whole), 0),
			"version 0":     append([]byte{0}, whole[1:]...),
			"version 3":     append([]byte{3}, whole[1:]...),
			"absent":        append([]byte{whole[0], 0}, whole[2:]...),
			"no such state": append([]byte{whole[0], byte(states)}, whole[2:]...),
		} {
			if _, err := Decode(b); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
	if _, err := Decode(append([]byte{version}, v1("02", v1Texts)[1:]...)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a record of version 1 that says 2: %v", err)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(sample().Append(nil))
	f.Add(Record{State: InFlight}.Append(nil))
	f.Add(v1("02", v1Texts))
	f.Add(v1("01", v1Nobody))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Decode(b)
		if err != nil {
			return
		}
		again := r.Append(nil)
		if b[0] == version && !bytes.Equal(again, b) {
			t.Fatalf("%x is read as %+v, which is written as %x", b, r, again)
		}
		if same, err := Decode(again); err != nil || !reflect.DeepEqual(same, r) { // version 1 becomes version 2
			t.Fatalf("%x is read as %+v, and as %+v, %v when it was written again", b, r, same, err)
		}
	})
}
