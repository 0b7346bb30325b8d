package dpop

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/oncegate/oncegate/internal/auth/keyset"
	"github.com/oncegate/oncegate/internal/units"
)

// Config is what an issuer's tokens need besides when they are bound to a key.
type Config struct {
	Required   bool           `yaml:"required" default:"false" doc:"Refuse tokens of the issuer that are bound to no key."`
	Base       string         `yaml:"base" required:"true" nonempty:"true" doc:"Scheme, host and port that clients call, as it stands in htu: https://api.example.com. A request's Host does not count."`
	Nonce      bool           `yaml:"nonce" default:"false" doc:"Demand a nonce of the gateway in every proof (DPoP-Nonce)."`
	Window     units.Duration `yaml:"window" default:"60s" min:"1s" max:"5m" doc:"How far a proof's iat may be from now, in both directions; also the time after which nonces rotate."`
	Algorithms []string       `yaml:"algorithms" default:"[ES256, EdDSA, PS256, RS256]" nonempty:"true" doc:"Signature algorithms of proofs; asymmetric ones."`
}

const usualWindow = time.Minute

var usualAlgorithms = []string{"ES256", "EdDSA", "PS256", "RS256"}

// Validate finds a base that no htu can have, and algorithms that prove nothing.
func (c *Config) Validate(p units.Problems) {
	if _, err := parseBase(c.Base); c.Base != "" && err != nil {
		p.Key("base").Add("%s", err)
	}
	known := slices.DeleteFunc(keyset.Names(), func(name string) bool { return keyset.Find(name).Family == keyset.HMAC })
	for i, name := range c.Algorithms {
		at, algorithm := p.Key("algorithms").Index(i), keyset.Find(name)
		switch {
		case strings.EqualFold(name, "none"):
			at.Add("%q means no signature at all and is never accepted", name)
		case algorithm == nil:
			at.Unknown("algorithm", name, known)
		case algorithm.Family == keyset.HMAC:
			at.Add("%s is symmetric: a proof shows a private key, so it takes RS*, PS*, ES* and EdDSA", name)
		case slices.Contains(c.Algorithms[:i], name):
			at.Add("%s stands here twice", name)
		}
	}
}

// base is scheme and authority in their normal form: lower case, without the scheme's own port.
type base struct{ scheme, authority string }

func (b base) String() string { return b.scheme + "://" + b.authority }

// parseBase takes https://host[:port], and http on loopback: a token that travels in the clear is anybody's.
func parseBase(text string) (base, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || u.User != nil:
		return base{}, fmt.Errorf("%q is not scheme and host, such as https://api.example.com", text)
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || strings.ContainsAny(text, "#?"):
		return base{}, fmt.Errorf("%q has more than scheme, host and port: the path is each request's own", text)
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return base{}, fmt.Errorf("%q has to be https, or http on loopback", text)
	}
	return base{u.Scheme, normal(u.Scheme, u.Host)}, nil
}

// normal brings a host with its port to lower case and takes the scheme's own port off (RFC 9449, 4.3; RFC 3986, 6.2.3).
func normal(scheme, authority string) string {
	authority = strings.ToLower(authority)
	own := ":443"
	if scheme == "http" {
		own = ":80"
	}
	return strings.TrimSuffix(strings.TrimSuffix(authority, own), ":")
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback()
}
