package h1

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// handshake is what the connection's handshake said: made once, with the first request; nil without TLS.
func (c *conn) handshake() *pipeline.TLS {
	if c.tls != nil || !c.secure {
		return c.tls
	}
	t, ok := c.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	state := t.ConnectionState()
	if !state.HandshakeComplete {
		return nil // a handshake that failed: there is no request
	}
	c.tls = said(&state)
	return c.tls
}

// voucher is a port whose CAs can change while connections live, see edge.Listen.
type voucher interface {
	Generation() uint64 // of the CAs, from 1 on
	Trusts(state *tls.ConnectionState) bool
}

// vouched reports that the CAs of this moment stand for the connection's certificate, as those of its handshake did.
func (c *conn) vouched() bool {
	if c.edge.voucher == nil || c.tls == nil || c.tls.Certificate == nil {
		return true
	}
	present := c.edge.voucher.Generation()
	if present == max(c.cas, 1) {
		return true
	}
	c.cas = present
	t, ok := c.Conn.(*tls.Conn)
	if !ok {
		return false
	}
	state := t.ConnectionState()
	return c.edge.voucher.Trusts(&state)
}

// said takes a certificate for shown only when a chain to one of our CAs was verified.
func said(state *tls.ConnectionState) *pipeline.TLS {
	if len(state.PeerCertificates) > 0 && len(state.VerifiedChains) > 0 {
		return pipeline.NewTLS(state.ServerName, state.PeerCertificates[0])
	}
	return pipeline.NewTLS(state.ServerName, nil)
}

// handshakes tells the log of certificates that were refused, at most once a minute: the client is told by an alert only.
type handshakes struct {
	mu      sync.Mutex
	refused int
	toldAt  time.Time
}

func (h *handshakes) failed(log *slog.Logger, err error) {
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
