package bulkhead

import (
	"fmt"
	"time"

	"github.com/oncegate/oncegate/internal/units"
)

// Config is an upstream's bulkhead.
type Config struct {
	InFlight int            `yaml:"in_flight" default:"1024" min:"1" max:"1000000" doc:"Calls at once; with adaptive the most that may be found."`
	Queue    int            `yaml:"queue" default:"0" min:"0" max:"100000" doc:"Calls that may wait for a place; the newest gets the next one."`
	Wait     units.Duration `yaml:"wait" default:"100ms" max:"1m" doc:"Longest wait for a place."`
	Adaptive string         `yaml:"adaptive" default:"false" enum:"false true shadow" doc:"Find the number of calls at once from their latency (Gradient2); shadow finds it, shows it in a metric and refuses nothing by it."`
	Least    int            `yaml:"least" default:"20" min:"1" doc:"Calls at once that adaptive never goes below."`
}

// Settings are a Config in plain types. They travel with each call, so a reload changes them and forgets nothing.
type Settings struct {
	InFlight, Queue, Least int
	Wait                   time.Duration
	Learn, Enforce         bool // adaptive; shadow learns and does not enforce
}

// Settings gives the plain form.
func (c Config) Settings() Settings {
	return Settings{
		InFlight: c.InFlight, Queue: c.Queue, Least: min(c.Least, c.InFlight), Wait: c.Wait.Std(),
		Learn: c.Adaptive == "true" || c.Adaptive == "shadow", Enforce: c.Adaptive == "true",
	}
}

// Words says what the layer does, for explain.
func (c *Config) Words() string {
	text := fmt.Sprintf("at most %d calls at once", c.InFlight)
	if c.Adaptive == "true" {
		text = fmt.Sprintf("%d to %d calls at once, as their latency tells", c.Settings().Least, c.InFlight)
	}
	if c.Queue > 0 {
		text += fmt.Sprintf(", %d more wait up to %s", c.Queue, c.Wait)
	}
	return text
}
