package edge

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
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
	ln, err := Listen(Config{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	addr := ln.Addr().String()
	if _, err = Listen(Config{Address: addr}); err == nil || !strings.Contains(err.Error(), addr+" is in use") || !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("%v", err)
	}
	if _, err = Listen(Config{Address: "nonsense"}); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("%v", err)
	}
}

func TestListenNamesTheFile(t *testing.T) {
	good := certificate(t)
	for _, c := range []CertificateConfig{{"/none/cert.pem", good.Key}, {good.Cert, "/none/key.pem"}, {good.Key, good.Cert}} {
		_, err := Listen(Config{Address: "127.0.0.1:0", TLS: &TLSConfig{Certificates: []CertificateConfig{good, c}}})
		if err == nil || !strings.Contains(err.Error(), c.Cert) || !strings.Contains(err.Error(), c.Key) || !strings.Contains(err.Error(), "certificates[1]") {
			t.Errorf("%v", err)
		}
	}
	if _, err := Listen(Config{TLS: &TLSConfig{}}); err == nil {
		t.Error("TLS without a certificate")
	}
}

func TestListenTLS(t *testing.T) {
	cfg := Config{Address: "127.0.0.1:0", TLS: &TLSConfig{Certificates: []CertificateConfig{certificate(t)}, MinVersion: "1.3"}}
	ln, err := Listen(cfg)
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
	tc, err := tlsConfig(cfg.TLS)
	if err != nil || tc.MinVersion != tls.VersionTLS13 {
		t.Errorf("%v, version %x", err, tc.MinVersion)
	}
	cfg.TLS.MinVersion = "1.2"
	if tc, _ = tlsConfig(cfg.TLS); tc.MinVersion != tls.VersionTLS12 {
		t.Errorf("version %x", tc.MinVersion)
	}
}
