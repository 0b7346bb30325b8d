package config

import (
	"github.com/oncegate/oncegate/internal/access"
	"github.com/oncegate/oncegate/internal/auth"
	"github.com/oncegate/oncegate/internal/auth/signing"
	"github.com/oncegate/oncegate/internal/breaker"
	"github.com/oncegate/oncegate/internal/bulkhead"
	"github.com/oncegate/oncegate/internal/cors"
	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/flags"
	"github.com/oncegate/oncegate/internal/headers"
	"github.com/oncegate/oncegate/internal/lifecycle"
	"github.com/oncegate/oncegate/internal/ratelimit"
	"github.com/oncegate/oncegate/internal/retry"
	"github.com/oncegate/oncegate/internal/rewrite"
	"github.com/oncegate/oncegate/internal/routes"
	"github.com/oncegate/oncegate/internal/shed"
	"github.com/oncegate/oncegate/internal/traffic"
	"github.com/oncegate/oncegate/internal/units"
	"github.com/oncegate/oncegate/internal/upstream"
	"github.com/oncegate/oncegate/internal/vault"
	"github.com/oncegate/oncegate/internal/websocket"
)

// Document is the whole of gateway.yaml, decoded, with defaults filled in.
type Document struct {
	Version int                           `yaml:"version" required:"true" min:"1" max:"1" doc:"The version of this format: 1."`
	Listen  ListenConfig                  `yaml:"listen" doc:"The port for clients."`
	Admin   AdminConfig                   `yaml:"admin" doc:"Health, metrics and the admin API."`
	State   StateConfig                   `yaml:"state" doc:"Where records of keyed writes live."`
	Vaults  map[string]vault.Config       `yaml:"vaults" doc:"Where secrets written as ${vault:NAME/path#field} come from."`
	Issuers map[string]auth.IssuerConfig  `yaml:"issuers" doc:"Who signs tokens."`
	APIKeys map[string]auth.APIKeysConfig `yaml:"api_keys" doc:"Lists of API keys."`

	ClientCertificates map[string]auth.ClientCertificatesConfig `yaml:"client_certificates" doc:"Lists of clients that are known by their certificates."`
	BasicUsers         map[string]auth.BasicUsersConfig         `yaml:"basic_users" doc:"Lists of users with passwords (Basic)."`

	Signing    *signing.Config             `yaml:"internal_token" doc:"How the gateway signs the tokens that forward.token sends upstream."`
	RateLimits map[string]ratelimit.Config `yaml:"rate_limits" doc:"Named limits; all routes that use a name count together."`
	Shedding   shed.Config                 `yaml:"shedding" doc:"What this process refuses when it has too much to do."`
	Flags      *flags.Config               `yaml:"flags" doc:"Feature flags, in a file of their own."`
	Upstreams  map[string]UpstreamConfig   `yaml:"upstreams" doc:"The services behind the gateway."`
	Defaults   DefaultsConfig              `yaml:"defaults" doc:"Policies of routes that do not say their own."`
	Routes     []RouteConfig               `yaml:"routes" required:"true" nonempty:"true" doc:"Which request goes where, and by which rules."`

	outside *Outside `yaml:"-"`
	hidden  []string `yaml:"-"` // values from vaults and files: never shown, whatever they fill
}

// Outside is what the document was made of beside its text; nil for one that was not read.
func (d *Document) Outside() *Outside { return d.outside }

// UpstreamConfig is an upstream with what guards it.
// ListenConfig is the port with its list of addresses.
type ListenConfig struct {
	edge.Config `yaml:",inline"`
	Addresses   *access.Config `yaml:"addresses" doc:"From where requests are taken at all, by the client's address behind trusted proxies; others get 403 forbidden before anything else is looked at."`
}

