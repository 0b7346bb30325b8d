package keyset

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/big"
)

// Thumbprint is the SHA-256 of the key's required members (RFC 7638, RFC 8037 2): of the key itself, not of the text that it
// was read from, so each key has one. A shared secret has none: zero.
func (k *Key) Thumbprint() [sha256.Size]byte {
	b64 := base64.RawURLEncoding.EncodeToString
	switch m := k.material.(type) {
	case *rsa.PublicKey:
		return sha256.Sum256(fmt.Appendf(nil, `{"e":"%s","kty":"RSA","n":"%s"}`, b64(big.NewInt(int64(m.E)).Bytes()), b64(m.N.Bytes())))
	case *ecdsa.PublicKey:
		point, err := m.Bytes() // 4, x, y
		if err != nil {
			break
		}
		half := len(point) / 2
		return sha256.Sum256(fmt.Appendf(nil, `{"crv":"%s","kty":"EC","x":"%s","y":"%s"}`, m.Params().Name, b64(point[1:1+half]), b64(point[1+half:])))
	case ed25519.PublicKey:
		return sha256.Sum256(fmt.Appendf(nil, `{"crv":"Ed25519","kty":"OKP","x":"%s"}`, b64(m)))
	}
	return [sha256.Size]byte{}
}
