package h1

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// signer is a CA of the tests.
type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func template(name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
}

// newCA makes a CA; nil signs itself.
func newCA(t testing.TB, name string, by *signer) *signer {
	t.Helper()
	c := template(name)
	c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := &signer{c, key}
	if by == nil {
		by = s
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by.cert, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	if s.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *signer) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Raw}))
}

// client signs a certificate for clients; change may spoil it.
func (s *signer) client(t testing.TB, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	c := template("common name")
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	u, _ := url.Parse("spiffe://acme.test/orders")
	c.URIs, c.DNSNames, c.EmailAddresses = []*url.URL{u}, []string{"Orders.Acme.Test"}, []string{"Ops@Acme.Test"}
	if change != nil {
		change(c)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, s.cert, &key.PublicKey, s.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// asking is a config that asks for certificates of the CA in a file.
func asking(t *testing.T, how string, roots string) (edge.Config, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "clients.pem")
	if err := os.WriteFile(file, []byte(roots), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := secure(t)
	cfg.TLS.ClientAuth, cfg.TLS.ClientCA = how, file
	return cfg, file
}

// tries makes a handshake and a request; the error is nil when it was answered 200.
func (s *server) tries(cfg *tls.Config) error {
	s.t.Helper()
	cfg.InsecureSkipVerify = true
	c, err := tls.Dial("tcp", s.addr, cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	text, err := io.ReadAll(c)
	if strings.HasPrefix(string(text), "HTTP/1.1 200") {
		return nil
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func with(certs ...tls.Certificate) *tls.Config { return &tls.Config{Certificates: certs} }

// What a handshake says is one value for its connection, and stays when the next request comes.
func TestHandshakeIsTold(t *testing.T) {
	ca := newCA(t, "ca", nil)
	middle := newCA(t, "middle", ca)
	cfg, _ := asking(t, "optional", ca.pem())
	var mu sync.Mutex
	var seen []*pipeline.TLS
	s := serve(t, cfg, func(_ context.Context, x *pipeline.Exchange) error {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, x.TLS)
		x.Response.SetStatus(200)
		return nil
	})
	one := middle.client(t, nil)
	one.Certificate = append(one.Certificate, middle.cert.Raw)
	c, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true, ServerName: "API.Example.test", Certificates: []tls.Certificate{one}})
	if err != nil {
		t.Fatal(err)
	}
	client := s.client(c)
	client.get("/").is(t, 200, "")
	client.get("/").is(t, 200, "")
	if err := s.tries(with()); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) != 3 || seen[0] != seen[1] || seen[2] == nil || seen[2] == seen[0] {
		t.Fatalf("%v", seen)
	}
	got := seen[0]
	if got.ServerName != "api.example.test" || got.Certificate == nil || got.Thumbprint != sha256.Sum256(one.Certificate[0]) {
		t.Errorf("%+v", got)
	}
	if want := []string{"uri:spiffe://acme.test/orders", "dns:orders.acme.test", "email:Ops@acme.test"}; !slices.Equal(got.Names, want) {
		t.Errorf("names %q", got.Names)
	}
	if seen[2].Certificate != nil || seen[2].Thumbprint != [32]byte{} || seen[2].Names != nil || seen[2].ServerName != "" {
		t.Errorf("without a certificate: %+v", seen[2])
	}
}

// Case 69: what no CA of ours signed for clients, or is over, fails the handshake: there is no request.
func TestBadClientCertificates(t *testing.T) {
	ca, other := newCA(t, "ca", nil), newCA(t, "ca", nil)
	middle := newCA(t, "middle", ca)
	for _, how := range []string{"optional", "require"} {
		cfg, _ := asking(t, how, ca.pem())
		s := serve(t, cfg, reply("x"))
		for name, cert := range map[string]tls.Certificate{
			"other CA":      other.client(t, nil),
			"expired":       ca.client(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
			"not yet":       ca.client(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }),
			"for servers":   ca.client(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }),
			"chain missing": middle.client(t, nil),
		} {
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				show := with()
				show.MaxVersion = version
				show.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
				if err := s.tries(show); err == nil {
					t.Errorf("%s, %s, %x: answered", how, name, version)
				}
			}
		}
		if err := s.tries(with()); (err == nil) != (how == "optional") {
			t.Errorf("%s, none: %v", how, err)
		}
		if err := s.tries(with(ca.client(t, nil))); err != nil {
			t.Errorf("%s, good: %v", how, err)
		}
		if log := s.log.String(); strings.Count(log, "client certificates refused") != 1 {
			t.Errorf("log: %s", log)
		}
	}
}

// A CA that is taken away serves nobody on new connections: sessions are not resumed, so no old verification lives on.
func TestClientRootsAreReadAgain(t *testing.T) {
	first, second := newCA(t, "first", nil), newCA(t, "second", nil)
	cfg, file := asking(t, "require", first.pem())
	s := serve(t, cfg, reply("x"))
	sessions := tls.NewLRUClientSessionCache(10)
	dial := func(cert tls.Certificate) error {
		c := with(cert)
		c.ClientSessionCache, c.ServerName = sessions, "localhost"
		return s.tries(c)
	}
	old, fresh := first.client(t, nil), second.client(t, nil)
	if err := dial(old); err != nil {
		t.Fatal(err)
	}
	if _, ok := sessions.Get("localhost"); ok {
		t.Error("a session can be resumed")
	}
	if err := dial(fresh); err == nil {
		t.Error("a CA that is not there yet")
	}
	for _, c := range [][2]string{{second.pem(), "were read again"}, {"nonsense", "can't be read again"}} {
		if err := os.WriteFile(file, []byte(c[0]), 0o600); err != nil {
			t.Fatal(err)
		}
		s.soon(c[1], func() bool { _ = dial(fresh); return strings.Contains(s.log.String(), c[1]) }) // it is looked at when somebody comes
		if err := dial(fresh); err != nil {
			t.Errorf("%.20q: %v", c[0], err)
		}
	}
	if dial(old) == nil {
		t.Error("the CA that was taken away still serves")
	}
}
