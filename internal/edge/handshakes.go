package edge

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
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

// Handshakes counts those that fail, and tells the log of certificates that were refused, at most once a minute: the client is
// told by an alert only.
type Handshakes struct {
	mu      sync.Mutex
	refused int
	toldAt  time.Time
}

// Failed takes the error of a handshake.
func (h *Handshakes) Failed(log *slog.Logger, faults *Faults, err error) {
	faults.Add(handshakeFault(err))
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

// handshakeFault tells kinds of failure apart. crypto/tls has no error value for a client without certificate, so its text is read.
func handshakeFault(err error) Fault {
	switch {
	case errors.As(err, new(*tls.CertificateVerificationError)), strings.HasSuffix(err.Error(), "didn't provide a certificate"):
		return TLSCertificate
	case errors.As(err, new(tls.RecordHeaderError)):
		return TLSNone
	case errors.Is(err, os.ErrDeadlineExceeded):
		return TLSTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return TLSClosed
	}
	return TLSRefused
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
