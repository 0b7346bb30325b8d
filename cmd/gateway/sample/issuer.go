package sample

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Issuer signs tokens with a key of its own and publishes the key set.
type Issuer struct {
	name string
	key  ed25519.PrivateKey
}

// NewIssuer makes a fresh key.
func NewIssuer(name string) (*Issuer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return &Issuer{name, key}, err
}

// Handler serves /jwks.json.
func (i *Issuer) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /jwks.json", func(w http.ResponseWriter, _ *http.Request) {
		public := i.key.Public().(ed25519.PublicKey)
		reply(w, 200, map[string]any{"keys": []map[string]any{{
			"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "demo",
			"x": base64.RawURLEncoding.EncodeToString(public),
		}}})
	})
	return mux
}

// Token signs a token that is good for an hour.
func (i *Issuer) Token(audience, subject, scope string) (string, error) {
	now := time.Now()
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"iss": i.name, "aud": audience, "sub": subject, "scope": scope, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	})
	t.Header["kid"] = "demo"
	return t.SignedString(i.key)
}
