package shed

import (
	"fmt"
	"math"

	"github.com/oncegate/oncegate/internal/units"
)

// Config is shedding: what this process refuses, by the priority of routes, when it has too much to do.
type Config struct {
	InFlight int         `yaml:"in_flight" default:"0" min:"0" max:"1000000" doc:"Requests at the same time at which the process is full; 0: no bound."`
	Adaptive bool        `yaml:"adaptive" default:"false" doc:"Learn a bound of the requests that wait for an answer from latencies, from 20 to in_flight (10000 when that is 0)."`
	High     units.Share `yaml:"high" default:"90%" min:"1%" doc:"How full the process may be for requests of priority high."`
	Normal   units.Share `yaml:"normal" default:"75%" min:"1%" doc:"The same for priority normal; not above high."`
	Low      units.Share `yaml:"low" default:"50%" min:"1%" doc:"The same for priority low, not above normal; critical may fill all."`
}

// The words of a route's priority.
const (
	Critical = "critical"
	High     = "high"
	Normal   = "normal"
	Low      = "low"
)

const defaultCeiling = 10000

// Validate adds what tags can't say: a lower class never has more room than a higher one.
func (c *Config) Validate(p units.Problems) {
	if c.Normal > c.High {
		p.Key("normal").Add("normal is %s, above high's %s: a lower priority must not get more room", c.Normal, c.High)
	}
	if c.Low > c.Normal {
		p.Key("low").Add("low is %s, above normal's %s: a lower priority must not get more room", c.Low, c.Normal)
	}
}

// share is the part of a bound that a priority may fill; an unknown word counts as normal.
func (c *Config) share(priority string) float64 {
	switch priority {
	case Critical:
		return 1
	case High:
		return float64(c.High)
	case Low:
		return float64(c.Low)
	}
	return float64(c.Normal)
}

// ceiling is the highest bound that may be learned.
func (c *Config) ceiling() float64 {
	if c.InFlight == 0 {
		return defaultCeiling
	}
	return float64(c.InFlight)
}

// room is how many of bound a share may fill: a request is refused when as many as bound*share are there, so one is always
// let in. A little room keeps 7 % of 100 from being 8 in binary fractions.
func room(bound, share float64) uint32 {
	return uint32(max(math.Ceil(bound*share-1e-9), 1))
}

// Words say in one line what is configured.
func (c *Config) Words() string {
	var words string
	switch {
	case c.Adaptive && c.InFlight > 0:
		words = fmt.Sprintf("a learned bound of at most %d", c.InFlight)
	case c.Adaptive:
		words = "a learned bound"
	default:
		words = fmt.Sprintf("at most %d", c.InFlight)
	}
	return fmt.Sprintf("%s at once: high to %s of it, normal to %s, low to %s", words, c.High, c.Normal, c.Low)
}
