package dedup

import (
	"encoding/base64"
	"math/bits"
	"math/rand/v2"
	"testing"
	"testing/quick"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

// TestRefIsAPermutation: every key has one reference that leads back to it, and every reference leads to one key.
func TestRefIsAPermutation(t *testing.T) {
	h := newHasher([32]byte{7})
	back := func(key record.Key) bool {
		got, ok := h.unref(h.ref(key))
		return ok && got == key
	}
	if err := quick.Check(back, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
	forth := func(key record.Key) bool { // any 32 bytes as a reference
		other := newHasher([32]byte{8})
		ref := other.ref(key)
		led, ok := h.unref(ref)
		return ok && h.ref(led) == ref
	}
	if err := quick.Check(forth, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
}

// TestRefTellsNothing: one changed bit of a key, or of the secret, changes about half of the reference.
func TestRefTellsNothing(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	secret := [32]byte{7}
	h := newHasher(secret)
	var total, least int
	least = 256
	const rounds = 500
	raw := func(h *hasher, key record.Key) record.Key {
		b, err := base64.RawURLEncoding.DecodeString(h.ref(key))
		if err != nil {
			t.Fatal(err)
		}
		return record.Key(b)
	}
	for range rounds {
		var key record.Key
		for i := range key {
			key[i] = byte(random.Uint32())
		}
		changed := key
		changed[random.IntN(32)] ^= 1 << random.IntN(8)
		a, b := raw(h, key), raw(h, changed)
		n := 0
		for i := range a {
			n += bits.OnesCount8(a[i] ^ b[i])
		}
		total, least = total+n, min(least, n)
	}
	if mean := total / rounds; mean < 118 || mean > 138 || least < 70 {
		t.Errorf("%d bits of 256 change, at least %d", mean, least)
	}
	secret[31] ^= 1
	if newHasher(secret).ref(record.Key{1}) == h.ref(record.Key{1}) {
		t.Error("the secret does not count")
	}
}

// TestNamesOfARecordDiffer: what the store, the upstream and the client see of one record has nothing in common.
func TestNamesOfARecordDiffer(t *testing.T) {
	h := newHasher([32]byte{7})
	key := h.recordKey("ann", nil, "orders", []byte("k"))
	s, other := h.subject("ann", nil), h.subject("", []byte("ann"))
	if h.ref(key) == derive(key, labelUp) || s == other || s == record.Subject(key[:16]) || s == (record.Subject{}) {
		t.Error("two names of a record agree")
	}
	if h.subject("ann", []byte("acme")) != s {
		t.Error("a header changes whose a verified client's records are")
	}
}