// UpstreamConfig is an upstream with its breaker.
type UpstreamConfig struct {
	upstream.Config `yaml:",inline"`
	Retry           *retry.Config    `yaml:"retry" doc:"Further tries; {} takes the defaults. Without it a refused connection is tried once more."`
	Breaker         *breaker.Config  `yaml:"breaker" doc:"Stops calls to a failing upstream; {} takes the defaults."`
	Bulkhead        *bulkhead.Config `yaml:"bulkhead" doc:"Bounds the calls at once; {} takes the defaults."`
}

// AdminConfig is the admin port.
type AdminConfig struct {
	Address string       `yaml:"address" default:"127.0.0.1:9901" doc:"host:port of health, metrics and the admin API."`
	Token   units.Secret `yaml:"token" doc:"Bearer token of the API; obligatory when the address is not loopback."`
}

// StateConfig is where records of keyed writes live.
type StateConfig struct {
	Store         string         `yaml:"store" default:"embedded" enum:"embedded redis memory" doc:"embedded: durable, one node; redis: a fleet; memory: lost at exit."`
	Path          string         `yaml:"path" default:"./data" nonempty:"true" doc:"Folder of the embedded store; with redis, of results that Redis did not take yet."`
	EncryptionKey units.Secret   `yaml:"encryption_key" doc:"Seals stored answers (AES-256-GCM); at least 32 bytes, random."`
	PreviousKeys  []units.Secret `yaml:"previous_keys" doc:"Earlier encryption keys: answers that they sealed can still be told."`
	Redis         RedisConfig    `yaml:"redis" doc:"The Redis of a fleet."`
}

// RedisConfig is how Redis is reached.
type RedisConfig struct {
	Addresses    []string     `yaml:"addresses" doc:"host:port of servers or sentinels; several of a cluster are tried in turn."`
	Mode         string       `yaml:"mode" default:"single" enum:"single sentinel cluster" doc:"The kind of deployment."`
	Master       string       `yaml:"master" doc:"Name of the primary, for sentinel."`
	Username     string       `yaml:"username" doc:"User."`
	Password     units.Secret `yaml:"password" doc:"Password."`
	Database     int          `yaml:"database" default:"0" min:"0" doc:"Number of the database."`
	TLS          *RedisTLS    `yaml:"tls" doc:"TLS to Redis."`
	Prefix       string       `yaml:"prefix" default:"oncegate" doc:"Begins every key."`
	WaitReplicas int          `yaml:"wait_replicas" default:"0" min:"0" doc:"Replicas that must have a claim before it counts."`

	RevocationGrace units.Duration `yaml:"revocation_grace" default:"1m" min:"5s" max:"24h" doc:"How long issuers with revocation go on by what is known when Redis can't be asked what was revoked; then they are answered 503."`
}

// RedisTLS is TLS to Redis.
type RedisTLS struct {
	CA         string `yaml:"ca" doc:"File of trusted roots."`
	ServerName string `yaml:"server_name" doc:"Name that the certificate must have."`
}

// DefaultsConfig holds policies of a route that stand for every route that does not say its own. Pointers and nil slices
// tell silence from a value.
type DefaultsConfig struct {
	Auth            *auth.Config        `yaml:"auth" doc:"Who may call."`
	RateLimits      []ratelimit.Use     `yaml:"rate_limits" doc:"Names of limits."`
	RateLimitFields string              `yaml:"rate_limit_fields" enum:"draft-10 next x-ratelimit off" doc:"Header fields that tell clients about their limits."`
	Priority        string              `yaml:"priority" enum:"critical high normal low" doc:"Who is refused first when the process has too much to do; critical may take what limits reserve."`
	FailedLogins    string              `yaml:"failed_logins" doc:"A limit with by: ip that counts refused credentials; when it is spent they get 429 in place of 401. A good credential always passes."`
	Dedup           *dedup.Config       `yaml:"dedup" doc:"How keyed writes happen once."`
	Timeout         *units.Duration     `yaml:"timeout" min:"1ms" doc:"The whole request."`
	Body            *units.Size         `yaml:"body" doc:"Largest request body."`
	Forward         *auth.ForwardConfig `yaml:"forward" doc:"What of the identity goes upstream."`
	CORS            *cors.Config        `yaml:"cors" doc:"Pages of which other origins may use the route from a browser; false: no default is taken."`
	Addresses       *access.Config      `yaml:"addresses" doc:"From where the route is used; others get 403 forbidden; false: no default is taken."`
	SecurityHeaders *headers.Config     `yaml:"security_headers" doc:"Fields that tell browsers to be careful with answers: true for the usual ones; false: no default is taken."`
	Websocket       *websocket.Config   `yaml:"websocket" doc:"Clients may go on in WebSocket over HTTP/1.1: true for the usual bounds; false: no default is taken. Without it Upgrade is not passed on."`
	Mode            string              `yaml:"mode" enum:"enforce shadow" doc:"shadow: limits, breaker and bulkhead decide and count but refuse nothing."`
}

