package ratelimit

import (
	"github.com/oncegate/oncegate/internal/units"
)

// Use is one limit of a route: its name alone, or with what a request of this route costs.
type Use struct {
	Name string `yaml:"name" required:"true" nonempty:"true" doc:"A name of rate_limits."`
	Cost *int   `yaml:"cost" min:"0" max:"1000000000" doc:"Tokens that a request of this route takes, whatever the limit says; 0 looks and takes nothing."`
}

// FromScalar takes the name alone.
func (u *Use) FromScalar(text string) error { u.Name = text; return nil }

// Scalar is the name, if nothing else is said.
func (u Use) Scalar() (string, bool) { return u.Name, u.Cost == nil }

// Of is the limit as the route uses it.
func (u Use) Of(l *Limit) *Limit {
	if u.Cost == nil {
		return l
	}
	return l.withCost(float64(*u.Cost))
}

// Shadowed is the limit as a shadow, which counts in the same buckets.
func (l *Limit) Shadowed() *Limit {
	other := *l
	other.shadow = true
	if other.onMissing == missingReject {
		other.onMissing = missingNext
	}
	if l.plans != nil {
		other.plans = make(map[string]*Limit, len(l.plans))
		for value, plan := range l.plans {
			other.plans[value] = plan.Shadowed()
		}
	}
	return &other
}

// Fits adds a problem, and returns false, when a request of a route that uses the limit could never pass. What is reserved is
// out of reach unless the route is critical.
func (u Use) Fits(p units.Problems, c *Config, critical bool) bool {
	cost, holds := c.Cost.most(), c.least(critical)
	if u.Cost != nil {
		cost, p = *u.Cost, p.Key("cost")
	}
	switch {
	case c.numbers().kind() == Slots:
		if u.Cost != nil && cost != 1 {
			p.Add("a request takes one place of in_flight, no more and no less")
			return false
		}
		return true
	case float64(cost) <= holds.tokens:
		return true
	case c.Reserve > 0 && !critical:
		p.Add("a request costs %d tokens, but a full bucket%s holds only %d that are not reserved: every request would be refused", cost, holds.words, int64(holds.tokens))
	default:
		p.Add("a request costs %d tokens, but a full bucket%s holds only %d: every request would be refused", cost, holds.words, int64(holds.tokens))
	}
	return false
}

// CountsAddresses reports whether the limit may count failed logins: a bucket for each address, the same for all.
func (c *Config) CountsAddresses() bool {
	n := c.numbers()
	return n.kind() == Bucket && n.counts() && len(c.By) == 1 && c.By[0] == "ip" && len(c.Plans) == 0
}
