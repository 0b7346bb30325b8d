package keyset

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
)

// Errors of a signature check.
var (
	ErrSignature = errors.New("the signature does not verify")
	errWeak      = errors.New("the key is too weak")
	errUnusable  = errors.New("the key fits none of the configured algorithms")
)

// Key verifies signatures of one algorithm. It is immutable apart from its retirement.
type Key struct {
	ID        string // kid; "" when the key has none
	Algorithm *Algorithm

	material    any  // what the library's method takes: []byte, *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey
	size        int  // bytes of a signature
	chosen      bool // the key names no algorithm: the list of the issuer decided
	fingerprint [sha256.Size]byte
	retired     atomic.Bool
}

// Retired reports that the key has left its issuer's set: what it verified before is void.
func (k *Key) Retired() bool { return k.retired.Load() }

// Verify checks a signature over signed, the token's first two segments with their dot.
func (k *Key) Verify(signed string, signature []byte) error {
	if len(signature) != k.size {
		return ErrSignature
	}
	if err := k.Algorithm.method.Verify(signed, signature, k.material); err != nil {
		return ErrSignature
	}
	return nil
}

// newKey checks a public key's strength and gives it its one algorithm.
func newKey(id, alg string, public any, allowed []*Algorithm) (*Key, error) {
	family, curve, size, err := inspect(public)
	if err != nil {
		return nil, err
	}
	algorithm := choose(alg, family, curve, allowed)
	if algorithm == nil {
		return nil, errUnusable
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	return finish(&Key{ID: id, Algorithm: algorithm, material: public, size: size, chosen: alg == ""}, der), nil
}

// inspect refuses weak keys and says what kind a key is and how long its signatures are.
func inspect(public any) (family Family, curve string, size int, err error) {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return RSA, "", k.Size(), checkRSA(k)
	case *ecdsa.PublicKey:
		// ECDH refuses points that are not on the curve.
		if _, err := k.ECDH(); err != nil {
			return 0, "", 0, errWeak
		}
		return EC, k.Params().Name, 2 * ((k.Params().BitSize + 7) / 8), nil
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return 0, "", 0, errWeak
		}
		return Ed25519, "Ed25519", ed25519.SignatureSize, nil
	}
	return 0, "", 0, fmt.Errorf("keys of type %T are not supported", public)
}

// finish sets the fingerprint, by which a key is known again after a refresh.
func finish(k *Key, material []byte) *Key {
	k.fingerprint = sha256.Sum256(fmt.Appendf(nil, "%d:%s|%s|%s", len(k.ID), k.ID, k.Algorithm.Name, material))
	return k
}

// secretKeys makes one key per algorithm of a shared secret: each is bound to its hash.
func secretKeys(secret []byte, allowed []*Algorithm) []*Key {
	keys := make([]*Key, 0, len(allowed))
	for _, a := range allowed {
		if a.Family == HMAC {
			keys = append(keys, finish(&Key{Algorithm: a, material: secret, size: a.Hash}, secret))
		}
	}
	return keys
}
