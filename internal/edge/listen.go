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

// Listen opens the port, with TLS when it is configured. Handshakes are not made by Accept but by the first read of a
// connection, so a slow client blocks nobody; the edge's read_timeout bounds them. Errors name the address or the file. log is
// told about certificates that change; it may be nil.
func Listen(cfg Config, log *slog.Logger) (net.Listener, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	var tc *tls.Config
	var roots *clientRoots
	if cfg.TLS != nil {
		var err error
		if tc, roots, err = tlsConfig(cfg.TLS, log); err != nil {
			return nil, err
		}
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp", cfg.Address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listen.address: %s is in use by another process: %w", cfg.Address, err)
	case err != nil:
		return nil, fmt.Errorf("listen.address: can't listen on %s: %w", cfg.Address, err)
	case roots != nil:
		return &asking{tls.NewListener(ln, tc), roots}, nil
	case tc != nil:
		return tls.NewListener(ln, tc), nil
	}
	return ln, nil
}

// tlsConfig serves HTTP/1.1 only. Roots are nil unless clients are asked for certificates. The suites and curves are Go's.
func tlsConfig(cfg *TLSConfig, log *slog.Logger) (*tls.Config, *clientRoots, error) {
	certs, err := loadCertificates(cfg.Certificates, log)
	if err != nil {
		return nil, nil, err
	}
	tc := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: certs.choose}
	if cfg.MinVersion == "1.3" {
		tc.MinVersion = tls.VersionTLS13
	}
	if cfg.asksClients() {
		roots, err := askClients(tc, cfg, log)
		return tc, roots, err
	}
	return tc, nil, nil
}
