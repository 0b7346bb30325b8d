package upstream

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// endpoint is a target's URL, taken apart.
type endpoint struct {
	scheme string
	addr   string // host:port to dial
	host   string // as a Host field names it: the port only when it is not the scheme's own
	name   string // for the certificate
	speaks protocol
}

// protocol is how a target is called.
type protocol uint8

const (
	overHTTP1  protocol = iota
	overHTTP2           // nothing else
	overEither          // HTTP/2 when the TLS handshake chooses it, else HTTP/1.1
)

// offers are a protocol's names in a TLS handshake, the best first.
func (p protocol) offers() []string {
	switch p {
	case overHTTP1:
		return []string{"http/1.1"}
	case overHTTP2:
		return []string{"h2"}
	}
	return []string{"h2", "http/1.1"}
}

// protocolOf: some schemes mean HTTP/2, for https a word does.
func (c *Config) protocolOf(scheme string) protocol {
	switch {
	case multiplexed(scheme):
		return overHTTP2
	case c.HTTP2 && scheme == "https":
		return overEither
	}
	return overHTTP1
}

func (e endpoint) String() string { return e.scheme + "://" + e.host }

// defaultPorts are those of the schemes. A gRPC target without a port would be a guess.
var defaultPorts = map[string]string{"http": "80", "https": "443", "h2c": "80"}

var schemes = []string{"http", "https", "h2c", "grpc", "grpcs"}

// encrypted tells that a scheme means TLS.
func encrypted(scheme string) bool { return scheme == "https" || scheme == "grpcs" }

// multiplexed tells that a scheme means HTTP/2 whatever else is set.
func multiplexed(scheme string) bool { return scheme == "h2c" || scheme == "grpc" || scheme == "grpcs" }

// parseTarget takes a URL apart. The problem is "" when it is fine; it never shows credentials.
func parseTarget(text string) (e endpoint, problem string) {
	u, err := url.Parse(text)
	if err != nil {
		return e, "is not a URL" // the error quotes it
	}
	shown := redacted(u)
	scheme := strings.ToLower(u.Scheme)
	switch {
	case !slices.Contains(schemes, scheme):
		return e, fmt.Sprintf("%q is not a URL with the scheme http, https, h2c, grpc or grpcs", shown)
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
	if port == "" {
		return endpoint{}, fmt.Sprintf("%q has no port, and %s has none of its own", shown, scheme)
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
