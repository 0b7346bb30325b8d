package edge

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// certificate writes a self-signed certificate for localhost.
func certificate(t *testing.T) CertificateConfig {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := CertificateConfig{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	for file, block := range map[string]*pem.Block{c.Cert: {Type: "CERTIFICATE", Bytes: der}, c.Key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func TestListenNamesTheAddressInUse(t *testing.T) {
	ln, err := Listen(Config{Address: "127.0.0.1:0"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	addr := ln.Addr().String()
	if _, err = Listen(Config{Address: addr}, nil); err == nil || !strings.Contains(err.Error(), addr+" is in use") || !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("%v", err)
	}
	if _, err = Listen(Config{Address: "nonsense"}, nil); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("%v", err)
	}
}

func TestListenNamesTheFile(t *testing.T) {
	good := certificate(t)
	for _, c := range []CertificateConfig{{"/none/cert.pem", good.Key}, {good.Cert, "/none/key.pem"}, {good.Key, good.Cert}} {
		_, err := Listen(Config{Address: "127.0.0.1:0", TLS: &TLSConfig{Certificates: []CertificateConfig{good, c}}}, nil)
		if err == nil || !strings.Contains(err.Error(), c.Cert) || !strings.Contains(err.Error(), c.Key) || !strings.Contains(err.Error(), "certificates[1]") {
			t.Errorf("%v", err)
		}
	}
	if _, err := Listen(Config{TLS: &TLSConfig{}}, nil); err == nil {
		t.Error("TLS without a certificate")
	}
}

// A renewed certificate serves without a restart; files that don't fit together leave the last good one.
func TestCertificatesAreReadAgain(t *testing.T) {
	first, second := certificate(t), certificate(t)
	var said strings.Builder
	c, err := loadCertificates([]CertificateConfig{first}, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	leaf := func() string { c.looked = time.Time{}; return string(c.now()[0].Certificate[0]) }
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	old := leaf()
	move(second.Cert, first.Cert)
	if leaf() != old || !strings.Contains(said.String(), "last good ones stay") || strings.Contains(said.String(), "PRIVATE") {
		t.Errorf("a certificate without its key was taken: %s", said.String())
	}
	said.Reset()
	if leaf(); said.Len() > 0 {
		t.Errorf("said again without a change: %s", said.String())
	}
	move(second.Key, first.Key)
	if leaf() == old {
		t.Error("the renewed certificate is not served")
	}
	renewed := leaf()
	if err := os.Remove(first.Cert); err != nil {
		t.Fatal(err)
	}
	if leaf() != renewed {
		t.Error("a file that is gone took the certificate away")
	}
	if c.looked = time.Now(); string(c.now()[0].Certificate[0]) != renewed {
		t.Error("looked at once")
	}
}

func TestListenTLS(t *testing.T) {
	cfg := Config{Address: "127.0.0.1:0", TLS: &TLSConfig{Certificates: []CertificateConfig{certificate(t)}, MinVersion: "1.3"}}
	ln, err := Listen(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	accepted := make(chan net.Conn, 2)
	go func() {
		for range 2 {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	silent, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	raw, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	(<-accepted).Close() // the silent one: accepted without a handshake, so nobody waited for it
	server := (<-accepted).(*tls.Conn)
	defer server.Close()
	go func() { _ = server.Handshake() }()
	client := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if p := client.ConnectionState().NegotiatedProtocol; p != "http/1.1" {
		t.Errorf("ALPN chose %q", p)
	}
	tc, _, err := tlsConfig(cfg.TLS, nil, "http/1.1")
	if err != nil || tc.MinVersion != tls.VersionTLS13 {
		t.Errorf("%v, version %x", err, tc.MinVersion)
	}
	cfg.TLS.MinVersion = "1.2"
	if tc, _, _ = tlsConfig(cfg.TLS, nil, "http/1.1"); tc.MinVersion != tls.VersionTLS12 {
		t.Errorf("version %x", tc.MinVersion)
	}
}
