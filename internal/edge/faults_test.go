package edge

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/units"
)

// faulted waits until a fault was counted.
func (o *opened) faulted(want string) {
	o.t.Helper()
	for by := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		seen := ""
		EachFault([]*Faults{o.Faults()}, func(at, fault string, n uint64) {
			if n > 0 {
				seen += at + " " + fault + "\n"
			}
		})
		if seen == want+"\n" {
			return
		}
		if time.Now().After(by) {
			o.t.Fatalf("counted %q, wanted %s", seen, want)
		}
	}
}

// Handshakes that fail are counted by how they fail, and connections that find no seat.
func TestPortCountsFaults(t *testing.T) {
	for want, do := range map[string]func(c net.Conn){
		"tls no_tls":  func(c net.Conn) { _, _ = io.WriteString(c, "GET / HTTP/1.1\r\n\r\n") },
		"tls timeout": func(c net.Conn) { _, _ = io.WriteString(c, "\x16\x03\x01") },
		"tls closed":  func(c net.Conn) { _, _ = io.WriteString(c, "\x16\x03\x01"); _ = c.Close() },
		"tls refused": func(c net.Conn) {
			_ = tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"spdy/3"}}).Handshake()
		},
		"tls certificate": func(c net.Conn) {
			client := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
			_ = client.Handshake()
			_, _ = client.Read(make([]byte, 1))
		},
		"port full": func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) },
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			pair := certificate(t)
			cfg := Config{TLS: &TLSConfig{Certificates: []CertificateConfig{pair}}, Limits: LimitsConfig{ReadTimeout: units.Duration(300 * time.Millisecond)}}
			if want == "tls certificate" {
				cfg.TLS.ClientAuth, cfg.TLS.ClientCA = "require", filepath.Join(t.TempDir(), "ca.pem")
				if err := os.WriteFile(cfg.TLS.ClientCA, []byte(root(t, nil)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if want == "port full" {
				cfg.TLS, cfg.Limits.Connections = nil, 1
			}
			o := open(t, cfg)
			if want == "port full" {
				o.hears(say(o.dial(), "a\n"), "h1 a\n")
			}
			do(o.dial())
			o.faulted(want)
		})
	}
}

func say(c net.Conn, text string) net.Conn {
	_, _ = io.WriteString(c, text)
	return c
}
