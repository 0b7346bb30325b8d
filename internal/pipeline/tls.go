package pipeline

import (
	"crypto/sha256"
	"crypto/x509"
	"strings"
)

// maxNames bounds what is looked at of a certificate for each request.
const maxNames = 64

// NewTLS is what a handshake said: the name that the client asked for, "" for none, and its verified certificate, nil for
// none. Of a certificate's names the common name is none (RFC 9525, 2).
func NewTLS(serverName string, cert *x509.Certificate) *TLS {
	t := &TLS{ServerName: strings.ToLower(strings.TrimSuffix(serverName, "."))}
	if cert == nil {
		return t
	}
	t.Certificate, t.Thumbprint = cert, sha256.Sum256(cert.Raw)
	for _, u := range cert.URIs {
		t.Names = append(t.Names, "uri:"+u.String())
	}
	for _, name := range cert.DNSNames {
		t.Names = append(t.Names, "dns:"+strings.ToLower(name))
	}
	for _, address := range cert.EmailAddresses {
		at := strings.LastIndexByte(address, '@') + 1
		t.Names = append(t.Names, "email:"+address[:at]+strings.ToLower(address[at:]))
	}
	t.Names = t.Names[:min(len(t.Names), maxNames)]
	return t
}
