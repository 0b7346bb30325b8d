package upstream

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// authority is a certificate authority made for a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{file: filepath.Join(t.TempDir(), "ca.pem")}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	if err := os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// listen opens a TLS port for the name.
func (a *authority) listen(t *testing.T, name string, protocols ...string) net.Listener {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{a.certificate(t, name)}, NextProtos: protocols})
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func (a *authority) certificate(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{name}}
	if ip := net.ParseIP(name); ip != nil {
		tmpl.DNSNames, tmpl.IPAddresses = nil, []net.IP{ip}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func secure(f *fake, ca, name string) Config {
	cfg := defaults(f.url)
	cfg.TLS.CA, cfg.TLS.ServerName = ca, name
	return cfg
}

func TestTLS(t *testing.T) {
	a := newAuthority(t)
	f := startFake(t, a.listen(t, "orders.internal", "http/1.1"), "https", answering(okAnswer))
	r := newRig(t, secure(f, a.file, "orders.internal"))
	for i := range 20 {
		m := with("POST", fmt.Sprint(i)).WithBody([]byte("{}"))
		body, err := r.do(m)
		wantOK(t, body, err)
	}
	if f.connections() != 1 {
		t.Errorf("%d connections: session tickets were taken for stray bytes", f.connections())
	}
	body, err := r.do(upload("big", &source{left: 5 << 20}, -1))
	wantOK(t, body, err)
	if got := f.requests()[20]; len(got.body) != 5<<20 {
		t.Errorf("%d bytes", len(got.body))
	}
}

func TestTLSNameOfTheTarget(t *testing.T) {
	a := newAuthority(t)
	f := startFake(t, a.listen(t, "127.0.0.1"), "https", answering(okAnswer))
	r := newRig(t, secure(f, a.file, ""))
	body, err := r.do(get("a"))
	wantOK(t, body, err)
}

func TestTLSRefuses(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	f := startFake(t, a.listen(t, "orders.internal"), "https", answering(okAnswer))
	for name, cfg := range map[string]Config{
		"other authority": secure(f, other.file, "orders.internal"),
		"other name":      secure(f, a.file, "users.internal"),
		"system's roots":  secure(f, "", "orders.internal"),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, cfg)
			m := with("POST", "a")
			_, err := r.do(m)
			wantKind(t, err, pipeline.UpstreamFailed)
			if m.Effect != pipeline.EffectNone || m.Attempt.Count != 2 || r.Targets()[0].Open != 0 {
				t.Errorf("effect %v, %+v, %+v", m.Effect, m.Attempt, r.Targets()[0])
			}
		})
	}
	if len(f.requests()) != 0 {
		t.Error("something was sent")
	}
}

func TestTLSHandshakeIsBounded(t *testing.T) {
	f := newFake(t, func(p *peer) { p.block() })
	f.url = strings.Replace(f.url, "http:", "https:", 1)
	cfg := secure(f, "", "")
	cfg.Timeout.Connect = units.Duration(60 * time.Millisecond)
	r := newRig(t, cfg)
	m, start := with("POST", "a"), time.Now()
	_, err := r.do(m)
	wantKind(t, err, pipeline.UpstreamTimeout)
	if d := time.Since(start); d > 500*time.Millisecond || m.Effect != pipeline.EffectNone {
		t.Errorf("%v, effect %v", d, m.Effect)
	}
}

