package breaker

import "github.com/oncegate/oncegate/internal/units"

// Config is an upstream's breaker.
type Config struct {
	Window      units.Duration `yaml:"window" default:"10s" min:"1s" max:"10m" doc:"The time that is judged."`
	Minimum     int            `yaml:"minimum" default:"20" min:"1" doc:"Calls in the window below which nothing is judged."`
	FailureRate units.Share    `yaml:"failure_rate" default:"50%" min:"1%" doc:"Share of failed calls that opens."`
	Slow        units.Duration `yaml:"slow" default:"0s" doc:"A call that takes longer is slow; 0s: none is."`
	SlowRate    units.Share    `yaml:"slow_rate" default:"80%" min:"1%" doc:"Share of slow calls that opens."`
	Consecutive int            `yaml:"consecutive" default:"0" min:"0" doc:"Failures in a row that open; 0: not counted."`
	Open        units.Duration `yaml:"open" default:"5s" min:"10ms" max:"10m" doc:"How long calls are refused before probes."`
	Probes      int            `yaml:"probes" default:"3" min:"1" max:"100" doc:"Probes at once, and successes in a row that close."`
}
