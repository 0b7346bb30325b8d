package redis

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/redisconn"
	"github.com/oncegate/oncegate/internal/redistest"
)

func TestTLS(t *testing.T) {
	cert, key, roots := certificate(t)
	port := freePort(t)
	server := redistest.Start(t)
	for _, pair := range [][2]string{{"tls-cert-file", cert}, {"tls-key-file", key}, {"tls-auth-clients", "no"}, {"tls-port", strconv.Itoa(port)}} {
		if _, err := server.Do("CONFIG", "SET", pair[0], pair[1]); err != nil {
			t.Fatal("this redis-server has no TLS, Debian's has: ", err)
		}
	}
	cfg := Config{Server: redisconn.Server{Mode: redisconn.Single, Addresses: []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}, TLS: &tls.Config{RootCAs: roots}}, Prefix: fresh()}
	s := open(t, cfg, Deps{})
	if _, err := begin(s, numbered(1), claim(mine)); err != nil {
		t.Error(err)
	}
	cfg.TLS = &tls.Config{RootCAs: x509.NewCertPool()}
	stranger, err := Open(t.Context(), cfg, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	refusedBegin(t, stranger, numbered(2))
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// certificate writes one for 127.0.0.1 that signs itself.
func certificate(t *testing.T) (cert, key string, roots *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	roots.AppendCertsFromPEM(public)
	cert, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for path, text := range map[string][]byte{cert: public, key: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key, roots
}
