package upstream

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// lookAgain is how often new connections look whether a file changed: a renewed certificate is shown a second later.
const lookAgain = time.Second

// tlsIdentity is how the certificates of an upstream are verified and which one is shown to it; equal sums may share
// connections. Files that change are read again for new connections; while they can't be read, or don't fit together, the last
// good ones stay.
type tlsIdentity struct {
	cfg TLSConfig
	log *slog.Logger
	sum [32]byte

	mu      sync.Mutex
	current material
	seen    [3]os.FileInfo
	looked  time.Time
	configs map[configKey]*tls.Config // bounded by the targets
}

// material is what the files hold.
type material struct {
	roots *x509.CertPool   // nil: the system's
	own   *tls.Certificate // nil: none is shown
}

type configKey struct {
	name   string
	speaks protocol
}

func newIdentity(cfg TLSConfig, log *slog.Logger) (*tlsIdentity, error) {
	id := &tlsIdentity{cfg: cfg, log: log, looked: time.Now(), configs: map[configKey]*tls.Config{}}
	id.seen = id.look()
	var err error
	if id.current, err = id.read(); err != nil {
		return nil, err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %q", cfg.CA, cfg.Cert, cfg.Key, cfg.ServerName)
	for _, file := range []string{cfg.CA, cfg.Cert} { // another authority or certificate in force needs other connections
		if file != "" {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(h, " %d %s", len(text), text)
		}
	}
	h.Sum(id.sum[:0])
	return id, nil
}

func (id *tlsIdentity) read() (m material, err error) {
	if id.cfg.CA != "" {
		pem, err := os.ReadFile(id.cfg.CA)
		if err != nil {
			return m, fmt.Errorf("tls.ca: %w", err)
		}
		m.roots = x509.NewCertPool()
		if !m.roots.AppendCertsFromPEM(pem) {
			return m, errors.New("tls.ca: the file holds no certificate in PEM form")
		}
	}
	if id.cfg.Cert != "" {
		own, err := tls.LoadX509KeyPair(id.cfg.Cert, id.cfg.Key)
		if err != nil {
			return m, fmt.Errorf("tls.cert: can't load %s with %s: %w", id.cfg.Cert, id.cfg.Key, err)
		}
		m.own = &own
	}
	return m, nil
}

// look follows links, so the swap of a link is a change; a file that is gone, or not named, is nil.
func (id *tlsIdentity) look() (seen [3]os.FileInfo) {
	for i, file := range []string{id.cfg.CA, id.cfg.Cert, id.cfg.Key} {
		if info, err := os.Stat(file); file != "" && err == nil {
			seen[i] = info
		}
	}
	return seen
}

func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == b
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// freshLocked reads files again that changed.
func (id *tlsIdentity) freshLocked() {
	if time.Since(id.looked) < lookAgain {
		return
	}
	id.looked = time.Now()
	seen := id.look()
	if sameFile(seen[0], id.seen[0]) && sameFile(seen[1], id.seen[1]) && sameFile(seen[2], id.seen[2]) {
		return
	}
	id.seen = seen
	m, err := id.read()
	if err != nil {
		id.log.Error("certificates of an upstream can't be read again, the last good ones stay", "error", err.Error())
		return
	}
	id.current = m
	clear(id.configs) // with the sessions, which speak for the old certificate
	id.log.Info("certificates of an upstream read again", "files", id.cfg.CA+" "+id.cfg.Cert)
}

// config is for one new connection to a host of that name.
func (id *tlsIdentity) config(host string, speaks protocol) *tls.Config {
	name := id.cfg.ServerName
	if name == "" {
		name = host
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	id.freshLocked()
	key := configKey{name, speaks}
	cfg := id.configs[key]
	if cfg == nil {
		cfg = &tls.Config{
			RootCAs: id.current.roots, ServerName: name, NextProtos: speaks.offers(), MinVersion: tls.VersionTLS12,
			ClientSessionCache: tls.NewLRUClientSessionCache(64), GetClientCertificate: id.own,
		}
		id.configs[key] = cfg
	}
	return cfg
}

// own gives the certificate that is shown to a server that asks for one. It is shown whatever authorities the server names:
// what is right is the server's to say.
func (id *tlsIdentity) own(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	id.mu.Lock()
	defer id.mu.Unlock()
	id.freshLocked()
	if id.current.own == nil {
		return &tls.Certificate{}, nil
	}
	return id.current.own, nil
}

// ClientTLS is what other clients of the upstream need to trust it, and to be trusted, as its calls do; the server's name may
// be left open.
func ClientTLS(cfg TLSConfig) (*tls.Config, error) {
	id, err := newIdentity(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	return id.config("", overHTTP1), nil
}
