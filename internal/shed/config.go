package shed

import "github.com/oncegate/oncegate/internal/units"

// Config is shedding: what this process refuses, by the priority of routes, when it has too much to do.
type Config struct {
	InFlight int         `yaml:"in_flight" default:"0" min:"0" doc:"Requests at the same time at which the process is full; 0: no bound."`
	Adaptive bool        `yaml:"adaptive" default:"false" doc:"Learn the bound from latencies, below in_flight."`
	High     units.Share `yaml:"high" default:"90%" doc:"How full the process may be for requests of priority high."`
	Normal   units.Share `yaml:"normal" default:"75%" doc:"The same for priority normal."`
	Low      units.Share `yaml:"low" default:"50%" doc:"The same for priority low; critical may fill all."`
}

// The words of a route's priority.
const (
	Critical = "critical"
	High     = "high"
	Normal   = "normal"
	Low      = "low"
)
