package breaker

import (
	"time"

	"github.com/oncegate/oncegate/internal/units"
)

// Config is an upstream's breaker.
type Config struct {
	Window      units.Duration `yaml:"window" default:"10s" min:"1s" max:"10m" doc:"The time that is judged."`
	Minimum     int            `yaml:"minimum" default:"20" min:"1" doc:"Calls in the window below which nothing is judged."`
	FailureRate units.Share    `yaml:"failure_rate" default:"50%" min:"1%" doc:"Share of failed calls that opens."`
	Slow        units.Duration `yaml:"slow" default:"0s" doc:"A call that takes longer is slow; 0s: none is."`
	SlowRate    units.Share    `yaml:"slow_rate" default:"80%" min:"1%" doc:"Share of slow calls that opens."`
	Consecutive int            `yaml:"consecutive" default:"0" min:"0" doc:"Failures in a row that open; 0: not counted."`
	Open        units.Duration `yaml:"open" default:"5s" min:"10ms" max:"10m" doc:"How long calls are refused before probes; it doubles with each opening that probes did not end."`
	MaxOpen     units.Duration `yaml:"max_open" default:"1m" max:"1h" doc:"Longest time that open grows to; below open it does not grow."`
	Probes      int            `yaml:"probes" default:"3" min:"1" max:"100" doc:"Probes at once, and successes in a row that close."`
}

// Settings are a Config in plain types. They travel with each call, so a reload changes them and forgets nothing.
type Settings struct {
	Window, Slow          time.Duration
	Open, MaxOpen         time.Duration
	FailureRate, SlowRate float64 // 0 to 1
	Minimum, Consecutive  int
	Probes                int // 1 to 100
}

// Settings gives the plain form.
func (c Config) Settings() Settings {
	return Settings{
		Window: c.Window.Std(), Slow: c.Slow.Std(), Open: c.Open.Std(), MaxOpen: c.MaxOpen.Std(),
		FailureRate: float64(c.FailureRate), SlowRate: float64(c.SlowRate),
		Minimum: c.Minimum, Consecutive: c.Consecutive, Probes: c.Probes,
	}
}
