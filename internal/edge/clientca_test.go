package edge

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/units"
)

// root is a self-signed certificate in PEM form.
func root(t testing.TB, change func(*x509.Certificate)) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Acme"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	if change != nil {
		change(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestRootsAreReadStrictly(t *testing.T) {
	one, two := root(t, nil), root(t, nil)
	for name, text := range map[string]string{"one": one, "two": one + two, "comments": "# Acme\n" + one + "\n\nSubject: CN=b\n" + two} {
		if _, err := ParseRoots([]byte(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	damaged := strings.Replace(two, "-----END", "-----ENT", 1)
	foreign := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret bytes")}))
	broken := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))
	for text, want := range map[string]string{
		"": "no certificate", "nonsense\n": "no certificate", one + foreign: "block 2 is a PRIVATE KEY", one + broken: "certificate 2 can't be read",
		one + damaged: "damaged", damaged + one: "damaged", damaged: "damaged", one + strings.Replace(two, "M", "!", 1): "damaged",
		root(t, func(c *x509.Certificate) { c.IsCA = false }):                    "not of a CA",
		root(t, func(c *x509.Certificate) { c.BasicConstraintsValid = false }):   "not of a CA",
		root(t, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }): "may not sign",
		strings.Repeat(one, maxRoots+1):                                          "more than 500", strings.Repeat("#", maxRootsSize+1): "more than",
	} {
		_, err := ParseRoots([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("quoted: %v", err)
		}
	}
}

// Case 69: without readable CAs the gateway does not start.
func TestUnreadableRootsStopTheStart(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{filepath.Join(dir, "none.pem"), empty, dir} {
		cfg := Config{Address: "127.0.0.1:0", TLS: &TLSConfig{Certificates: []CertificateConfig{certificate(t)}, ClientAuth: "require", ClientCA: file}}
		if _, err := Listen(cfg, nil); err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "client_ca") {
			t.Errorf("%s: %v", file, err)
		}
	}
	for _, c := range []TLSConfig{{ClientAuth: "require"}, {ClientAuth: "demand", ClientCA: empty}} {
		c.Certificates = []CertificateConfig{certificate(t)}
		if _, _, err := tlsConfig(&c, nil); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}

func TestRootsAndAskingComeTogether(t *testing.T) {
	for _, c := range []struct {
		TLSConfig
		want string
	}{
		{TLSConfig{}, ""}, {TLSConfig{ClientAuth: "none"}, ""}, {TLSConfig{ClientAuth: "optional", ClientCA: "f"}, ""},
		{TLSConfig{ClientAuth: "optional"}, "client_auth"}, {TLSConfig{ClientAuth: "require"}, "client_auth"}, {TLSConfig{ClientAuth: "none", ClientCA: "f"}, ""},
	} {
		p := units.NewProblems()
		c.Validate(p)
		got := ""
		for _, problem := range p.List() {
			got += problem.Path
		}
		if got != c.want {
			t.Errorf("%+v: %v", c.TLSConfig, p.List())
		}
	}
}

func TestTheLastGoodRootsStay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.pem")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(root(t, nil))
	var said strings.Builder
	r := &clientRoots{file: file, seen: []os.FileInfo{nil}, base: &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}, log: slog.New(slog.NewTextHandler(&said, nil))}
	look := func() *tls.Config { r.looked = time.Time{}; return r.now() }
	first := look()
	if first == nil || first.ClientCAs == nil || first.ClientAuth != tls.RequireAndVerifyClientCert {
		t.Fatal("nothing was read")
	}
	if look() != first {
		t.Error("made anew without a change")
	}
	said.Reset()
	for _, text := range []string{"", "nonsense", root(t, func(c *x509.Certificate) { c.IsCA = false })} {
		write(text)
		if look() != first || !strings.Contains(said.String(), "last good ones stay") {
			t.Errorf("%.20q took the CAs away: %s", text, said.String())
		}
	}
	if err := os.Remove(file); err != nil || look() != first {
		t.Error("a file that is gone took the CAs away")
	}
	write(root(t, nil) + root(t, nil))
	second := look()
	if second == first || second.ClientCAs.Equal(first.ClientCAs) || second.ClientAuth != first.ClientAuth {
		t.Error("the new CAs don't serve")
	}
	write(root(t, nil))
	if r.looked = time.Now(); r.now() != second {
		t.Error("looked at once")
	}
}
