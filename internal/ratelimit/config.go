package ratelimit

import "github.com/oncegate/oncegate/internal/units"

// Config is one entry of rate_limits: a named bucket. All routes that use the name share its buckets.
type Config struct {
	Rate           units.Rate     `yaml:"rate" doc:"Tokens that come back, such as 100/s."`
	Burst          int            `yaml:"burst" min:"1" doc:"Tokens that a full bucket holds; by default those of one second, at least 1."`
	Quota          string         `yaml:"quota" later:"true" doc:"A count per calendar period, such as 10000/d."`
	By             string         `yaml:"by" default:"client" doc:"Whose bucket: client, ip, route, all, header:Name or claim:name."`
	Scope          string         `yaml:"scope" default:"local" enum:"local shared" later:"true" doc:"local: this process; shared: the fleet."`
	Plans          map[string]any `yaml:"plans" later:"true" doc:"Other rates by the value of a claim."`
	OnStoreFailure string         `yaml:"on_store_failure" default:"local" enum:"local allow deny" doc:"What to do while a shared store is down."`
	OnMissing      string         `yaml:"on_missing" default:"next" enum:"next reject shared" doc:"Without the identity: next counts by address, reject is 401, shared is one bucket for all."`
	Cost           int            `yaml:"cost" default:"1" min:"1" doc:"Tokens that one request takes."`
	Mode           string         `yaml:"mode" default:"enforce" enum:"enforce shadow" doc:"shadow decides and counts but refuses nothing."`
}
