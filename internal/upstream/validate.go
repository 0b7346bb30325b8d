package upstream

import "github.com/oncegate/oncegate/internal/units"

// Validate reports what the tags can't say: targets are there, and each is a URL that can be called.
func (c *Config) Validate(p units.Problems) {
	if len(c.Targets) == 0 {
		p.Missing("targets", "targets are missing: give at least one URL")
	}
	for i := range c.Targets {
		if _, problem := parseTarget(c.Targets[i].URL); problem != "" && c.Targets[i].URL != "" {
			p.Key("targets").Index(i).Add("target %s", problem)
		}
	}
}
