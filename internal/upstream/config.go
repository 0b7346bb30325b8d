package upstream

import (
	"github.com/oncegate/oncegate/internal/units"
)

// Config is one entry of upstreams, without its breaker (internal/breaker).
type Config struct {
	Targets     []TargetConfig    `yaml:"targets" nonempty:"true" doc:"Where calls go: URLs with scheme, host and port."`
	DNS         *DNSConfig        `yaml:"dns" later:"true" doc:"Targets from a DNS name."`
	Balance     string            `yaml:"balance" default:"round_robin" enum:"round_robin least_request ewma hash" later:"true" doc:"How a target is picked."`
	HashBy      string            `yaml:"hash_by" later:"true" doc:"What hash balancing looks at: client, ip or header:Name."`
	Timeout     TimeoutConfig     `yaml:"timeout" doc:"Limits of each step."`
	Connections ConnectionsConfig `yaml:"connections" doc:"The pool of each target."`
	Health      *HealthConfig     `yaml:"health" later:"true" doc:"Active health checks."`
	TLS         TLSConfig         `yaml:"tls" doc:"TLS to the targets."`
}

// TargetConfig is one target: a URL, or a URL with a weight.
type TargetConfig struct {
	URL    string `yaml:"url" required:"true" doc:"http://host:port; https and more schemes as they are built."`
	Weight int    `yaml:"weight" default:"1" min:"1" max:"1000" doc:"Its part of the calls."`
}

// FromScalar takes the URL alone.
func (t *TargetConfig) FromScalar(text string) error { t.URL = text; return nil }

// TimeoutConfig bounds the steps of a call.
type TimeoutConfig struct {
	Connect   units.Duration `yaml:"connect" default:"1s" min:"1ms" doc:"TCP and TLS."`
	FirstByte units.Duration `yaml:"first_byte" default:"30s" min:"1ms" doc:"From the request sent to the answer's head."`
	Try       units.Duration `yaml:"try" default:"0s" doc:"One try as a whole up to the answer's head; 0s: not bounded by itself."`
	IdleBody  units.Duration `yaml:"idle_body" default:"30s" min:"1ms" doc:"Between two reads or writes of a body."`
}

// ConnectionsConfig is the pool of one target.
type ConnectionsConfig struct {
	Max  int            `yaml:"max" default:"512" min:"1" doc:"Connections at once."`
	Idle units.Duration `yaml:"idle" default:"4s" min:"1ms" doc:"How long an unused connection is kept; below the upstream's own limit."`
}

// TLSConfig is TLS to the targets.
type TLSConfig struct {
	CA         string `yaml:"ca" doc:"File of trusted roots; none: the system's."`
	Cert       string `yaml:"cert" later:"true" doc:"Client certificate."`
	Key        string `yaml:"key" later:"true" doc:"Its key."`
	ServerName string `yaml:"server_name" doc:"Name that the certificate must have; by default the target's host."`
}

// The following are known to the contract and come with later issues.

// DNSConfig is discovery by DNS.
type DNSConfig struct {
	Name    string         `yaml:"name" required:"true" doc:"DNS name whose addresses are the targets."`
	Port    int            `yaml:"port" required:"true" min:"1" max:"65535" doc:"Port of every address."`
	Refresh units.Duration `yaml:"refresh" default:"10s" doc:"How often the name is looked up."`
}

// HealthConfig is active checks.
type HealthConfig struct {
	Path      string         `yaml:"path" default:"/healthz" doc:"Path that is asked."`
	Interval  units.Duration `yaml:"interval" default:"5s" min:"100ms" doc:"Time between two checks of a target."`
	Timeout   units.Duration `yaml:"timeout" default:"1s" min:"1ms" doc:"Time for the answer."`
	Unhealthy int            `yaml:"unhealthy" default:"3" min:"1" doc:"Failures in a row that take a target out."`
	Healthy   int            `yaml:"healthy" default:"2" min:"1" doc:"Successes in a row that bring it back."`
	Expect    string         `yaml:"expect" default:"200-299" doc:"Statuses that count as success."`
}
