package upstream

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// endpoint is a target's URL, taken apart.
type endpoint struct {
	scheme string
	addr   string // host:port to dial
	host   string // as a Host field names it: the port only when it is not the scheme's own
	name   string // for the certificate
}

func (e endpoint) String() string { return e.scheme + "://" + e.host }

var defaultPorts = map[string]string{"http": "80", "https": "443"}

// parseTarget takes a URL apart. The problem is "" when it is fine; it never shows credentials.
func parseTarget(text string) (e endpoint, problem string) {
	u, err := url.Parse(text)
	if err != nil {
		return e, "is not a URL" // the error quotes it
	}
	shown := redacted(u)
	scheme := strings.ToLower(u.Scheme)
	switch scheme {
	case "http", "https":
	case "h2c", "grpc", "grpcs":
		return e, fmt.Sprintf("%q: scheme %s is not available in this version", shown, scheme)
	default:
		return e, fmt.Sprintf("%q is not a URL with the scheme http or https", shown)
	}
	switch {
	case u.User != nil:
		return e, fmt.Sprintf("%q must not hold credentials", shown)
	case u.Hostname() == "" || u.Opaque != "":
		return e, fmt.Sprintf("%q has no host", shown)
	case u.Path != "" && u.Path != "/":
		return e, fmt.Sprintf("%q has a path; paths are changed by a route's rewrite", shown)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return e, fmt.Sprintf("%q must end after host and port", shown)
	}
	return endpointOf(scheme, u, shown)
}

func endpointOf(scheme string, u *url.URL, shown string) (endpoint, string) {
	name, port := strings.ToLower(u.Hostname()), u.Port()
	if strings.ContainsAny(name, " \t\r\n\x00,;/\\") {
		return endpoint{}, fmt.Sprintf("%q has a malformed host", shown)
	}
	if port == "" {
		port = defaultPorts[scheme]
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return endpoint{}, fmt.Sprintf("%q has a port outside 1 to 65535", shown)
	}
	e := endpoint{scheme: scheme, name: name, addr: net.JoinHostPort(name, port)}
	e.host = e.addr
	if port == defaultPorts[scheme] {
		e.host = strings.TrimSuffix(e.addr, ":"+port)
	}
	return e, ""
}

// redacted is the URL without credentials, query and fragment.
func redacted(u *url.URL) string {
	if u.Opaque != "" {
		return u.Scheme + ":"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// tlsIdentity is how the certificates of an upstream are verified; equal sums may share connections.
type tlsIdentity struct {
	roots      *x509.CertPool // nil: the system's
	serverName string
	sum        [32]byte
}

func readTLS(cfg *TLSConfig) (*tlsIdentity, error) {
	id := &tlsIdentity{serverName: cfg.ServerName}
	var pem []byte
	if cfg.CA != "" {
		var err error
		if pem, err = os.ReadFile(cfg.CA); err != nil {
			return nil, fmt.Errorf("tls.ca: %w", err)
		}
		id.roots = x509.NewCertPool()
		if !id.roots.AppendCertsFromPEM(pem) {
			return nil, errors.New("tls.ca: the file holds no certificate in PEM form")
		}
	}
	id.sum = sha256.Sum256(fmt.Appendf(nil, "%t %d %s %s", id.roots != nil, len(cfg.ServerName), cfg.ServerName, pem))
	return id, nil
}

func (id *tlsIdentity) config(host string) *tls.Config {
	name := id.serverName
	if name == "" {
		name = host
	}
	return &tls.Config{
		RootCAs: id.roots, ServerName: name, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12,
		ClientSessionCache: tls.NewLRUClientSessionCache(64),
	}
}

// ClientTLS is what other clients of the upstream need to trust it as its calls do; the server's name may be left open.
func ClientTLS(cfg TLSConfig) (*tls.Config, error) {
	id, err := readTLS(&cfg)
	if err != nil {
		return nil, err
	}
	return id.config(""), nil
}