// Shadow is the mode of a route whose limits, breaker and bulkhead refuse nothing.
const Shadow = "shadow"

// RouteConfig is one route.
type RouteConfig struct {
	ID              string              `yaml:"id" required:"true" nonempty:"true" doc:"Name in logs, metrics and the admin API; unique."`
	Match           routes.Match        `yaml:"match" required:"true" doc:"Which requests it takes."`
	Auth            *auth.Config        `yaml:"auth" doc:"Who may call: none must be written."`
	RateLimits      []ratelimit.Use     `yaml:"rate_limits" doc:"Limits by name, or as { name: x, cost: 5 }; all must have a token."`
	RateLimitFields string              `yaml:"rate_limit_fields" default:"draft-10" enum:"draft-10 next x-ratelimit off" doc:"Header fields that tell clients about their limits."`
	Priority        string              `yaml:"priority" default:"normal" enum:"critical high normal low" doc:"Who is refused first when the process has too much to do; critical may take what limits reserve."`
	FailedLogins    string              `yaml:"failed_logins" doc:"A limit with by: ip that counts refused credentials; when it is spent they get 429 in place of 401. A good credential always passes."`
	Dedup           *dedup.Config       `yaml:"dedup" doc:"How keyed writes happen once."`
	Timeout         *units.Duration     `yaml:"timeout" min:"1ms" doc:"The whole request; by default 60s."`
	Body            *units.Size         `yaml:"body" doc:"Largest request body; by default listen.limits.body."`
	Version         *lifecycle.Config   `yaml:"version" doc:"The version of an API that the route is, and its end."`
	Rewrite         *rewrite.Config     `yaml:"rewrite" doc:"Changes to what goes upstream, and to what comes back."`
	Forward         *auth.ForwardConfig `yaml:"forward" doc:"What of the identity goes upstream."`
	To              traffic.Destination `yaml:"to" required:"true" doc:"The upstream's name, or a mapping."`
	Fallback        []traffic.Rule      `yaml:"fallback" doc:"What is tried in turn when the upstream fails; the answer says so in X-Gateway-Fallback."`
	CORS            *cors.Config        `yaml:"cors" doc:"Pages of which other origins may use the route from a browser; false: no default is taken."`
	Addresses       *access.Config      `yaml:"addresses" doc:"From where the route is used; others get 403 forbidden; false: no default is taken."`
	SecurityHeaders *headers.Config     `yaml:"security_headers" doc:"Fields that tell browsers to be careful with answers: true for the usual ones; false: no default is taken."`
	Websocket       *websocket.Config   `yaml:"websocket" doc:"Clients may go on in WebSocket over HTTP/1.1: true for the usual bounds; false: no default is taken. Without it Upgrade is not passed on."`
	Mode            string              `yaml:"mode" default:"enforce" enum:"enforce shadow" doc:"shadow: limits, breaker and bulkhead decide and count but refuse nothing; identity, addresses, sizes, keyed writes and shedding hold as ever."`
}
