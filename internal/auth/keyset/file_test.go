package keyset

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, content ...[]byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "keys")
	var all []byte
	for _, c := range content {
		all = append(all, c...)
	}
	if err := os.WriteFile(name, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func block(kind string, der []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func blocks() map[string][]byte {
	k := testKeys()
	pkix, err := x509.MarshalPKIXPublicKey(k.rsa.Public())
	all := map[string][]byte{"PKIX": block("PUBLIC KEY", pkix, err)}
	all["PKCS1"] = block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&k.rsa.PublicKey), nil)
	der, err := x509.MarshalPKCS8PrivateKey(k.ed)
	all["PKCS8"] = block("PRIVATE KEY", der, err)
	all["PKCS1 private"] = block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k.rsa), nil)
	der, err = x509.MarshalECPrivateKey(k.p256)
	all["EC private"] = append(block("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}, nil), block("EC PRIVATE KEY", der, err)...)
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err = x509.CreateCertificate(rand.Reader, template, template, k.p384.Public(), k.p384)
	all["certificate"] = block("CERTIFICATE", der, err)
	return all
}

func TestFiles(t *testing.T) {
	for name, text := range blocks() {
		set, err := FromFiles([]string{write(t, []byte("a comment\n"), text)}, asymmetric)
		if err != nil || set.Len() != 1 || !set.Nameless() {
			t.Errorf("%s: %v", name, err)
		}
	}
	all := blocks()
	set, err := FromFiles([]string{write(t, all["PKIX"], all["PKCS8"]), write(t, []byte("\n "), jwks(jwkOf(testKeys().p256, "a"), object{"kty": "oct", "k": "AA"}))}, asymmetric)
	if err != nil || set.Len() != 3 || !set.Has("a") {
		t.Errorf("two files: %v", err)
	}
}

func TestFilesThatFail(t *testing.T) {
	all := blocks()
	k := testKeys()
	for name, file := range map[string]string{
		"larger":       write(t, make([]byte, MaxBody+1)),
		"neither":      write(t, []byte("hello")),
		"no public":    write(t, block("X509 CRL", []byte{1}, nil)),
		"no usable":    write(t, jwks(object{"kty": "oct", "k": "AA"})),
		"not a JSON":   write(t, []byte("{")),
		"fits none":    write(t, all["PKIX"], all["certificate"]),
		"asn1":         write(t, block("PUBLIC KEY", []byte{1, 2, 3}, nil)),
		"no such file": "/no/such/file",
	} {
		_, err := FromFiles([]string{file}, algs("RS256", "EdDSA"))
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "key file "+file+": ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := FromFiles([]string{write(t, all["PKCS8"])}, algs("RS256")); err == nil {
		t.Error("an Ed25519 key for RS256")
	}
	if _, _, err := SigningKey([]string{write(t, all["PKIX"]), write(t, jwks(jwkOf(k.p256, "a")))}, asymmetric); err == nil {
		t.Error("a public key signs")
	}
}

func TestSecret(t *testing.T) {
	secret := strings.Repeat("0123456789", 5)[:48]
	set, err := FromSecret(secret, algs("HS256", "HS384"))
	if err != nil || set.Len() != 2 {
		t.Fatal(err)
	}
	for _, name := range []string{"HS256", "HS384"} {
		a := Find(name)
		sig, _ := a.Sign("x", []byte(secret))
		key := set.Find("any", true, a)
		if key == nil || key.Verify("x", sig) != nil || key.Verify("y", sig) == nil || key.Verify("x", sig[1:]) == nil || key.Verify("x", nil) == nil {
			t.Errorf("%s does not verify what it signed, or more", name)
		}
	}
	if set.Find("", false, Find("HS512")) != nil {
		t.Error("HS512 was not configured")
	}
	for _, short := range []string{"", "x", secret[:31]} {
		if _, err := FromSecret(short, algs("HS256")); err == nil {
			t.Errorf("%d bytes are enough", len(short))
		}
	}
}

func TestFindAlgorithm(t *testing.T) {
	for _, name := range Names() {
		if a := Find(name); a == nil || a.Name != name || (a.method.Alg() != name) {
			t.Errorf("%s: %v", name, a)
		}
	}
	for _, name := range []string{"", "none", "hs256", "HS256 ", "ES256K", "RS1"} {
		if Find(name) != nil {
			t.Errorf("%q is known", name)
		}
	}
}
