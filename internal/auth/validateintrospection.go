package auth

import (
	"github.com/oncegate/oncegate/internal/auth/introspect"
	"github.com/oncegate/oncegate/internal/units"
)

// validate checks the endpoint, and finds what only a signed token could be held to; p is the issuer's.
func (c *IntrospectionConfig) validate(i *IssuerConfig, p units.Problems) {
	if c.URL != "" {
		if err := introspect.CheckURL(c.URL); err != nil {
			p.Key("introspection").Key("url").Add("%s", err)
		}
	}
	if len(i.Algorithms) > 0 {
		p.Key("algorithms").Add("introspection checks no signature: leave algorithms out")
	}
	if i.Typ != "" {
		p.Key("typ").Add("introspection sees no header of a token, so typ can't be demanded")
	}
}
