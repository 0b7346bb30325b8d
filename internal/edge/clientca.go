package edge

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// maxRoots bounds a bundle: it is searched at every handshake.
const (
	maxRoots     = 500
	maxRootsSize = 2 << 20
)

// ParseRoots reads a bundle of CAs in PEM form: every block has to be a certificate that may sign others. What stands
// between blocks is comment. A damaged or foreign block is an error: a CA that is silently left out locks its clients out.
func ParseRoots(text []byte) (*x509.CertPool, error) {
	pool, n := x509.NewCertPool(), 0
	if len(text) > maxRootsSize {
		return nil, fmt.Errorf("holds more than %d bytes", maxRootsSize)
	}
	begun := bytes.Count(text, []byte("-----BEGIN"))
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		text = rest
		if n++; n > maxRoots {
			return nil, fmt.Errorf("holds more than %d certificates", maxRoots)
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("block %d is a %s, not a CERTIFICATE", n, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		switch {
		case err != nil:
			return nil, fmt.Errorf("certificate %d can't be read: %w", n, err)
		case !cert.BasicConstraintsValid || !cert.IsCA:
			return nil, fmt.Errorf("certificate %d (%s) is not of a CA", n, cert.Subject)
		case cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageCertSign == 0:
			return nil, fmt.Errorf("certificate %d (%s) may not sign certificates", n, cert.Subject)
		}
		pool.AddCert(cert)
	}
	switch {
	case n == 0 && begun == 0:
		return nil, errors.New("holds no certificate in PEM form")
	case n != begun:
		return nil, fmt.Errorf("%d of %d blocks in PEM form are damaged", begun-n, begun)
	}
	return pool, nil
}

// ReadRoots is ParseRoots of a file. The error names it.
func ReadRoots(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("can't read the roots: %w", err)
	}
	pool, err := ParseRoots(text)
	if err != nil {
		return nil, fmt.Errorf("%s %w", file, err)
	}
	return pool, nil
}

// clientRoots are the CAs of client certificates, as their file holds them. A file that changes is read again for the
// handshakes and requests that follow; while it can't be read, the last good CAs stay.
type clientRoots struct {
	file string
	base *tls.Config
	log  *slog.Logger

	mu         sync.Mutex
	current    *tls.Config
	generation uint64 // of the CAs, from 1 on
	seen       []os.FileInfo
	looked     time.Time
}

// asking is a port that asks for certificates.
type asking struct {
	net.Listener
	roots *clientRoots
}

// Generation counts how often the CAs have changed, from 1 on. It looks at their file at most once a second.
func (a *asking) Generation() uint64 {
	a.roots.now()
	a.roots.mu.Lock()
	defer a.roots.mu.Unlock()
	return a.roots.generation
}

// Trusts tells whether the CAs of this moment vouch for a certificate that was verified against earlier ones.
func (a *asking) Trusts(state *tls.ConnectionState) bool {
	if len(state.PeerCertificates) == 0 {
		return true
	}
	others := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		others.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: a.roots.now().ClientCAs, Intermediates: others, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err == nil
}

var clientAuth = map[string]tls.ClientAuthType{
	"optional": tls.VerifyClientCertIfGiven, "require": tls.RequireAndVerifyClientCert,
}

// askClients has handshakes on base ask for certificates. Sessions are not resumed: each connection shows its certificate
// and has it verified against the CAs of that moment, so that a CA that was taken away serves nobody again.
func askClients(base *tls.Config, cfg *TLSConfig, log *slog.Logger) (*clientRoots, error) {
	kind, known := clientAuth[cfg.ClientAuth]
	if !known || cfg.ClientCA == "" {
		return nil, fmt.Errorf("listen.tls: client_auth %q and client_ca %q don't fit together", cfg.ClientAuth, cfg.ClientCA)
	}
	base.ClientAuth, base.SessionTicketsDisabled = kind, true
	r := &clientRoots{file: cfg.ClientCA, base: base.Clone(), log: log, seen: lookAt([]string{cfg.ClientCA}), looked: time.Now()}
	pool, err := ReadRoots(r.file)
	if err != nil {
		return nil, fmt.Errorf("listen.tls.client_ca: %w", err)
	}
	r.take(pool)
	base.ClientCAs = pool
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return r.now(), nil }
	return r, nil
}

func (r *clientRoots) take(pool *x509.CertPool) {
	r.current = r.base.Clone()
	r.current.ClientCAs = pool
	r.generation++
}

// now gives the settings for a handshake.
func (r *clientRoots) now() *tls.Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.looked) < lookAgain {
		return r.current
	}
	r.looked = time.Now()
	seen := lookAt([]string{r.file})
	if same(seen, r.seen) {
		return r.current
	}
	r.seen = seen
	pool, err := ReadRoots(r.file)
	if err != nil {
		r.log.Error("the CAs of client certificates can't be read again, the last good ones stay", "error", err)
		return r.current
	}
	r.take(pool)
	r.log.Info("the CAs of client certificates were read again")
	return r.current
}
