package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"
)

// Listen opens the port for HTTP/1.1 alone, with TLS when it is configured. Handshakes are not made by Accept but by the first
// read of a connection, so a slow client blocks nobody; the edge's read_timeout bounds them. Errors name the address or the
// file. log is told about certificates that change; it may be nil.
func Listen(cfg Config, log *slog.Logger) (net.Listener, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	var tc *tls.Config
	var roots *clientRoots
	if cfg.TLS != nil {
		var err error
		if tc, roots, err = tlsConfig(cfg.TLS, log, "http/1.1"); err != nil {
			return nil, err
		}
	}
	ln, err := bind(cfg.Address)
	switch {
	case err != nil || tc == nil:
		return ln, err
	case roots != nil:
		return &asking{tls.NewListener(ln, tc), roots}, nil
	}
	return tls.NewListener(ln, tc), nil
}

func bind(address string) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listen.address: %s is in use by another process: %w", address, err)
	case err != nil:
		return nil, fmt.Errorf("listen.address: can't listen on %s: %w", address, err)
	}
	return ln, nil
}

// tlsConfig offers protocols by ALPN, the preferred first. Roots are nil unless clients are asked for certificates. The suites
// and curves are Go's.
func tlsConfig(cfg *TLSConfig, log *slog.Logger, protocols ...string) (*tls.Config, *clientRoots, error) {
	certs, err := loadCertificates(cfg.Certificates, log)
	if err != nil {
		return nil, nil, err
	}
	tc := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: protocols, GetCertificate: certs.choose}
	if cfg.MinVersion == "1.3" {
		tc.MinVersion = tls.VersionTLS13
	}
	if cfg.asksClients() {
		roots, err := askClients(tc, cfg, log)
		return tc, roots, err
	}
	return tc, nil, nil
}
