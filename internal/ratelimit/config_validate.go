package ratelimit

import (
	"maps"
	"slices"
	"time"

	"github.com/oncegate/oncegate/internal/units"
)

// Validate says what the tags can't: one kind of number, the identity, and that a request fits into the bucket.
func (c *Config) Validate(p units.Problems) {
	c.numbers().validate(p, "a limit needs a rate such as 100/s, a quota such as 10000/d, or in_flight")
	c.validateQuota(p)
	c.validatePlans(p.Key("plans"))
	c.validateCost(p.Key("cost"))
	c.validateReserve(p.Key("reserve"))
	c.validateBy(p.Key("by"))
}

// validateQuota checks the calendar.
func (c *Config) validateQuota(p units.Problems) {
	quota := c.numbers().kind() == Window
	if c.Rolling && !quota {
		p.Key("rolling").Add("belongs to a quota, such as 10000/d")
	}
	switch zone := c.Zone; {
	case zone == "" || zone == "UTC":
	case !quota:
		p.Key("zone").Add("belongs to a quota, such as 10000/d")
	case c.Rolling:
		p.Key("zone").Add("a rolling period begins with the request, in no zone")
	default:
		if _, err := zoneOf(zone); err != nil {
			p.Key("zone").Add("%q is not a time zone such as UTC or Europe/Berlin", zone)
		}
	}
}

// zoneOf is the calendar's zone. Local would differ from gateway to gateway.
func zoneOf(name string) (*time.Location, error) {
	switch name {
	case "", "UTC":
		return time.UTC, nil
	case "Local":
		name = "/"
	}
	return time.LoadLocation(name)
}

func (c *Config) validateReserve(p units.Problems) {
	base := c.numbers()
	switch {
	case c.Reserve <= 0:
	case base.kind() != Bucket || !base.counts():
		p.Add("is a part of the burst: only a limit with a rate such as 100/s has one")
	default:
		all, free := c.least(true), c.least(false)
		if all.tokens == free.tokens && base.given() {
			p.Add("%s of the %d tokens of a full bucket%s is less than one token", c.Reserve, int64(all.tokens), all.words)
		}
	}
}

func (c *Config) validateBy(p units.Problems) {
	for i, word := range c.By {
		at := p
		if len(c.By) > 1 {
			at = p.Index(i)
		}
		if slices.Contains(c.By[:i], word) {
			at.Add("%q stands twice", word)
		}
		validatePart(at, word)
	}
	if len(c.By) > maxParts {
		p.Add("has %d parts, at most %d make an identity", len(c.By), maxParts)
	}
}

func validatePart(p units.Problems, word string) {
	if _, ok := parseBy(word); ok {
		return
	}
	kind, name, named := cutBy(word)
	switch {
	case name == "" && (kind == "header" || kind == "claim"):
		p.Add("%q needs a name: %s:Name", word, kind)
	case kind == "header": // the name is no token
		p.Add("%q is not the name of a header", name)
	case named:
		p.Unknown("identity", word, []string{"header:" + name, "claim:" + name})
	default:
		p.Unknown("identity", word, []string{"client", "ip", "route", "all", "header:Name", "claim:name"})
	}
}

func sorted[T any](table map[string]T) []string { return slices.Sorted(maps.Keys(table)) }
