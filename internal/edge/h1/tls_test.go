package h1

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// secure is config with TLS by a self-signed certificate.
func secure(t *testing.T) edge.Config {
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
	pkcs8, _ := x509.MarshalPKCS8PrivateKey(key)
	file := filepath.Join(t.TempDir(), "both.pem")
	both := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
	if err := os.WriteFile(file, both, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config()
	cfg.TLS = &edge.TLSConfig{Certificates: []edge.CertificateConfig{{Cert: file, Key: file}}, MinVersion: "1.2"}
	return cfg
}

func (s *server) dialTLS() *client {
	s.t.Helper()
	c, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		s.t.Fatal(err)
	}
	return s.client(c)
}

func TestTLS(t *testing.T) {
	body := strings.Repeat("x", 100<<10)
	s := serve(t, secure(t), func(ctx context.Context, x *pipeline.Exchange) error {
		if !x.Secure || x.Gone() {
			return fmt.Errorf("secure %v, gone %v", x.Secure, x.Gone())
		}
		return readAll(ctx, x)
	})
	c := s.dialTLS()
	for range 3 {
		c.get("/").is(t, 200, "")
		c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body)).answer("POST").is(t, 200, body)
	}
	c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\n").answer("POST").problem(t, pipeline.BadRequest)
	if err := c.closed(); err != nil {
		t.Error(err)
	}
}

func TestGoneUnderTLS(t *testing.T) {
	seen := make(chan bool, 1)
	s := serve(t, secure(t), func(_ context.Context, x *pipeline.Exchange) error {
		by := time.Now().Add(3 * time.Second)
		for !x.Gone() && time.Now().Before(by) {
			time.Sleep(time.Millisecond)
		}
		seen <- x.Gone()
		return pipeline.ClientGone
	})
	c := s.dialTLS().send("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\n")
	_ = c.Close()
	if !<-seen {
		t.Error("not seen")
	}
}

// A client that does not finish its handshake is bounded, and in nobody's way.
func TestSlowHandshake(t *testing.T) {
	cfg := secure(t)
	cfg.Limits.ReadTimeout = units.Duration(300 * time.Millisecond)
	s := serve(t, cfg, reply("x"))
	start := time.Now()
	slow := s.dial().send("\x16\x03\x01\x02\x00")
	s.dialTLS().get("/").is(t, 200, "x")
	if d := time.Since(start); d > 250*time.Millisecond {
		t.Errorf("another client waited %v", d)
	}
	if _, err := io.Copy(io.Discard, slow); err != nil {
		t.Log(err)
	}
	if d := time.Since(start); d < 250*time.Millisecond || d > 3*time.Second {
		t.Errorf("closed after %v", d)
	}
	plain := s.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if a, err := plain.tryAnswer("GET"); err == nil {
		t.Errorf("answered in the clear: %d", a.StatusCode)
	}
}

// A broken answer without a length must not end like a whole one under TLS either.
func TestBrokenStreamUnderTLS(t *testing.T) {
	d := newDrip(io.ErrUnexpectedEOF)
	s := serve(t, secure(t), streamed(d, -1))
	d.pieces <- "abc"
	close(d.pieces)
	if a, err := s.dialTLS().send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").tryAnswer("GET"); err == nil && a.err == nil {
		t.Errorf("looks complete: %q", a.body)
	}
}

func TestShutdownUnderTLS(t *testing.T) {
	s := serve(t, secure(t), reply("x"))
	idle, _ := s.dialTLS(), s.dial() // the other never begins its handshake
	idle.get("/").is(t, 200, "x")
	start := time.Now()
	if err := wait(t, s.shutdown(5*time.Second)); err != nil || time.Since(start) > time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	if err := idle.closed(); err != nil {
		t.Error(err)
	}
}
