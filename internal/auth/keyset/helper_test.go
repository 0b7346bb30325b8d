package keyset

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type object = map[string]any

var testKeys = sync.OnceValue(func() (k struct {
	rsa        *rsa.PrivateKey
	p256, p384 *ecdsa.PrivateKey
	other      *ecdsa.PrivateKey
	ed         ed25519.PrivateKey
}) {
	k.rsa, _ = rsa.GenerateKey(rand.Reader, 2048)
	k.p256, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	k.other, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	k.p384, _ = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, k.ed, _ = ed25519.GenerateKey(rand.Reader)
	return k
})

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func rsaJWK(n *big.Int, e int64) object {
	return object{"kty": "RSA", "kid": "r", "n": b64(n.Bytes()), "e": b64(big.NewInt(e).Bytes())}
}

func jwkOf(key crypto.Signer, kid string, changes ...any) object {
	var j object
	switch k := key.Public().(type) {
	case *rsa.PublicKey:
		j = rsaJWK(k.N, int64(k.E))
	case *ecdsa.PublicKey:
		point, _ := k.Bytes()
		half := len(point) / 2
		j = object{"kty": "EC", "crv": k.Params().Name, "x": b64(point[1 : 1+half]), "y": b64(point[1+half:])}
	case ed25519.PublicKey:
		j = object{"kty": "OKP", "crv": "Ed25519", "x": b64(k)}
	}
	j["kid"] = kid
	for i := 0; i < len(changes); i += 2 {
		if name := changes[i].(string); changes[i+1] == nil {
			delete(j, name)
		} else {
			j[name] = changes[i+1]
		}
	}
	return j
}

func jwks(keys ...object) []byte {
	b, err := json.Marshal(object{"keys": keys})
	if err != nil {
		panic(err)
	}
	return b
}

func algs(names ...string) (list []*Algorithm) {
	for _, name := range names {
		list = append(list, Find(name))
	}
	return list
}

var asymmetric = algs("RS256", "PS256", "ES256", "ES384", "EdDSA")
