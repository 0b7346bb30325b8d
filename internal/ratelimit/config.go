package ratelimit

import (
	"fmt"
	"strings"

	"github.com/oncegate/oncegate/internal/units"
)

// Config is one entry of rate_limits: a named limit. All routes that use the name share what it counts.
type Config struct {
	Rate           Rate            `yaml:"rate" doc:"Tokens that come back, such as 100/s; or deny, or unlimited. A limit has one of rate, quota and in_flight."`
	Burst          int             `yaml:"burst" min:"1" max:"1000000000" doc:"Tokens that a full bucket holds; by default those of one second, at least 1."`
	Quota          Quota           `yaml:"quota" doc:"A count per period, such as 10000/d or 500/6h; units s, m, h, d, w and mo."`
	Zone           string          `yaml:"zone" doc:"Time zone whose calendar begins the quota's periods, such as Europe/Berlin; by default UTC."`
	Rolling        bool            `yaml:"rolling" doc:"The quota holds for any span of that length instead of the calendar's."`
	InFlight       int             `yaml:"in_flight" min:"1" max:"1000000" doc:"Requests at the same time, each until the last byte of its answer."`
	By             By              `yaml:"by" default:"[client]" nonempty:"true" doc:"Who is counted: client, ip, route, all, header:Name or claim:name; a list counts every combination apart."`
	Scope          string          `yaml:"scope" default:"local" enum:"local shared" doc:"local: this process; shared: the fleet, through state.redis."`
	Plans          map[string]Plan `yaml:"plans" doc:"claim is the claim that names a client's plan; every other key is a value of it. Clients of no plan have the limit's own numbers."`
	OnStoreFailure string          `yaml:"on_store_failure" default:"local" enum:"local allow deny" doc:"While a shared store is down: count here with this gateway's share, let pass, or refuse with 503."`
	OnMissing      string          `yaml:"on_missing" default:"next" enum:"next reject shared" doc:"Without the identity: next counts by address, reject is 401, shared is one bucket for all."`
	Cost           Cost            `yaml:"cost" default:"1" doc:"Tokens that one request takes."`
	Reserve        units.Share     `yaml:"reserve" max:"99%" doc:"Part of the burst that only routes of priority critical may take; others get 503."`
	Mode           string          `yaml:"mode" default:"enforce" enum:"enforce shadow" doc:"shadow decides and counts but refuses nothing."`
}

// Bounds that keep arithmetic and header fields sane: no one means a bucket that takes longer than ten years to fill.
const (
	maxRate     = 1e9              // tokens a second
	maxBurst    = 1_000_000_000    // tokens
	maxFillTime = 10 * 366 * 86400 // seconds
	maxParts    = 4                // of one identity
)

// By names who is counted.
type By []string

// FromScalar takes one word.
func (b *By) FromScalar(text string) error { *b = By{text}; return nil }

// Scalar is the one word, if it is one.
func (b By) Scalar() (string, bool) {
	if len(b) != 1 {
		return "", false
	}
	return b[0], true
}

func (b By) String() string { return strings.Join(b, " + ") }

// The words that stand for a rate.
const (
	wordDeny      = "deny"
	wordUnlimited = "unlimited"
)

// Rate is a rate, or one of the words deny and unlimited.
type Rate struct {
	units.Rate
	Word string
}

// UnmarshalText reads either.
func (r *Rate) UnmarshalText(text []byte) error {
	s := string(text)
	if s == wordDeny || s == wordUnlimited {
		*r = Rate{Word: s}
		return nil
	}
	var rate units.Rate
	if err := rate.UnmarshalText(text); err != nil {
		meant := units.Nearest(s, []string{wordDeny, wordUnlimited})
		return &units.Mistaken{Message: err.Error(), Meant: meant}
	}
	*r = Rate{Rate: rate}
	return nil
}

// MarshalText writes it as it is read.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

func (r Rate) String() string {
	if r.Word != "" {
		return r.Word
	}
	return r.Rate.String()
}

func (r Rate) given() bool { return r.Word != "" || r.Count != 0 }

// Words tell what a limit amounts to, for people.
func (c *Config) Words() string {
	words := c.numbers().String() + ", by " + c.By.String()
	if c.Scope == "shared" {
		words += ", shared"
	}
	if len(c.Plans) > 0 {
		words += fmt.Sprintf(", %d plans", len(c.Plans)-1)
	}
	if c.Reserve > 0 {
		words += ", " + c.Reserve.String() + " reserved"
	}
	if c.Mode == "shadow" {
		words += ", shadow"
	}
	return words
}
