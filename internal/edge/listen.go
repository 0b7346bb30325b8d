package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// Listen opens the port, with TLS when it is configured. Handshakes are not made by Accept but by the first read of a
// connection, so a slow client blocks nobody; the edge's read_timeout bounds them. Errors name the address or the file.
func Listen(cfg Config) (net.Listener, error) {
	var tc *tls.Config
	if cfg.TLS != nil {
		var err error
		if tc, err = tlsConfig(cfg.TLS); err != nil {
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
	case tc != nil:
		return tls.NewListener(ln, tc), nil
	}
	return ln, nil
}

// tlsConfig serves HTTP/1.1 only. The suites and curves are Go's.
func tlsConfig(cfg *TLSConfig) (*tls.Config, error) {
	if len(cfg.Certificates) == 0 {
		return nil, errors.New("listen.tls.certificates: at least one certificate is needed")
	}
	tc := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	if cfg.MinVersion == "1.3" {
		tc.MinVersion = tls.VersionTLS13
	}
	for i, c := range cfg.Certificates {
		cert, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, fmt.Errorf("listen.tls.certificates[%d]: can't load %s with %s: %w", i, c.Cert, c.Key, err)
		}
		tc.Certificates = append(tc.Certificates, cert)
	}
	return tc, nil
}
