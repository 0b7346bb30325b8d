package edge

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Said is what a handshake said. It takes a certificate for shown only when a chain to one of our CAs was verified.
func Said(state *tls.ConnectionState) *pipeline.TLS {
	if len(state.PeerCertificates) > 0 && len(state.VerifiedChains) > 0 {
		return pipeline.NewTLS(state.ServerName, state.PeerCertificates[0])
	}
	return pipeline.NewTLS(state.ServerName, nil)
}

// Handshakes tells the log of certificates that were refused, at most once a minute: the client is told by an alert only.
type Handshakes struct {
	mu      sync.Mutex
	refused int
	toldAt  time.Time
}

// Failed takes the error of a handshake.
func (h *Handshakes) Failed(log *slog.Logger, err error) {
	var bad *tls.CertificateVerificationError
	if !errors.As(err, &bad) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refused++
	if now := time.Now(); now.Sub(h.toldAt) > time.Minute {
		log.Warn("client certificates refused", "why", whyRefused(bad.Err), "since_last", h.refused)
		h.refused, h.toldAt = 0, now
	}
}

// whyRefused quotes nothing of the certificate, which anybody may have written.
func whyRefused(err error) string {
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "no CA of listen.tls.client_ca signed it"
	case !errors.As(err, &invalid):
		return "it can't be verified"
	case invalid.Reason == x509.Expired:
		return "it is expired or not valid yet"
	case invalid.Reason == x509.IncompatibleUsage:
		return "it is not for clients (extended key usage)"
	}
	return "it or its chain is not valid"
}
