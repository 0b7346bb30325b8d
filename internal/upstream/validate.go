package upstream

import (
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/oncegate/oncegate/internal/units"
	"github.com/oncegate/oncegate/internal/upstream/health"
)

// Validate reports what the tags can't say: targets are there or can be found, and each is a URL that can be called.
func (c *Config) Validate(p units.Problems) {
	switch {
	case len(c.Targets) == 0 && c.DNS == nil:
		p.Missing("targets", "targets are missing: give at least one URL, or dns: { name, port }")
	case len(c.Targets) > 0 && c.DNS != nil:
		p.Key("dns").Add("stands beside targets: an upstream has either")
	}
	for i := range c.Targets {
		if _, problem := parseTarget(c.Targets[i].URL); problem != "" && c.Targets[i].URL != "" {
			p.Key("targets").Index(i).Add("target %s", problem)
		}
	}
	if len(c.Targets) > maxTargets {
		p.Key("targets").Add("are %d, more than %d", len(c.Targets), maxTargets)
	}
	c.validateHash(p.Key("hash_by"))
	c.validateTLS(p)
	if c.Health != nil && c.Health.Type == "grpc" && !c.all(multiplexed) && !c.HTTP2 {
		p.Key("health").Key("type").Add("grpc needs targets that are called over HTTP/2: grpc, grpcs, h2c, or https with http2: true")
	}
}

// SpeaksGRPC tells that a target is named as one of gRPC.
func (c *Config) SpeaksGRPC() bool {
	return slices.ContainsFunc(c.schemes(), func(s string) bool { return s == "grpc" || s == "grpcs" })
}

// Multiplexed is the scheme of a target that is called over HTTP/2 and nothing else; "": there is none.
func (c *Config) Multiplexed() string {
	if i := slices.IndexFunc(c.schemes(), multiplexed); i >= 0 {
		return c.schemes()[i]
	}
	return ""
}

// all tells that a scheme's quality is that of every target.
func (c *Config) all(is func(scheme string) bool) bool {
	for _, s := range c.schemes() {
		if !is(s) {
			return false
		}
	}
	return true
}

func (c *Config) schemes() (all []string) {
	if c.DNS != nil {
		return []string{c.DNS.Scheme}
	}
	for i := range c.Targets {
		if e, problem := parseTarget(c.Targets[i].URL); problem == "" {
			all = append(all, e.scheme)
		}
	}
	return all
}

// validateTLS: what would have no effect is a mistake.
func (c *Config) validateTLS(p units.Problems) {
	at, plain := p.Key("tls"), c.all(func(scheme string) bool { return !encrypted(scheme) }) && len(c.schemes()) > 0
	switch {
	case c.TLS.Cert != "" && c.TLS.Key == "":
		at.Key("cert").Add("needs key beside it")
	case c.TLS.Key != "" && c.TLS.Cert == "":
		at.Key("key").Add("needs cert beside it")
	case c.TLS.Cert != "" && plain:
		at.Key("cert").Add("is never shown: no target is called with TLS")
	}
	if c.HTTP2 && !slices.Contains(c.schemes(), "https") {
		p.Key("http2").Add("is read by https targets only; h2c, grpc and grpcs are HTTP/2 by themselves")
	}
}

// maxTargets keeps tables small; places in them are 16 bits wide.
const maxTargets = 1000

func (c *Config) validateHash(p units.Problems) {
	name, header := strings.CutPrefix(c.HashBy, "header:")
	switch {
	case c.HashBy == "":
	case c.Balance != "hash":
		p.Add("is read by balance: hash only")
	case header && !isToken(name):
		p.Add("%q is not the name of a header field", name)
	case !header && c.HashBy != "client" && c.HashBy != "ip":
		p.Unknown("key", c.HashBy, []string{"client", "ip", "header:X-Tenant"})
	}
}

func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// Validate checks that the name can be asked for, and the server's address.
func (c *DNSConfig) Validate(p units.Problems) {
	if c.Name != "" && !isDNSName(c.Name) {
		p.Key("name").Add("%q is not a DNS name; scheme and port stand beside it", c.Name)
	}
	if c.Resolver == "" {
		return
	}
	host, port, err := net.SplitHostPort(c.Resolver)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 || host == "" {
		p.Key("resolver").Add("%q is not host:port, such as 127.0.0.1:5353", c.Resolver)
	}
}

func isDNSName(name string) bool {
	name = strings.TrimSuffix(name, ".")
	if len(name) > 253 || net.ParseIP(name) != nil {
		return false
	}
	for _, label := range strings.Split(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			return false
		}
	}
	return true
}

// Validate checks that the longest time is one.
func (c *EjectionConfig) Validate(p units.Problems) {
	if c.MaxTime < c.Time {
		p.Key("max_time").Add("is less than time, %s", c.Time)
	}
}

// Validate checks what is asked and what is expected.
func (c *HealthConfig) Validate(p units.Problems) {
	if c.Service != "" && c.Type != "grpc" {
		p.Key("service").Add("is read by type: grpc only")
	}
	if !strings.HasPrefix(c.Path, "/") || strings.ContainsAny(c.Path, " #\x7f") || strings.ContainsFunc(c.Path, func(r rune) bool { return r < ' ' || r > '~' }) {
		p.Key("path").Add("%q is not a path such as /healthz", c.Path)
	}
	if _, err := health.ParseStatuses(c.Expect); err != nil {
		p.Key("expect").Add("%s", err)
	}
}
