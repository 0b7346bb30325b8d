package dedup

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"sync"

	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/mutant"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// Everything that is stored is a keyed hash: whoever reads the store learns neither keys nor requests, and can't test guesses.
// The first byte of each hash says what it is of, the second which recipe made it.
const (
	hashOfKey     = 1
	hashOfRequest = 2
	hashOfSubject = 3
	hashOfRef     = 4
	recipe        = 1
)

// hasher makes keyed hashes of lists of parts.
type hasher struct{ pool sync.Pool }

func newHasher(secret [32]byte) *hasher {
	return &hasher{sync.Pool{New: func() any { return &digest{mac: hmac.New(sha256.New, secret[:])} }}}
}

func (h *hasher) begin(what byte) *digest {
	d := h.pool.Get().(*digest)
	d.mac.Reset()
	d.byte(what)
	d.byte(recipe)
	return d
}

// end gives the hash and the digest back.
func (h *hasher) end(d *digest) (sum [32]byte) {
	copy(sum[:], d.mac.Sum(d.room[:0]))
	h.pool.Put(d)
	return sum
}

type digest struct {
	mac  hash.Hash
	room [32]byte
}

func (d *digest) byte(b byte) {
	d.room[0] = b
	d.mac.Write(d.room[:1])
}

// part adds bytes after their length, so that no two lists of parts have the same text.
func (d *digest) part(b []byte) {
	d.mac.Write(binary.BigEndian.AppendUint64(d.room[:0], uint64(len(b))))
	d.mac.Write(b)
}

// recordKey is the only place where the name of a record is made. Where a header names the client, the authenticated
// identity still belongs to it: nobody reads another's answers by naming him.
func (h *hasher) recordKey(identity string, named []byte, scope string, key []byte) record.Key {
	d := h.begin(hashOfKey)
	if mutant.UnscopedKey {
		identity = ""
	}
	d.part([]byte(identity))
	d.part(named)
	d.part([]byte(scope))
	d.part(key)
	return h.end(d)
}

// subject names whom a record belongs to: the authenticated identity, or without one the client that a header names.
func (h *hasher) subject(identity string, named []byte) record.Subject {
	d := h.begin(hashOfSubject)
	d.part([]byte(identity))
	if identity == "" {
		d.part(named)
	}
	sum := h.end(d)
	return record.Subject(sum[:16])
}

// ref is the public name of a record, 43 characters of base64url. It is its key under a permutation that only the secret
// opens (four rounds of a Feistel network, Luby and Rackoff 1988), so that it tells nothing and still leads back.
func (h *hasher) ref(key record.Key) string {
	for round := range byte(4) {
		h.round(&key, round)
		swap(&key)
	}
	return base64.RawURLEncoding.EncodeToString(key[:])
}

// unref gives the key that a public name leads to; anything of the right length leads somewhere.
func (h *hasher) unref(ref string) (key record.Key, ok bool) {
	if len(ref) != base64.RawURLEncoding.EncodedLen(len(key)) { // the decoder skips line breaks
		return key, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(ref)
	if err != nil || len(b) != len(key) {
		return key, false
	}
	copy(key[:], b)
	for round := byte(4); round > 0; round-- {
		swap(&key)
		h.round(&key, round-1)
	}
	return key, true
}

// round changes the left half by the right one.
func (h *hasher) round(key *record.Key, n byte) {
	d := h.begin(hashOfRef)
	d.byte(n)
	d.part(key[16:])
	sum := h.end(d)
	subtle.XORBytes(key[:16], key[:16], sum[:16])
}

func swap(key *record.Key) {
	left := [16]byte(key[:16])
	copy(key[:16], key[16:])
	copy(key[16:], left[:])
}

// fingerprint hashes what must be the same in a repetition: method, path, query, the chosen fields and the whole body.
func (h *hasher) fingerprint(r pipeline.Request, fields []string, body []byte) record.Fingerprint {
	edge, parts := multipart(r)
	d := h.begin(hashOfRequest)
	d.part(r.Method())
	d.part(r.Path())
	query := r.Query()
	if query == nil {
		d.byte(0)
	} else {
		d.byte(1)
		d.part(query)
	}
	for _, name := range fields {
		for i := range r.Fields() {
			if got, value := r.Field(i); wire.EqualFold(got, name) {
				d.field(name, value, edge)
			}
		}
		d.byte(0)
	}
	if parts {
		d.multipart(body, edge.text)
	} else {
		d.part(body)
	}
	return h.end(d)
}

// derive makes a public name from a record's key that does not tell the key: 43 characters of base64url.
func derive(key record.Key, label string) string {
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte(label))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

const keyField = "Idempotency-Key"

// AttemptField numbers the dispatches of a keyed write. It is the gateway's: a client's is taken away on every route.
const AttemptField = "Idempotency-Attempt"
