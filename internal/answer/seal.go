package answer

import (
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

// ErrSealed is a sealed answer that this sealer can't open: another key, or the bytes were changed.
var ErrSealed = errors.New("answer: sealed by another key, or changed")

// Sealer encrypts stored answers. Each record has a data key of its own (HKDF, RFC 5869), made from the key, the record's
// name and the client's idempotency key. The last is stored nowhere, so the store and the key together do not open an answer
// whose idempotency key can't be guessed. A nil Sealer leaves answers as they are.
type Sealer struct {
	key []byte
	id  [keyIDSize]byte
}

// NewSealer takes a key of at least MinKey bytes.
func NewSealer(key []byte) (*Sealer, error) {
	if len(key) < MinKey {
		return nil, fmt.Errorf("an encryption key has at least %d bytes, this one %d", MinKey, len(key))
	}
	s := &Sealer{key: append([]byte(nil), key...)}
	sum := sha256.Sum256(append([]byte("oncegate key id "), key...))
	copy(s.id[:], sum[:])
	return s, nil
}

// Seal encrypts an encoded answer. record names it and is bound to it; secret is the client's own key.
func (s *Sealer) Seal(plain, record, secret []byte) ([]byte, error) {
	if s == nil {
		return plain, nil
	}
	aead, err := s.aead(record, secret)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, sealedHead+aead.NonceSize()+len(plain)+aead.Overhead())
	out = append(append(out, sealedVersion), s.id[:]...)
	nonce := out[sealedHead : sealedHead+aead.NonceSize()]
	rand.Read(nonce)
	return aead.Seal(out[:sealedHead+len(nonce)], nonce, plain, record), nil
}

// Open gives the encoded answer. What was stored without a key is given as it is. The error is ErrSealed.
func (s *Sealer) Open(stored, record, secret []byte) ([]byte, error) {
	if len(stored) == 0 || stored[0] != sealedVersion {
		return stored, nil
	}
	if s == nil || len(stored) < sealedHead || [keyIDSize]byte(stored[1:sealedHead]) != s.id {
		return nil, ErrSealed
	}
	aead, err := s.aead(record, secret)
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

func (s *Sealer) aead(record, secret []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, s.key, record, "oncegate answer "+string(secret), 32)
	if err != nil {
		return nil, fmt.Errorf("deriving a data key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
