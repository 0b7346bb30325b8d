// Package edge holds what both edges share: the configuration of the port.
package edge

import (
	"net"
	"strconv"
	"strings"

	"github.com/oncegate/oncegate/internal/units"
	"github.com/oncegate/oncegate/internal/wire"
)

// Config is listen: the port.
type Config struct {
	Address        string       `yaml:"address" default:":8080" doc:"host:port that clients connect to."`
	TLS            *TLSConfig   `yaml:"tls" doc:"Serve TLS."`
	HTTP2          bool         `yaml:"http2" default:"true" doc:"Serve HTTP/2 on the same port: over TLS by ALPN, on clear text to clients that begin with it (h2c, prior knowledge)."`
	TrustedProxies []string     `yaml:"trusted_proxies" doc:"Networks whose X-Forwarded-* fields are believed."`
	Limits         LimitsConfig `yaml:"limits" doc:"What a client may ask of the gateway."`
	Drain          DrainConfig  `yaml:"drain" doc:"How the gateway stops."`

	ProxyStatus bool `yaml:"proxy_status" default:"false" doc:"Say with Proxy-Status (RFC 9209) what kind of failure an answer of the gateway's own stands for."`
}

// TLSConfig is TLS on the port.
type TLSConfig struct {
	Certificates []CertificateConfig `yaml:"certificates" required:"true" nonempty:"true" doc:"Certificates with their keys."`
	ClientCA     string              `yaml:"client_ca" nonempty:"true" doc:"PEM file of the CAs that sign client certificates; read again when it changes."`
	ClientAuth   string              `yaml:"client_auth" default:"none" enum:"none optional require" doc:"Whether clients are asked for a certificate in the handshake, and whether it fails without one. A bad one fails it always."`
	MinVersion   string              `yaml:"min_version" default:"1.2" enum:"1.2 1.3" doc:"Oldest TLS version."`
}

// CertificateConfig is a certificate with its key.
type CertificateConfig struct {
	Cert string `yaml:"cert" required:"true" doc:"PEM file of the chain."`
	Key  string `yaml:"key" required:"true" doc:"PEM file of the private key."`
}

// LimitsConfig is what a client may ask of the gateway.
type LimitsConfig struct {
	Header           units.Size     `yaml:"header" default:"16KiB" min:"1KiB" max:"1MiB" doc:"Request line and header fields together; more is 431."`
	Headers          int            `yaml:"headers" default:"100" min:"1" max:"1000" doc:"Number of header fields; more is 431."`
	Body             units.Size     `yaml:"body" default:"8MiB" doc:"Request body unless the route says otherwise; more is 413."`
	ReadTimeout      units.Duration `yaml:"read_timeout" default:"10s" min:"10ms" doc:"The head as a whole, and each pause in a body."`
	WriteTimeout     units.Duration `yaml:"write_timeout" default:"60s" min:"10ms" doc:"Each pause while the client takes the answer."`
	IdleTimeout      units.Duration `yaml:"idle_timeout" default:"60s" min:"10ms" doc:"A connection without a request."`
	ConnectionAge    units.Duration `yaml:"connection_age" default:"0s" doc:"The first answer after this age, give or take a tenth, ends its connection (HTTP/2: GOAWAY, running requests end in peace), so that clients spread over gateways again. WebSockets stay. 0s: never."`
	Connections      int            `yaml:"connections" default:"20000" min:"1" doc:"Connections at once."`
	ConnectionsPerIP int            `yaml:"connections_per_ip" default:"0" min:"0" doc:"Connections of one address at once; 0: not limited."`

	Streams int `yaml:"streams" default:"128" min:"1" max:"10000" doc:"Requests at once on one HTTP/2 connection."`

	FailedTokensPerIP units.Share `yaml:"failed_tokens_per_ip" default:"1%" doc:"How much of one processor the failing tokens of one address may take; then tokens from it that were not seen before are 429 until it is paid back. As much again for proofs (DPoP), and for passwords. 0%: not limited."`
}

// DrainConfig is how the gateway stops.
type DrainConfig struct {
	Notice  units.Duration `yaml:"notice" default:"2s" doc:"Not ready, but still serving."`
	Timeout units.Duration `yaml:"timeout" default:"30s" min:"1ms" doc:"Time for running requests after that."`
}

// asksClients reports that handshakes ask for certificates.
func (c *TLSConfig) asksClients() bool { return c.ClientAuth != "" && c.ClientAuth != "none" }

// Validate checks that there are CAs for the certificates that are asked for.
func (c *TLSConfig) Validate(p units.Problems) {
	if c.asksClients() && c.ClientCA == "" {
		p.Key("client_auth").Add("%s needs client_ca: the CAs that sign client certificates", c.ClientAuth)
	}
}

// IdleCA reports CAs that no handshake needs, because it asks for no certificate.
func (c *TLSConfig) IdleCA() bool { return !c.asksClients() && c.ClientCA != "" }

// Validate checks the address and the networks.
func (c *Config) Validate(p units.Problems) {
	host, port, err := net.SplitHostPort(c.Address)
	n, portErr := strconv.ParseUint(port, 10, 32)
	switch {
	case err != nil || strings.ContainsAny(host, " \t/@?#"):
		p.Key("address").Add("%q is not host:port, such as 127.0.0.1:8080 or :8080", c.Address)
	case portErr != nil || n > 65535:
		p.Key("address").Add("%q has no port from 0 to 65535", c.Address)
	}
	for i, network := range c.TrustedProxies {
		if _, err := wire.ParseProxies([]string{network}); err != nil {
			p.Key("trusted_proxies").Index(i).Add("%q is neither a network such as 10.0.0.0/8 nor an address", network)
		}
	}
}
