package signing

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/oncegate/oncegate/internal/units"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

func write(t testing.TB, kind string, der []byte, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func privateFile(t testing.TB, k crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k)
	return write(t, "PRIVATE KEY", der, err)
}

func publicFile(t testing.TB, k crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(k.Public())
	return write(t, "PUBLIC KEY", der, err)
}

func signer(t testing.TB, old *Signer, files ...string) *Signer {
	t.Helper()
	s, err := New(&Config{Issuer: "https://gw.test", Keys: files, TTL: units.Duration(time.Minute)}, old)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

type claimMap map[string]string // JSON by name

func (c claimMap) AppendJSON(dst []byte, name string) ([]byte, bool) {
	text, ok := c[name]
	return append(dst, text...), ok
}

func grant() *Grant {
	return &Grant{Audience: "orders", Subject: `al"ice`, ClientID: "app", Issuer: "main", Identity: "16:https://id.test/alice",
		Scopes: []string{"orders:read", "two words", "", "a\"b"}, Names: []string{"tenant", "none", "roles"},
		Claims: claimMap{"tenant": `"acme"`, "roles": `["a","b"]`, "secret": `"not asked for"`}}
}

// verified reads a token with an independent reader, by the published keys.
func verified(t testing.TB, s *Signer, authorization []byte) (*jwt.Token, jwt.MapClaims) {
	t.Helper()
	claims := jwt.MapClaims{}
	tok, err := jwt.NewParser(jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithIssuer("https://gw.test"), jwt.WithAudience("orders"), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithStrictDecoding()).
		ParseWithClaims(string(Token(authorization)), claims, func(tok *jwt.Token) (any, error) { return published(t, s, tok.Header["kid"]) })
	if err != nil {
		t.Fatalf("%s: %v", authorization, err)
	}
	return tok, claims
}

func published(t testing.TB, s *Signer, kid any) (crypto.PublicKey, error) {
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(s.JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	for _, k := range set.Keys {
		if k["kid"] == kid && k["kty"] == "OKP" && k["crv"] == "Ed25519" && k["use"] == "sig" && k["alg"] == "EdDSA" && k["d"] == "" {
			x, err := base64.RawURLEncoding.DecodeString(k["x"])
			return ed25519.PublicKey(x), err
		}
	}
	return nil, errors.New("no such key")
}

func TestWhatATokenSays(t *testing.T) {
	s := signer(t, nil, privateFile(t, newKey(t)))
	now := time.Now()
	value, err := s.Authorization(grant(), now)
	if err != nil || !strings.HasPrefix(string(value), "Bearer ") {
		t.Fatal(string(value), err)
	}
	tok, claims := verified(t, s, value)
	if tok.Header["typ"] != "at+jwt" || len(tok.Header) != 3 {
		t.Error(tok.Header)
	}
	jti, _ := claims["jti"].(string)
	issued, exp := int64(claims["iat"].(float64)), int64(claims["exp"].(float64))
	if issued != now.Unix() || exp != issued+60 || len(jti) != 22 {
		t.Error(claims)
	}
	for _, name := range []string{"jti", "iat", "exp"} {
		delete(claims, name)
	}
	want := jwt.MapClaims{"iss": "https://gw.test", "aud": "orders", "sub": `al"ice`, "client_id": "app", "client_issuer": "main", "client_identity": "16:https://id.test/alice",
		"scope": `orders:read a"b`, "tenant": "acme", "roles": []any{"a", "b"}}
	if fmt.Sprint(claims) != fmt.Sprint(want) {
		t.Errorf("%v\n%v", claims, want)
	}
}

// The name of a key is its thumbprint: the example of RFC 8037, appendix A.
func TestThumbprint(t *testing.T) {
	x, err := base64.RawURLEncoding.DecodeString("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
	if err != nil || thumbprint(x) != "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" {
		t.Error(thumbprint(x), err)
	}
}

// A second library agrees on the signature, on the keys and on their names.
func TestGoJoseAgrees(t *testing.T) {
	s := signer(t, nil, privateFile(t, newKey(t)), publicFile(t, newKey(t)))
	value, err := s.Authorization(grant(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(s.JWKS(), &set); err != nil || len(set.Keys) != 2 {
		t.Fatal(set, err)
	}
	for _, k := range set.Keys {
		if sum, err := k.Thumbprint(crypto.SHA256); err != nil || base64.RawURLEncoding.EncodeToString(sum) != k.KeyID || !k.IsPublic() {
			t.Error(k.KeyID, err)
		}
	}
	signed, err := jose.ParseSignedCompact(string(Token(value)), []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signed.Verify(set.Key(signed.Signatures[0].Header.KeyID)[0]); err != nil {
		t.Error(err)
	}
	if _, err := signed.Verify(set.Keys[1]); err == nil {
		t.Error("another key verifies it, too")
	}
}

func TestReuse(t *testing.T) {
	s := signer(t, nil, privateFile(t, newKey(t)))
	now := time.Now()
	ask := func(g *Grant, at time.Time) string {
		t.Helper()
		value, err := s.Authorization(g, at)
		if err != nil {
			t.Fatal(err)
		}
		return string(value)
	}
	first := ask(grant(), now)
	if ask(grant(), now.Add(29*time.Second)) != first {
		t.Error("half a life long it is the same")
	}
	if ask(grant(), now.Add(30*time.Second)) == first {
		t.Error("then it is a new one: an upstream gets tokens that live for another 30 s at least")
	}
	for name, change := range map[string]func(*Grant){
		"audience": func(g *Grant) { g.Audience = "other" }, "subject": func(g *Grant) { g.Subject = "bob" }, "identity": func(g *Grant) { g.Identity = "x" }, "issuer": func(g *Grant) { g.Issuer = "x" },
		"program": func(g *Grant) { g.ClientID = "x" }, "scopes": func(g *Grant) { g.Scopes = g.Scopes[:1] }, "choice of claims": func(g *Grant) { g.Names = g.Names[:1] },
		"a claim": func(g *Grant) { g.Claims = claimMap{"tenant": `"other"`, "roles": `["a","b"]`} }, "end": func(g *Grant) { g.Expires = float64(now.Unix() + 3600) },
	} {
		g := grant()
		change(g)
		if ask(g, now) == first {
			t.Errorf("another %s has the same token", name)
		}
	}
	g := grant()
	g.Claims = claimMap{"tenant": `"acme"`, "roles": `["a","b"]`, "secret": `"another one"`}
	if ask(g, now) != ask(grant(), now) {
		t.Error("a claim that is not copied makes no difference")
	}
}

// A token does not outlive the client's credential, but for the seconds that it needs to arrive.
func TestLife(t *testing.T) {
	s := signer(t, nil, privateFile(t, newKey(t)))
	now := time.Unix(time.Now().Unix(), 0)
	for rest, want := range map[int64]int64{3600: 60, 61: 60, 40: 40, 6: 6, 2: 5, -20: 5} {
		g := grant()
		g.Expires = float64(now.Unix() + rest)
		value, err := s.Authorization(g, now)
		if err != nil {
			t.Fatal(err)
		}
		if _, claims := verified(t, s, value); int64(claims["exp"].(float64))-now.Unix() != want {
			t.Errorf("%d s to go: %v", rest, claims)
		}
		again, _ := s.Authorization(g, now.Add(time.Duration(want)*time.Second/2))
		if string(again) == string(value) {
			t.Errorf("%d s to go: used for more than half its life", rest)
		}
	}
}

func TestRotation(t *testing.T) {
	one, two, three := newKey(t), newKey(t), newKey(t)
	first := signer(t, nil, privateFile(t, one), publicFile(t, two))
	now := time.Now()
	value, _ := first.Authorization(grant(), now)
	if again := signer(t, first, privateFile(t, one), publicFile(t, two)); again != first {
		t.Error("the same keys in other files make another signer")
	}
	next := signer(t, first, privateFile(t, two), privateFile(t, one))
	verified(t, next, value) // the old key is still published
	renewed, _ := next.Authorization(grant(), now)
	if tok, _ := verified(t, first, renewed); tok.Header["kid"] != thumbprint(two.Public().(ed25519.PublicKey)) {
		t.Error("the second key was published before it signed")
	}
	last := signer(t, next, privateFile(t, three))
	if last == next || strings.Contains(string(last.JWKS()), next.keys[0].id) {
		t.Error("a key that is gone is published")
	}
	if other, err := New(&Config{Issuer: "https://gw.test", Keys: []string{privateFile(t, three)}, TTL: units.Duration(2 * time.Minute)}, last); err != nil || other == last {
		t.Error("another ttl is another signer")
	}
	if none, err := New(nil, last); none != nil || err != nil {
		t.Error(none, err)
	}
}

func TestBadKeys(t *testing.T) {
	good := newKey(t)
	weak, _ := rsa.GenerateKey(rand.Reader, 2048)
	double := privateFile(t, good)
	text, _ := os.ReadFile(double)
	both := filepath.Join(t.TempDir(), "two.pem")
	_ = os.WriteFile(both, append(text, text...), 0o600)
	for name, c := range map[string]struct {
		files []string
		want  string
	}{
		"none": {nil, "1 to 8 keys"}, "no such file": {[]string{"/no/such/file"}, "no such file"}, "RSA": {[]string{privateFile(t, weak)}, "not one Ed25519"},
		"public first": {[]string{publicFile(t, good)}, "the first key signs"}, "twice": {[]string{privateFile(t, good), publicFile(t, good)}, "there already"},
		"two in a file": {[]string{both}, "not one Ed25519"}, "a folder": {[]string{t.TempDir()}, "directory"}, "no PEM": {[]string{write(t, "X", nil, nil)}, "not one Ed25519"},
		"broken": {[]string{write(t, "PRIVATE KEY", []byte("x"), nil)}, "not one Ed25519"}, "nine": {[]string{"1", "2", "3", "4", "5", "6", "7", "8", "9"}, "1 to 8"},
	} {
		if _, err := New(&Config{Issuer: "x", Keys: c.files}, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		p := units.NewProblems()
		(&Config{Issuer: "x", Keys: c.files}).CheckFiles(p)
		if len(p.List()) != 1 {
			t.Errorf("%s: %v", name, p.List())
		}
	}
}

func TestValidate(t *testing.T) {
	for want, c := range map[string]Config{
		"": {Issuer: "https://gw", Keys: []string{"a"}}, "issuer": {Issuer: " x", Keys: []string{"a"}}, "keys[1]": {Issuer: "x", Keys: []string{"a", "a"}}, "keys[0]": {Issuer: "x", Keys: []string{""}},
		"keys": {Issuer: "x", Keys: []string{"1", "2", "3", "4", "5", "6", "7", "8", "9"}},
	} {
		p := units.NewProblems()
		c.Validate(p)
		if got := p.List(); want == "" && len(got) != 0 || want != "" && (len(got) != 1 || got[0].Path != want) {
			t.Errorf("%v: %v", c, got)
		}
	}
}

type broken struct{ ed25519.PrivateKey }

func (broken) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("out of order")
}

func TestFailures(t *testing.T) {
	s := signer(t, nil, privateFile(t, newKey(t)))
	g := grant()
	g.Subject = "\xff"
	if _, err := s.Authorization(g, time.Now()); !errors.Is(err, ErrText) {
		t.Error(err)
	}
	g = grant()
	g.Scopes = []string{"\xff"}
	if _, err := s.Authorization(g, time.Now()); !errors.Is(err, ErrText) {
		t.Error(err)
	}
	g.Claims, g.Scopes = claimMap{"tenant": `"` + strings.Repeat("x", 7000) + `"`}, nil
	if _, err := s.Authorization(g, time.Now()); !errors.Is(err, ErrTooLong) {
		t.Error(err)
	}
	s.keys[0].private = broken{newKey(t)}
	if value, err := s.Authorization(grant(), time.Now()); err == nil || value != nil {
		t.Error(string(value), err)
	}
	if s.made.len() != 0 {
		t.Error("a failure is kept")
	}
}
