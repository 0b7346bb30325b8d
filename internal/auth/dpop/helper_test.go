package dpop

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

type object = map[string]any

var testKeys = sync.OnceValue(func() map[string]crypto.Signer {
	r, _ := rsa.GenerateKey(rand.Reader, 2048)
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	return map[string]crypto.Signer{"RS256": r, "PS256": r, "ES256": p256, "other": other, "ES384": p384, "ES512": p521, "EdDSA": ed}
})

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func jwkOf(key crypto.Signer, pairs ...any) object {
	var j object
	switch k := key.Public().(type) {
	case *rsa.PublicKey:
		j = object{"kty": "RSA", "n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes())}
	case *ecdsa.PublicKey:
		point, _ := k.Bytes()
		half := len(point) / 2
		j = object{"kty": "EC", "crv": k.Params().Name, "x": b64(point[1 : 1+half]), "y": b64(point[1+half:])}
	case ed25519.PublicKey:
		j = object{"kty": "OKP", "crv": "Ed25519", "x": b64(k)}
	}
	return with(j, pairs...)
}

// with copies an object and sets names and values; a value of omit leaves the name out.
func with(o object, pairs ...any) object {
	out := maps.Clone(o)
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i].(string)] = pairs[i+1]
		if pairs[i+1] == omit {
			delete(out, pairs[i].(string))
		}
	}
	return out
}

var omit = any("\x00omit")

func text(v any) []byte {
	if s, ok := v.(string); ok {
		return []byte(s)
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// mint signs; head and body are objects or the exact text.
func mint(alg string, key any, head, body any) string {
	signed := b64(text(head)) + "." + b64(text(body))
	signature, err := jwt.GetSigningMethod(alg).Sign(signed, key)
	if err != nil {
		panic(err)
	}
	return signed + "." + b64(signature)
}

const (
	token  = "the.token.itself"
	target = "https://api.example.com/orders/1"
)

var now = time.Unix(1_800_000_000, 0)

func ath(token string) string { sum := sha256.Sum256([]byte(token)); return b64(sum[:]) }

func head(pairs ...any) object {
	return with(object{"typ": "dpop+jwt", "alg": "ES256", "jwk": jwkOf(testKeys()["ES256"])}, pairs...)
}

func body(pairs ...any) object {
	return with(object{"jti": rand.Text(), "htm": "POST", "htu": target, "iat": now.Unix(), "ath": ath(token)}, pairs...)
}

// proof is a good one with changes to its claims.
func proof(pairs ...any) string { return mint("ES256", testKeys()["ES256"], head(), body(pairs...)) }

// desk judges proofs as a route of api.example.com would.
type desk struct {
	*Checker
	shared Shared
	holder *Holder
}

func newDesk(t testing.TB, cfg Config, alg string) *desk {
	t.Helper()
	if cfg.Base == "" {
		cfg.Base = "https://api.example.com"
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	key, err := readKey(text(jwkOf(testKeys()[alg])), alg)
	if err != nil {
		t.Fatal(err)
	}
	return &desk{c, Shared{NewMemory(0), NewNonces()}, &Holder{thumbprint: key.Thumbprint()}}
}

// asks presents a proof for POST /orders/1.
func (d *desk) asks(proof string, at time.Time) (Verdict, string) {
	return d.Check(d.shared, d.holder, &Use{
		Proof: []byte(proof), Token: []byte(token), Method: []byte("POST"), Path: []byte("/orders/1"), Owner: "alice", Now: at, Wait: time.Second,
	})
}

func (d *desk) wants(t *testing.T, name, proof string, want Verdict) {
	t.Helper()
	if v, _ := d.asks(proof, now); v != want {
		t.Errorf("%s: verdict %d, want %d", name, v, want)
	}
}
