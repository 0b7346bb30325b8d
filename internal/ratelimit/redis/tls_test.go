package redis

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/oncegate/oncegate/internal/ratelimit/leases"
	"github.com/oncegate/oncegate/internal/redisconn"
	"github.com/oncegate/oncegate/internal/redistest"
)

// With TLS the server has to prove who it is.
func TestTLS(t *testing.T) {
	web := httptest.NewTLSServer(nil) // its certificate is good for 127.0.0.1
	defer web.Close()
	pair := web.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, "key.pem": {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	srv := redistest.Start(t)
	for _, pair := range [][2]string{
		{"tls-cert-file", filepath.Join(dir, "cert.pem")}, {"tls-key-file", filepath.Join(dir, "key.pem")},
		{"tls-auth-clients", "no"}, {"tls-port", strconv.Itoa(port)},
	} {
		if _, err := srv.Do("CONFIG", "SET", pair[0], pair[1]); err != nil {
			t.Fatal("this redis-server has no TLS, Debian's has: ", err)
		}
	}
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	cfg := Config{
		Server: redisconn.Server{Mode: redisconn.Single, Addresses: []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}, TLS: &tls.Config{RootCAs: roots}},
		Prefix: fresh(),
	}
	s := open(t, cfg, patient, Deps{})
	if g := good(t, draw(t, s, leases.Draw{Name: named(t, s, "k"), Limit: slow, Want: 1})); g.Tokens != 1 {
		t.Errorf("%+v", g)
	}
	cfg.TLS = &tls.Config{RootCAs: x509.NewCertPool()}
	stranger, err := Open(t.Context(), cfg, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if _, ok := stranger.Name([]byte("k")); ok {
		t.Error("a server that nobody vouches for was asked")
	}
}
