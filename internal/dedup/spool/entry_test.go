package spool

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"reflect"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

func TestCodecRoundTrip(t *testing.T) {
	for _, want := range []Entry{
		entry(1, "answer"),
		entry(2, ""),
		{At: time.Unix(0, -5), Result: record.Result{State: record.Unknown, KeepKey: -1}},
	} {
		b, err := want.encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := decode(b)
		if err != nil || !same(got, want) {
			t.Errorf("got %+v, %v\nwant %+v", got, err, want)
		}
	}
}

// A field of a result that the codec forgets is found here, also one that is added later.
func TestCodecSampleIsFull(t *testing.T) {
	v := reflect.ValueOf(entry(1, "answer").Result)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("%s is not in the sample", v.Type().Field(i).Name)
		}
	}
}

const stable = "0101000000000000000000000000000000000000000000000000000000000000000101000000000000000000000000000017979cfe" +
	"362a000102010200000000000000000000000000000000000000000000000000000000000001030000000000000000000000000000" +
	"00c90000034630b8a000000009d29229e000000000066f7264657273000000026964000000092f6f72646572732f3100000006616e" +
	"73776572293f864d"

// The bytes of version 1 are on disks: they must be read as long as that version is.
func TestCodecIsStable(t *testing.T) {
	b, err := entry(1, "answer").encode()
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(b); got != stable {
		t.Errorf("got  %s\nwant %s", got, stable)
	}
}

func sum(b []byte) []byte {
	return binary.BigEndian.AppendUint32(bytes.Clone(b), crc32.Checksum(b, castagnoli))
}

func TestDecodeRefusesWhatIsBroken(t *testing.T) {
	whole, err := entry(1, "answer").encode()
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, b []byte) {
		t.Helper()
		if _, err := decode(b); !errors.Is(err, errDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
	body := whole[:len(whole)-sumSize]
	for i := range whole {
		refused("cut", whole[:i])
		flipped := bytes.Clone(whole)
		flipped[i] ^= 0x10
		refused("changed", flipped)
	}
	for i := range body {
		refused("cut, with a sum", sum(body[:i]))
	}
	refused("longer, with a sum", sum(append(bytes.Clone(body), 0)))
	for _, v := range []byte{0, 2} {
		refused("another version", sum(append([]byte{v}, body[1:]...)))
	}
	for _, state := range []byte{0, 1, 5} {
		other := bytes.Clone(body)
		other[1+32+16+8] = state
		refused("no end", sum(other))
	}
}

// FuzzEntry gives bodies a right checksum: without it hardly anything is read.
func FuzzEntry(f *testing.F) {
	for _, e := range []Entry{entry(1, "answer"), entry(2, ""), {At: time.Unix(0, 0), Result: record.Result{State: record.Unknown}}} {
		b, err := e.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, false)
		f.Add(b[:len(b)-sumSize], true)
	}
	f.Fuzz(func(t *testing.T, b []byte, withSum bool) {
		if withSum {
			b = sum(b)
		}
		e, err := decode(b)
		if err != nil {
			return
		}
		if again, err := e.encode(); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x is read as %+v, which is written as %x, %v", b, e, again, err)
		}
	})
}
