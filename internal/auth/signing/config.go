package signing

import (
	"slices"
	"strings"
	"unicode"

	"github.com/oncegate/oncegate/internal/units"
)

// Config is internal_token: how the gateway signs what it tells upstreams.
type Config struct {
	Issuer string         `yaml:"issuer" required:"true" nonempty:"true" doc:"iss of the tokens: a URL that names the gateway, such as https://gateway.internal."`
	Keys   []string       `yaml:"keys" required:"true" nonempty:"true" doc:"Files with Ed25519 keys in PEM. The first one signs, the public halves of all are published at /.well-known/jwks.json of the admin port."`
	TTL    units.Duration `yaml:"ttl" default:"60s" min:"10s" max:"5m" doc:"How long a token lives."`
}

// Validate finds what tags can't say. Key files are read by New.
func (c *Config) Validate(p units.Problems) {
	if strings.ContainsFunc(c.Issuer, unicode.IsControl) || strings.TrimSpace(c.Issuer) != c.Issuer {
		p.Key("issuer").Add("%q is not a name such as https://gateway.internal", c.Issuer)
	}
	if len(c.Keys) > maxKeys {
		p.Key("keys").Add("at most %d keys", maxKeys)
	}
	for i, name := range c.Keys {
		if name == "" || slices.Contains(c.Keys[:i], name) {
			p.Key("keys").Index(i).Add("%q is empty or stands here twice", name)
		}
	}
}

// CheckFiles reads the key files, as New does.
func (c *Config) CheckFiles(p units.Problems) {
	if _, err := readKeys(c.Keys); err != nil {
		p.Key("keys").Add("%s", err)
	}
}
