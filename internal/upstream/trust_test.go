package upstream

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/units"
)

// pair writes a client certificate of the authority, and its key.
func (a *authority) pair(t *testing.T, cert, key, name string) {
	t.Helper()
	ln := a.certificate(t, name)
	der, err := x509.MarshalPKCS8PrivateKey(ln.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: ln.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Files that change count for new connections; while they are broken the last good ones stay, and the log says so.
func TestCertificatesAreReadAgain(t *testing.T) {
	a, b := newAuthority(t), newAuthority(t)
	dir := t.TempDir()
	cfg := TLSConfig{CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "c.pem"), Key: filepath.Join(dir, "c.key"), ServerName: "orders.internal"}
	copyFile := func(from string) {
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(cfg.CA, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	copyFile(a.file)
	a.pair(t, cfg.Cert, cfg.Key, "one")
	var text bytes.Buffer
	id, err := newIdentity(cfg, slog.New(slog.NewTextHandler(&text, nil)))
	if err != nil {
		t.Fatal(err)
	}
	look := func() (own []byte, first bool) {
		id.looked = time.Now().Add(-2 * lookAgain) // it looks once a second
		tc := id.config("10.0.0.1", overHTTP2)
		got, err := tc.GetClientCertificate(nil)
		if err != nil || tc.ServerName != "orders.internal" {
			t.Fatalf("%v, server name %q", err, tc.ServerName)
		}
		_, err = a.cert.Verify(x509.VerifyOptions{Roots: tc.RootCAs, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		return got.Certificate[0], err == nil
	}
	before, first := look()
	if !first {
		t.Error("the first authority is not trusted")
	}
	if err := os.WriteFile(cfg.Cert, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	copyFile(b.file)
	if own, first := look(); !bytes.Equal(own, before) || !first {
		t.Error("a broken file was taken in force, or a part of the change")
	}
	if !strings.Contains(text.String(), "can't be read again") {
		t.Errorf("log: %s", text.String())
	}
	b.pair(t, cfg.Cert, cfg.Key, "two")
	if own, first := look(); bytes.Equal(own, before) || first {
		t.Error("the new files are not in force")
	}
}

// Active checks speak the protocol of their targets.
func TestChecksOverHTTP2(t *testing.T) {
	a := newAuthority(t)
	up := serveTLS(t, a, "h2")
	for name, tt := range map[string]struct {
		url   string
		http2 bool
		well  bool
	}{
		"https with http2":             {up, true, true},
		"grpcs":                        {"grpcs" + up[len("https"):], false, true},
		"https with http2, ALPN says ": {serveTLS(t, a, "http/1.1"), true, true},
		"h2c":                          {newFramer(t, func(f *framer) { f.good() }).url, false, true},
		"h2c, HTTP/1.1 answers":        {"h2c" + newFake(t, answering(okAnswer)).url[len("http"):], false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := defaults(tt.url)
			cfg.HTTP2, cfg.TLS.CA, cfg.TLS.ServerName = tt.http2, a.file, "orders.internal"
			cfg.Health = &HealthConfig{Type: "http", Path: "/", Expect: "200", Interval: units.Duration(5 * time.Millisecond), Timeout: units.Duration(time.Second), Unhealthy: 2, Healthy: 1}
			r := newRig(t, cfg)
			n := r.set.Load().targets[0].node
			n.sick.Store(tt.well) // it has to change its mind
			r.pools.Live([]*Upstream{r.Upstream})
			for end := time.Now().Add(5 * time.Second); n.sick.Load() == tt.well; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("sick %v, %s", n.sick.Load(), n.why)
				}
			}
		})
	}
}
