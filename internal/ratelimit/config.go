package ratelimit

import "github.com/oncegate/oncegate/internal/units"

// Config is one entry of rate_limits: a named bucket. All routes that use the name share its buckets.
type Config struct {
	Rate           units.Rate     `yaml:"rate" doc:"Tokens that come back, such as 100/s."`
	Burst          int            `yaml:"burst" min:"1" max:"1000000000" doc:"Tokens that a full bucket holds; by default those of one second, at least 1."`
	Quota          string         `yaml:"quota" later:"true" doc:"A count per calendar period, such as 10000/d."`
	By             string         `yaml:"by" default:"client" doc:"Whose bucket: client, ip, route, all, header:Name or claim:name."`
	Scope          string         `yaml:"scope" default:"local" enum:"local shared" later:"true" doc:"local: this process; shared: the fleet."`
	Plans          map[string]any `yaml:"plans" later:"true" doc:"Other rates by the value of a claim."`
	OnStoreFailure string         `yaml:"on_store_failure" default:"local" enum:"local allow deny" doc:"What to do while a shared store is down."`
	OnMissing      string         `yaml:"on_missing" default:"next" enum:"next reject shared" doc:"Without the identity: next counts by address, reject is 401, shared is one bucket for all."`
	Cost           int            `yaml:"cost" default:"1" min:"1" doc:"Tokens that one request takes."`
	Mode           string         `yaml:"mode" default:"enforce" enum:"enforce shadow" doc:"shadow decides and counts but refuses nothing."`
}

// Bounds that keep arithmetic and header fields sane: no one means a bucket that takes longer than ten years to fill.
const (
	maxRate     = 1e9              // tokens a second
	maxBurst    = 1_000_000_000    // tokens
	maxFillTime = 10 * 366 * 86400 // seconds
)

// Validate says what the tags can't: the rate, the identity, and that a request fits into the bucket.
func (c *Config) Validate(p units.Problems) {
	rate := c.Rate.PerSecond()
	burst := burstOf(c.Burst, rate)
	switch {
	case c.Rate.Count == 0 && c.Quota == "":
		p.Missing("rate", "a limit needs a rate such as 100/s")
	case c.Rate.Count == 0: // a quota alone
	case !(rate > 0 && rate <= maxRate):
		p.Key("rate").Add("%s is outside what can be counted: more than 0 and at most 1000000000/s", c.Rate)
	case burst/rate > maxFillTime:
		p.Key("rate").Add("at %s a bucket of %d takes more than ten years to fill", c.Rate, int64(burst))
	}
	if c.Burst < 0 || c.Burst > maxBurst {
		p.Key("burst").Add("%d is not a number of tokens from 1 to %d", c.Burst, maxBurst)
	}
	if c.Rate.Count > 0 && c.Burst >= 0 && float64(c.Cost) > burst {
		p.Key("cost").Add("a request costs %d tokens, but a full bucket holds only %d: every request would be refused", c.Cost, int64(burst))
	}
	c.validateBy(p.Key("by"))
}

func (c *Config) validateBy(p units.Problems) {
	if _, ok := parseBy(c.By); ok {
		return
	}
	kind, name, named := cutBy(c.By)
	switch {
	case name == "" && (kind == "header" || kind == "claim"):
		p.Add("%q needs a name: %s:Name", c.By, kind)
	case kind == "header": // the name is no token
		p.Add("%q is not the name of a header", name)
	case named:
		p.Unknown("identity", c.By, []string{"header:" + name, "claim:" + name})
	default:
		p.Unknown("identity", c.By, []string{"client", "ip", "route", "all", "header:Name", "claim:name"})
	}
}