// Under TLS an idle connection that the upstream closed is found before a POST is written, and stray bytes are nobody's.
func TestTLSIdleConnections(t *testing.T) {
	a := newAuthority(t)
	for name, then := range map[string]func(p *peer){
		"closed": func(p *peer) { hangUp(t, p.Conn) },
		"stray":  func(p *peer) { p.send(okAnswer); arrive(t, p.Conn) },
	} {
		t.Run(name, func(t *testing.T) {
			taken, done := make(chan struct{}, 10), make(chan struct{}, 10)
			f := startFake(t, a.listen(t, "orders.internal"), "https", func(p *peer) {
				if p.request() != nil {
					p.send(okAnswer)
					<-taken
					then(p)
					done <- struct{}{}
					p.block()
				}
			})
			t.Cleanup(func() { close(taken) })
			r := newRig(t, secure(f, a.file, "orders.internal"))
			for i := range 5 {
				m := with("POST", fmt.Sprint(i)).WithBody([]byte("{}"))
				body, err := r.do(m)
				wantOK(t, body, err)
				if m.Attempt.Count != 1 || count(f, fmt.Sprint(i)) != 1 {
					t.Fatalf("%d dispatches, seen %d times", m.Attempt.Count, count(f, fmt.Sprint(i)))
				}
				taken <- struct{}{}
				<-done
			}
			if stale, stray := r.rec.counts(); stale+stray != 4 {
				t.Errorf("%d stale, %d stray", stale, stray)
			}
		})
	}
}

// A body that ends with the connection is whole only when TLS says that it ended.
func TestTLSTruncation(t *testing.T) {
	a := newAuthority(t)
	f := startFake(t, a.listen(t, "orders.internal"), "https", func(p *peer) {
		if s := p.request(); s != nil {
			p.send("HTTP/1.1 200 OK\r\n\r\nok")
			if s.id == "cut" {
				_ = p.Conn.(*tls.Conn).NetConn().Close()
			}
		}
	})
	r := newRig(t, secure(f, a.file, "orders.internal"))
	body, err := r.do(get("whole"))
	wantOK(t, body, err)
	m := get("cut")
	if body, err = r.do(m); err == nil || !m.Attempt.Broken {
		t.Errorf("%q, %v", body, err)
	}
}

func TestTLSFileOfRoots(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	_ = os.WriteFile(empty, []byte("nothing"), 0o600)
	pools := NewPools(nil)
	defer pools.Close()
	for _, file := range []string{empty, filepath.Join(t.TempDir(), "missing.pem")} {
		cfg := defaults("https://127.0.0.1:1")
		cfg.TLS.CA = file
		if _, err := New("orders", cfg, pools, nil); err == nil {
			t.Errorf("%s was accepted", filepath.Base(file))
		}
	}
}

func TestPoolsAreKeptByIdentity(t *testing.T) {
	a, b := newAuthority(t), newAuthority(t)
	f := newFake(t, answering(okAnswer))
	pools := NewPools(nil)
	defer pools.Close()
	make := func(url, ca, name string) *Upstream {
		cfg := defaults(url)
		cfg.TLS.CA, cfg.TLS.ServerName = ca, name
		u, err := New("orders", cfg, pools, nil)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	same := make("https://127.0.0.1:1", a.file, "x").set.Load().targets[0].conns
	for want, got := range map[bool]*Upstream{true: make("https://127.0.0.1:1/", a.file, "x")} {
		if (got.set.Load().targets[0].conns == same) != want {
			t.Error("equal identities have two pools")
		}
	}
	for _, u := range []*Upstream{make("https://127.0.0.1:1", b.file, "x"), make("https://127.0.0.1:1", a.file, "y"), make("https://127.0.0.1:2", a.file, "x"),
		make("http://127.0.0.1:1", a.file, "x")} {
		if u.set.Load().targets[0].conns == same {
			t.Error("different identities share a pool")
		}
	}
	old := make(f.url, "", "")
	m := get("a")
	if err := old.Serve(context.Background(), &m.Exchange); err != nil {
		t.Fatal(err)
	}
	next := make(f.url, "", "") // a reload
	pools.Live([]*Upstream{next})
	if next.Targets()[0].Idle != 1 {
		t.Error("the reload lost the connection")
	}
	pools.Live(nil)
	if len(pools.list()) != 0 || next.Targets()[0].Open != 0 {
		t.Error("the pool was not swept")
	}
	m = get("b") // still works, but keeps nothing
	if err := next.Serve(context.Background(), &m.Exchange); err != nil || next.Targets()[0].Open != 0 {
		t.Errorf("%v, %+v", err, next.Targets()[0])
	}
}
