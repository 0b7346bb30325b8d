package config

import (
	"slices"
	"strings"

	"github.com/oncegate/oncegate/internal/ratelimit"
	"github.com/oncegate/oncegate/internal/shed"
	"github.com/oncegate/oncegate/internal/units"
)

// shared checks that limits of the fleet have a place where the fleet counts.
func (c *cross) shared(p units.Problems) {
	if len(c.doc.State.Redis.Addresses) > 0 || !c.fineBelow("state") || !c.fine("state") {
		return
	}
	for _, name := range sortedNames(c.doc.RateLimits) {
		if c.doc.RateLimits[name].Scope == "shared" {
			p.Key(name).Key("scope").Add("shared needs state.redis.addresses: there the fleet counts together")
		}
	}
}

// limits checks what a route or defaults says of limits itself.
func (c *cross) limits(p units.Problems, given *node, uses []ratelimit.Use, logins string, critical bool) {
	if list := given.get("rate_limits"); list != nil {
		for j, use := range uses {
			c.use(p.Key("rate_limits").Index(j), list.items[j], use, critical)
			if slices.ContainsFunc(uses[:j], func(u ratelimit.Use) bool { return u.Name == use.Name && (u.Cost != nil || use.Cost != nil) }) {
				p.Key("rate_limits").Index(j).Add("%q stands twice, with another cost", use.Name)
			}
		}
	}
	if given.get("failed_logins") != nil && logins != "" {
		c.logins(p.Key("failed_logins"), logins)
	}
}

// inherited: what fits for critical routes may not fit for one that has the limits from defaults.
func (c *cross) inherited(p units.Problems, r *RouteConfig) {
	for _, use := range r.RateLimits {
		limit, ok := c.doc.RateLimits[use.Name]
		if !ok || r.Priority == shed.Critical || !c.fineBelow("rate_limits."+use.Name) {
			continue
		}
		if loose := units.NewProblems(); use.Fits(loose, &limit, true) {
			use.Fits(p, &limit, false)
		}
	}
}

func (c *cross) use(p units.Problems, given *node, use ratelimit.Use, critical bool) {
	at := p
	if given.kind == mappingNode {
		at = p.Key("name")
	}
	c.name(at, "limit", use.Name, sortedNames(c.doc.RateLimits), "rate_limits")
	if limit, ok := c.doc.RateLimits[use.Name]; ok && c.fineBelow("rate_limits."+use.Name) {
		use.Fits(p, &limit, critical)
	}
}

// logins: only an address is known of whoever fails to log in, and a place of in_flight would never be left.
func (c *cross) logins(p units.Problems, name string) {
	c.name(p, "limit", name, sortedNames(c.doc.RateLimits), "rate_limits")
	limit, ok := c.doc.RateLimits[name]
	switch {
	case !ok || !c.fineBelow("rate_limits."+name):
	case !limit.CountsAddresses():
		p.Add("%q does not fit: refused credentials are counted by a limit with a rate and by: ip, without plans", name)
	}
}

// otherNumber: a limit whose quota or in_flight could not be read does not lack a rate.
func (r *report) otherNumber(p units.Problem) bool {
	limit, ok := strings.CutSuffix(p.Path, ".rate")
	return ok && p.Place == units.AtParent && (r.covered(limit+".quota") || r.covered(limit+".in_flight"))
}
