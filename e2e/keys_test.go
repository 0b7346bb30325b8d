package e2e

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"testing"
	"time"
)

// ed25519Key is an issuer's key pair.
type ed25519Key struct{ private ed25519.PrivateKey }

func newEd25519(t *testing.T) ed25519Key {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return ed25519Key{private}
}

func (k ed25519Key) token(t *testing.T, issuer, audience string) string {
	t.Helper()
	claims, err := json.Marshal(map[string]any{"iss": issuer, "aud": audience, "sub": "bob", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	signed := b64([]byte(`{"alg":"EdDSA","kid":"e2e"}`)) + "." + b64(claims)
	return signed + "." + b64(ed25519.Sign(k.private, []byte(signed)))
}

func (k ed25519Key) jwks() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		x := base64.RawURLEncoding.EncodeToString(k.private.Public().(ed25519.PublicKey))
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []map[string]string{{"kty": "OKP", "crv": "Ed25519", "kid": "e2e", "x": x}}})
	})
}
