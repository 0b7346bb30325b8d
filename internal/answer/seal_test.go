package answer

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
)

func sealer(t *testing.T, key string, previous ...string) *Sealer {
	t.Helper()
	var old [][]byte
	for _, k := range previous {
		old = append(old, []byte(k))
	}
	s, err := NewSealer([]byte(key), old...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const (
	firstKey  = "0123456789abcdef0123456789abcdef"
	secondKey = "fedcba9876543210fedcba9876543210"
	thirdKey  = "00000000000000001111111111111111"
)

func TestSealOpens(t *testing.T) {
	s := sealer(t, firstKey)
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
	s := sealer(t, firstKey)
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
	refused("another encryption key", sealer(t, firstKey+"!"), sealed, "record", "client key")
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
	if got, err := sealer(t, firstKey).Open(plain, nil, nil); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("what was stored before there was a key: %v %q", err, got)
	}
}

func TestSealerKeysAreChecked(t *testing.T) {
	key := []byte(firstKey)
	for name, keys := range map[string][][]byte{
		"31 bytes":              {key[1:]},
		"no key":                {nil},
		"a short previous one":  {key, []byte(secondKey)[1:]},
		"an empty previous one": {key, nil},
		"the current one again": {key, []byte(secondKey), key},
		"a previous one twice":  {key, []byte(secondKey), []byte(secondKey)},
	} {
		s, err := NewSealer(keys[0], keys[1:]...)
		if err == nil || s != nil {
			t.Errorf("%s is taken", name)
		} else if bytes.Contains([]byte(err.Error()), key[1:]) || bytes.Contains([]byte(err.Error()), []byte(secondKey)[1:]) {
			t.Errorf("%s: the error tells a key: %v", name, err)
		}
	}
}

// A key is rotated in three steps: in use, kept to open what it sealed, gone.
func TestRotation(t *testing.T) {
	seal := func(s *Sealer) []byte {
		sealed, err := s.Seal([]byte("\x01answer"), []byte("record"), []byte("client key"))
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	opens := func(name string, s *Sealer, sealed []byte, want bool) {
		t.Helper()
		plain, err := s.Open(sealed, []byte("record"), []byte("client key"))
		if want && (err != nil || string(plain) != "\x01answer") || !want && (!errors.Is(err, ErrSealed) || plain != nil) {
			t.Errorf("%s: %q, %v", name, plain, err)
		}
	}
	before, during, after := sealer(t, firstKey), sealer(t, secondKey, thirdKey, firstKey), sealer(t, secondKey)
	old := seal(before)
	opens("by the key before", during, old, true)
	opens("when that is gone", after, old, false)
	opens("on a gateway that has not heard of it yet", before, seal(during), false)
	opens("sealed during the rotation", after, seal(during), true)
	opens("before the new key is in use, on a gateway prepared for it", sealer(t, firstKey, secondKey), seal(during), true)

	swapped := bytes.Clone(old)
	copy(swapped[1:sealedHead], seal(during)[1:])
	opens("under the id of another key that is there", during, swapped, false)
}

func TestSealerOwnsItsKeys(t *testing.T) {
	current, previous := []byte(firstKey), []byte(secondKey)
	s, err := NewSealer(current, previous)
	if err != nil {
		t.Fatal(err)
	}
	sealed, _ := sealer(t, secondKey).Seal([]byte("\x01"), nil, nil)
	clear(current)
	clear(previous)
	if _, err := s.Open(sealed, nil, nil); err != nil {
		t.Error("a key is shared with the caller:", err)
	}
	sealed, _ = s.Seal([]byte("\x01"), nil, nil)
	if _, err := sealer(t, firstKey).Open(sealed, nil, nil); err != nil {
		t.Error("the current key is shared with the caller:", err)
	}
}

// Sealed by the first and the second key, of "record" and "client key": such answers are on disks.
const (
	byFirst  = "81745721bf1cef1f1ebd2de0b78e1b5d00bbc8eb442b098bf53b546363257e04403ccecc3695d794"
	bySecond = "81f6ef207a8966e914e8233d536fe936e0e23c89b8935af9f70d2b6c6c17bada0d24b1b506e8cdb5"
)

func fromHex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func TestSealedFormIsStable(t *testing.T) {
	for _, stored := range []string{byFirst, bySecond} {
		plain, err := sealer(t, firstKey, secondKey).Open(fromHex(stored), []byte("record"), []byte("client key"))
		if err != nil || string(plain) != "\x01answer" {
			t.Errorf("%q, %v", plain, err)
		}
	}
}

// FuzzOpen: whatever is stored, nothing panics, and nothing opens that was not sealed: only its own bytes, unchanged.
func FuzzOpen(f *testing.F) {
	s, err := NewSealer([]byte(firstKey), []byte(secondKey))
	if err != nil {
		f.Fatal(err)
	}
	record, secret := []byte("record"), []byte("client key")
	genuine := map[string]bool{}
	for _, text := range []string{byFirst, bySecond} {
		sealed := fromHex(text)
		genuine[string(sealed)] = true
		f.Add(sealed)
		f.Add(sealed[:sealedHead])
		f.Add(sealed[:sealedHead+12])
		f.Add(append(bytes.Clone(sealed), 0))
	}
	f.Add([]byte{sealedVersion})
	f.Add([]byte{trailing, 0, 200, 0, 0, 1})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, stored []byte) {
		plain, err := s.Open(stored, record, secret)
		switch {
		case len(stored) == 0 || stored[0] != sealedVersion:
			if err != nil || !bytes.Equal(plain, stored) {
				t.Fatalf("not sealed, and changed: %x, %v", plain, err)
			}
		case genuine[string(stored)]:
			if err != nil {
				t.Fatal(err)
			}
		case !errors.Is(err, ErrSealed) || plain != nil:
			t.Fatalf("%x was opened: %x, %v", stored, plain, err)
		}
	})
}
