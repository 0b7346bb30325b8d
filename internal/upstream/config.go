package upstream

import (
	"github.com/oncegate/oncegate/internal/units"
)

// Config is one entry of upstreams, without its breaker (internal/breaker).
type Config struct {
	Targets     []TargetConfig    `yaml:"targets" nonempty:"true" doc:"Where calls go: URLs with scheme, host and port."`
	DNS         *DNSConfig        `yaml:"dns" doc:"Targets from a DNS name, in place of targets."`
	Balance     string            `yaml:"balance" default:"round_robin" enum:"round_robin least_request ewma hash" doc:"How a target is picked."`
	HashBy      string            `yaml:"hash_by" doc:"What hash looks at: client (default), ip or header:Name."`
	SlowStart   units.Duration    `yaml:"slow_start" default:"0s" max:"1h" doc:"A target that is new or back gets its part of the calls step by step over this time; 0s: at once."`
	Ejection    EjectionConfig    `yaml:"ejection" doc:"Takes out single targets whose calls fail, while there are others."`
	Panic       units.Share       `yaml:"panic" default:"50%" doc:"When a smaller share of the targets than this is usable, all are used; 0%: never."`
	Timeout     TimeoutConfig     `yaml:"timeout" doc:"Limits of each step."`
	Connections ConnectionsConfig `yaml:"connections" doc:"The pool of each target."`
	Health      *HealthConfig     `yaml:"health" doc:"Active health checks; {} takes the defaults."`
	TLS         TLSConfig         `yaml:"tls" doc:"TLS to the targets."`
	HTTP2       bool              `yaml:"http2" default:"false" doc:"https targets are called over HTTP/2 when TLS chooses it (ALPN), else over HTTP/1.1; without it always HTTP/1.1. h2c, grpc and grpcs mean HTTP/2 by themselves."`
}

// TargetConfig is one target: a URL, or a URL with a weight.
type TargetConfig struct {
	URL    string `yaml:"url" required:"true" doc:"scheme://host:port: http and https (HTTP/1.1, see http2), h2c and grpc (HTTP/2 without TLS), grpcs (HTTP/2 with TLS)."`
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
	CA         string `yaml:"ca" doc:"File of trusted roots; none: the system's. Files are read again when they change."`
	Cert       string `yaml:"cert" doc:"File of the client certificate, with its chain, that targets are shown when they ask for one."`
	Key        string `yaml:"key" doc:"File of its key."`
	ServerName string `yaml:"server_name" doc:"Name that the certificate must have; by default the target's host."`
}

// DNSConfig is discovery by DNS.
type DNSConfig struct {
	Name     string         `yaml:"name" required:"true" nonempty:"true" doc:"DNS name whose addresses are the targets."`
	Port     int            `yaml:"port" required:"true" min:"1" max:"65535" doc:"Port of every address."`
	Scheme   string         `yaml:"scheme" default:"http" enum:"http https h2c grpc grpcs" doc:"How the targets are called; certificates must be valid for the name."`
	Refresh  units.Duration `yaml:"refresh" default:"10s" min:"100ms" max:"1h" doc:"How often the name is looked up."`
	Keep     int            `yaml:"keep" default:"30" min:"0" doc:"Look-ups in a row that find no address before the last ones are given up; 0: never. Servers that fail never end them."`
	Family   string         `yaml:"family" default:"any" enum:"any ipv4 ipv6" doc:"Which addresses are used."`
	Resolver string         `yaml:"resolver" doc:"host:port of the DNS server to ask; by default those of the system."`
}

// EjectionConfig is when single targets are taken out.
type EjectionConfig struct {
	Consecutive int            `yaml:"consecutive" default:"5" min:"0" doc:"Calls in a row that end with 502, 503, 504, a reset or a time-out; 0: they are not counted."`
	Connect     int            `yaml:"connect" default:"3" min:"0" doc:"Connections in a row that do not come about; 0: they are not counted."`
	Time        units.Duration `yaml:"time" default:"30s" min:"100ms" doc:"How long the first time; the n-th time n times as long. Checks of health that pass end the first one sooner, the n-th after n - 1 times as long."`
	MaxTime     units.Duration `yaml:"max_time" default:"5m" min:"100ms" doc:"How long at most."`
	MaxShare    units.Share    `yaml:"max_share" default:"50%" doc:"Share of the targets that may be out at once; one of several always may, the last one that is usable never."`
}

// HealthConfig is active checks.
type HealthConfig struct {
	Type      string         `yaml:"type" default:"http" enum:"http tcp grpc" doc:"http asks for path, tcp only connects, grpc asks grpc.health.v1."`
	Service   string         `yaml:"service" doc:"Service that a check of type grpc asks for; none: the server as a whole."`
	Path      string         `yaml:"path" default:"/healthz" doc:"Path that is asked."`
	Interval  units.Duration `yaml:"interval" default:"5s" min:"100ms" doc:"Time between two checks of a target."`
	Timeout   units.Duration `yaml:"timeout" default:"1s" min:"1ms" doc:"Time for the answer."`
	Unhealthy int            `yaml:"unhealthy" default:"3" min:"1" doc:"Failures in a row that take a target out."`
	Healthy   int            `yaml:"healthy" default:"2" min:"1" doc:"Successes in a row that bring it back, from an ejection, too."`
	Expect    string         `yaml:"expect" default:"200-299" doc:"Statuses that count as success: 200-299, or 200,204."`
}
