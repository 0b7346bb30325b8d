package keyset

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of a key set.
const (
	MaxBody = 512 << 10
	maxKeys = 100
)

// jwk is a JSON Web Key (RFC 7517). Only the members that decide are read; private ones are named to be refused.
type jwk struct {
	Kty    string         `json:"kty"`
	Kid    string         `json:"kid"`
	Alg    string         `json:"alg"`
	Use    string         `json:"use"`
	KeyOps []string       `json:"key_ops"`
	Crv    string         `json:"crv"`
	N      string         `json:"n"`
	E      string         `json:"e"`
	X      string         `json:"x"`
	Y      string         `json:"y"`
	D      jsontext.Value `json:"d"`
	P      jsontext.Value `json:"p"`
	Q      jsontext.Value `json:"q"`
	DP     jsontext.Value `json:"dp"`
	DQ     jsontext.Value `json:"dq"`
	QI     jsontext.Value `json:"qi"`
	K      jsontext.Value `json:"k"`
	Oth    jsontext.Value `json:"oth"`
}

var (
	errPrivate = errors.New("a symmetric or private key stands in a set of public keys")
	errOther   = errors.New("the key is not for signatures of a known kind")
)

// ParseJWKS reads a JSON Web Key Set (RFC 7517). Keys that can't be used are skipped and counted; a text that is no set, or
// that leaves no key, is an error.
func ParseJWKS(text []byte, allowed []*Algorithm) (set *Set, skipped int, err error) {
	keys, skipped, err := parseKeys(text, allowed)
	if err != nil {
		return nil, skipped, err
	}
	set, err = newSet(keys)
	if err != nil {
		return nil, skipped, err
	}
	return set, skipped + len(keys) - set.Len(), nil
}

func parseKeys(text []byte, allowed []*Algorithm) (keys []*Key, skipped int, err error) {
	var document struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if len(text) > MaxBody {
		return nil, 0, fmt.Errorf("the key set is larger than %d bytes", MaxBody)
	}
	if json.Unmarshal(text, &document) != nil {
		// The library's text may quote the document.
		return nil, 0, errors.New("not a JSON key set")
	}
	if len(document.Keys) > maxKeys {
		return nil, 0, fmt.Errorf("the key set has more than %d keys", maxKeys)
	}
	for _, raw := range document.Keys {
		key, err := parseKey(raw, allowed)
		if err != nil {
			skipped++
			continue
		}
		keys = append(keys, key)
	}
	return keys, skipped, nil
}

// FromJWK reads a public key for signatures of one algorithm (RFC 7517). A private, symmetric or weak key, and one that does
// not fit the algorithm, is an error.
func FromJWK(raw []byte, a *Algorithm) (*Key, error) { return parseKey(raw, []*Algorithm{a}) }

func parseKey(raw []byte, allowed []*Algorithm) (*Key, error) {
	var k jwk
	if json.Unmarshal(raw, &k) != nil {
		return nil, errors.New("not a JSON key")
	}
	if k.private() {
		return nil, errPrivate
	}
	if (k.Use != "" && k.Use != "sig") || (k.KeyOps != nil && !slices.Contains(k.KeyOps, "verify")) {
		return nil, errOther
	}
	public, err := k.public()
	if err != nil {
		return nil, err
	}
	return newKey(k.Kid, k.Alg, public, allowed)
}

func (k *jwk) private() bool {
	for _, secret := range []jsontext.Value{k.D, k.P, k.Q, k.DP, k.DQ, k.QI, k.K, k.Oth} {
		if secret != nil {
			return true
		}
	}
	return k.Kty == "oct"
}

func (k *jwk) public() (any, error) {
	switch {
	case k.Kty == "RSA":
		return k.rsa()
	case k.Kty == "EC" && k.Crv == "P-256":
		return k.ec(elliptic.P256(), 32)
	case k.Kty == "EC" && k.Crv == "P-384":
		return k.ec(elliptic.P384(), 48)
	case k.Kty == "EC" && k.Crv == "P-521":
		return k.ec(elliptic.P521(), 66)
	case k.Kty == "OKP" && k.Crv == "Ed25519":
		x, err := decode(k.X)
		if err != nil || len(x) != ed25519.PublicKeySize {
			return nil, errWeak
		}
		return ed25519.PublicKey(x), nil
	}
	return nil, errOther
}

func (k *jwk) rsa() (any, error) {
	n, errN := decode(k.N)
	e, errE := decode(k.E)
	if errN != nil || errE != nil || len(n) > maxModulus/8+1 || len(e) == 0 || len(e) > 4 {
		return nil, errWeak
	}
	exponent := new(big.Int).SetBytes(e).Int64()
	if exponent > 1<<31-1 { // what crypto/rsa takes
		return nil, errWeak
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent)}, nil
}

// ec demands coordinates of full length (RFC 7518, 6.2.1.2) and a point on the curve.
func (k *jwk) ec(curve elliptic.Curve, size int) (any, error) {
	x, errX := decode(k.X)
	y, errY := decode(k.Y)
	if errX != nil || errY != nil || len(x) != size || len(y) != size {
		return nil, errWeak
	}
	public, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil, errWeak
	}
	return public, nil
}

func decode(text string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(text) }
