package answer

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
)

// Sealed answers begin with a byte that no encoded answer begins with, then 4 bytes that name the key, a nonce of 12 bytes,
// and AES-256-GCM over the encoded answer (NIST SP 800-38D).
const (
	sealedVersion = 0x81
	keyIDSize     = 4
	sealedHead    = 1 + keyIDSize
)

// MinKey is the least length of an encryption key, in bytes.
const MinKey = 32

// ErrSealed is a sealed answer that this sealer can't open: its key is gone, or the bytes were changed.
var ErrSealed = errors.New("answer: sealed by another key, or changed")

// Sealer encrypts stored answers. Each record has a data key of its own (HKDF, RFC 5869), made from the key, the record's
// name and the client's idempotency key. The last is stored nowhere, so the store and the key together do not open an answer
// whose idempotency key can't be guessed. A nil Sealer leaves answers as they are.
type Sealer struct {
	keys []sealKey // the current one first
}

type sealKey struct {
	id     [keyIDSize]byte
	secret []byte
}

// NewSealer takes keys of at least MinKey bytes: the current one, which seals, and previous ones, which only open. A key is
// rotated by putting a new one in front; an old one may go when what it sealed is no longer kept. The error names a key by its
// place: too short, or there twice.
func NewSealer(current []byte, previous ...[]byte) (*Sealer, error) {
	s := &Sealer{keys: make([]sealKey, 0, 1+len(previous))}
	for i, secret := range append([][]byte{current}, previous...) {
		place := "the current encryption key"
		if i > 0 {
			place = fmt.Sprintf("previous encryption key %d", i)
		}
		if len(secret) < MinKey {
			return nil, fmt.Errorf("%s has %d bytes, the least is %d", place, len(secret), MinKey)
		}
		key := sealKey{secret: bytes.Clone(secret)}
		sum := sha256.Sum256(append([]byte("oncegate key id "), secret...))
		copy(key.id[:], sum[:])
		if _, twice := s.named(key.id); twice {
			return nil, fmt.Errorf("%s is there twice", place)
		}
		s.keys = append(s.keys, key)
	}
	return s, nil
}

// named finds a key by its id.
func (s *Sealer) named(id [keyIDSize]byte) ([]byte, bool) {
	for _, key := range s.keys {
		if key.id == id {
			return key.secret, true
		}
	}
	return nil, false
}

// Seal encrypts an encoded answer. record names it and is bound to it; secret is the client's own key.
func (s *Sealer) Seal(plain, record, secret []byte) ([]byte, error) {
	if s == nil {
		return plain, nil
	}
	current := s.keys[0]
	aead, err := dataKey(current.secret, record, secret)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, sealedHead+aead.NonceSize()+len(plain)+aead.Overhead())
	out = append(append(out, sealedVersion), current.id[:]...)
	nonce := out[sealedHead : sealedHead+aead.NonceSize()]
	rand.Read(nonce)
	return aead.Seal(out[:sealedHead+len(nonce)], nonce, plain, record), nil
}

// Open gives the encoded answer. The head of what was sealed says by which key. What was stored without a key is given as it
// is. The error is ErrSealed.
func (s *Sealer) Open(stored, record, secret []byte) ([]byte, error) {
	if len(stored) == 0 || stored[0] != sealedVersion {
		return stored, nil
	}
	if s == nil || len(stored) < sealedHead {
		return nil, ErrSealed
	}
	key, there := s.named([keyIDSize]byte(stored[1:sealedHead]))
	if !there {
		return nil, ErrSealed
	}
	aead, err := dataKey(key, record, secret)
	if err != nil {
		return nil, err
	}
	rest := stored[sealedHead:]
	if len(rest) < aead.NonceSize() {
		return nil, ErrSealed
	}
	plain, err := aead.Open(nil, rest[:aead.NonceSize()], rest[aead.NonceSize():], record)
	if err != nil {
		return nil, ErrSealed
	}
	return plain, nil
}

// dataKey makes the key of one record.
func dataKey(key, record, secret []byte) (cipher.AEAD, error) {
	derived, err := hkdf.Key(sha256.New, key, record, "oncegate answer "+string(secret), 32)
	if err != nil {
		return nil, fmt.Errorf("deriving a data key: %w", err)
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
