package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testIssuer = "https://id.test/"
	testSecret = "a test secret of more than sixty-four bytes, so that every hash takes it"
)

// testKeys are made once: RSA keys are slow to make.
var testKeys = sync.OnceValue(func() (k struct {
	rsa, rsa2   *rsa.PrivateKey
	p256, p256b *ecdsa.PrivateKey
	p384        *ecdsa.PrivateKey
	p521        *ecdsa.PrivateKey
	ed          ed25519.PrivateKey
}) {
	k.rsa, _ = rsa.GenerateKey(rand.Reader, 2048)
	k.rsa2, _ = rsa.GenerateKey(rand.Reader, 2048)
	k.p256, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	k.p256b, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	k.p384, _ = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	k.p521, _ = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	_, k.ed, _ = ed25519.GenerateKey(rand.Reader)
	return k
})

type object = map[string]any

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// text is the JSON of a value, or the value itself when it is a string: the exact bytes.
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

// mint signs a token; head and body are objects or the exact text.
func mint(alg string, key any, head, body any) string {
	signed := b64(text(head)) + "." + b64(text(body))
	signature, err := jwt.GetSigningMethod(alg).Sign(signed, key)
	if err != nil {
		panic(err)
	}
	return signed + "." + b64(signature)
}

// good is a set of claims that every test issuer takes; a nil value leaves a claim out.
func good(changes ...any) object {
	now := time.Now().Unix()
	c := object{"iss": testIssuer, "aud": "api", "sub": "alice", "iat": now - 1, "exp": now + 600}
	for i := 0; i < len(changes); i += 2 {
		if name := changes[i].(string); changes[i+1] == nil {
			delete(c, name)
		} else {
			c[name] = changes[i+1]
		}
	}
	return c
}

func hs(changes ...any) string {
	return mint("HS256", []byte(testSecret), object{"alg": "HS256", "typ": "JWT"}, good(changes...))
}

func secretIssuer() IssuerConfig {
	return IssuerConfig{Issuer: testIssuer, Audiences: []string{"api"}, Secret: testSecret, Algorithms: []string{"HS256"},
		Leeway: units.Duration(30 * time.Second), MaxLifetime: units.Duration(24 * time.Hour)}
}

func fileIssuer(algs []string, files ...string) IssuerConfig {
	c := secretIssuer()
	c.Secret, c.Keys, c.Algorithms = "", files, algs
	return c
}

func urlIssuer(url string, algs ...string) IssuerConfig {
	c := secretIssuer()
	c.Secret, c.JWKS, c.Algorithms = "", url, algs
	return c
}

func publicPEM(t testing.TB, key crypto.Signer) string {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return file(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
}

func privatePEM(t testing.TB, key any) string {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return file(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

func file(t testing.TB, name, content string) string {
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func jwkOf(key crypto.Signer, kid string, changes ...any) object {
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
	if kid != "" {
		j["kid"] = kid
	}
	for i := 0; i < len(changes); i += 2 {
		j[changes[i].(string)] = changes[i+1]
	}
	return j
}

func jwks(keys ...object) string { return string(text(object{"keys": keys})) }

// authority makes one that is closed with the test.
func authority(t testing.TB, issuers map[string]IssuerConfig) *Authority {
	t.Helper()
	a, err := NewAuthority(issuers, nil, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// route is one compiled route whose end notes that it was reached.
type route struct {
	handler pipeline.Handler
	reached int
}

func newRoute(t testing.TB, a *Authority, cfg Config, fwd ForwardConfig) *route {
	t.Helper()
	layer, err := New(cfg, fwd, a)
	if err != nil {
		t.Fatal(err)
	}
	r := &route{}
	end := pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange) error { r.reached++; return nil })
	r.handler = pipeline.Compose(end, layer)
	return r
}

// single is a route with one issuer called main.
func single(t testing.TB, cfg IssuerConfig) *route {
	return newRoute(t, authority(t, map[string]IssuerConfig{"main": cfg}), Config{Issuers: []string{"main"}}, ForwardConfig{})
}

// ask sends a request with that Authorization; "" sends none.
func (r *route) ask(field string) (*pipeline.Memory, error) {
	m := pipeline.NewMemory("GET", "/orders")
	if field != "" {
		m.WithHeader("Authorization", field)
	}
	return m, r.handler.Serve(context.Background(), &m.Exchange)
}

const (
	plain   = `Bearer realm="oncegate"`
	invalid = `Bearer realm="oncegate", error="invalid_token"`
)

// refused demands this reason and, for all that concerns tokens, the one answer that says nothing.
func (r *route) refused(t *testing.T, name, tok string, want Reason) {
	t.Helper()
	before := r.reached
	m, err := r.ask("Bearer " + tok)
	if err != want {
		t.Errorf("%s: %v, want %v", name, err, want)
	}
	if r.reached != before || !m.Client.Anonymous() || m.Client.Claims != nil {
		t.Errorf("%s: the request went through", name)
	}
	if want.Kind() == pipeline.Unauthenticated && string(m.Sent.Header("WWW-Authenticate")) != invalid {
		t.Errorf("%s: challenge %q", name, m.Sent.Header("WWW-Authenticate"))
	}
	if want.Kind() == pipeline.Unauthenticated && string(m.Sent.Header("Cache-Control")) != "no-store" {
		t.Errorf("%s: the answer may be stored", name)
	}
}

func (r *route) passes(t *testing.T, name, tok string) *pipeline.Memory {
	t.Helper()
	before := r.reached
	m, err := r.ask("Bearer " + tok)
	if err != nil || r.reached != before+1 {
		t.Errorf("%s: %v", name, err)
	}
	return m
}
