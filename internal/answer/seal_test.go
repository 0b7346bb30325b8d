package answer

import (
	"bytes"
	"errors"
	"testing"
)

func sealer(t *testing.T, key string) *Sealer {
	t.Helper()
	s, err := NewSealer([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const sealKey = "0123456789abcdef0123456789abcdef"

func TestSealOpens(t *testing.T) {
	s := sealer(t, sealKey)
	plain := []byte("\x01an encoded answer with a card number")
	sealed, err := s.Seal(plain, []byte("record"), []byte("client key"))
	if err != nil || bytes.Contains(sealed, []byte("card")) {
		t.Fatalf("%v: %q", err, sealed)
	}
	again, _ := s.Seal(plain, []byte("record"), []byte("client key"))
	if bytes.Equal(sealed, again) {
		t.Error("two seals are equal: the nonce is not fresh")
	}
	got, err := s.Open(sealed, []byte("record"), []byte("client key"))
	if err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("%v: %q", err, got)
	}
}

func TestSealRefusesWhatIsNotItsOwn(t *testing.T) {
	s := sealer(t, sealKey)
	sealed, err := s.Seal([]byte("\x01secret"), []byte("record"), []byte("client key"))
	if err != nil {
		t.Fatal(err)
	}
	refused := func(name string, by *Sealer, stored []byte, record, secret string) {
		t.Helper()
		if got, err := by.Open(stored, []byte(record), []byte(secret)); !errors.Is(err, ErrSealed) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	refused("another record", s, sealed, "other", "client key")
	refused("another client key", s, sealed, "record", "other")
	refused("another encryption key", sealer(t, sealKey+"!"), sealed, "record", "client key")
	refused("no encryption key", nil, sealed, "record", "client key")
	for i := range sealed[1:] {
		changed := bytes.Clone(sealed)
		changed[i+1] ^= 1
		refused("a changed byte", s, changed, "record", "client key")
	}
	for n := 1; n < len(sealed); n++ {
		refused("cut short", s, sealed[:n], "record", "client key")
	}
}

func TestSealLeavesPlainAnswers(t *testing.T) {
	plain := []byte("\x01plain")
	var none *Sealer
	if got, err := none.Seal(plain, nil, nil); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("%v %q", err, got)
	}
	if got, err := sealer(t, sealKey).Open(plain, nil, nil); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("what was stored before there was a key: %v %q", err, got)
	}
}

func TestSealerWantsALongKey(t *testing.T) {
	if _, err := NewSealer([]byte(sealKey[1:])); err == nil {
		t.Error("31 bytes are taken")
	}
}
