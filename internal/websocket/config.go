package websocket

import (
	"fmt"

	"github.com/oncegate/oncegate/internal/units"
)

// Config is a route's websocket: whether it may be upgraded, and how long such a connection lives.
type Config struct {
	Off bool `yaml:"-"` // written as false: no default is taken

	Idle       units.Duration `yaml:"idle" default:"5m" min:"1s" max:"24h" doc:"A connection on which nothing moves for so long ends; pings count as movement."`
	Max        units.Duration `yaml:"max" default:"0s" doc:"The longest life of a connection; 0s: as long as both sides like."`
	OnTokenEnd string         `yaml:"on_token_end" default:"close" enum:"close keep" doc:"What happens when the token of the handshake expires: close, with code 1008, or keep."`
}

// FromScalar takes true, for the defaults, and false.
func (c *Config) FromScalar(text string) error {
	if text != "true" && text != "false" {
		return fmt.Errorf("unknown websocket %q: write true, false, or a mapping", text)
	}
	c.Off = text == "false"
	return nil
}

// Scalar is the word that says it all.
func (c Config) Scalar() (string, bool) { return "false", c.Off }

// Words say in one line what is configured.
func (c *Config) Words() string {
	life := "without an end"
	if c.Max > 0 {
		life = "for at most " + c.Max.String()
	}
	end := "; the token's end closes it"
	if c.OnTokenEnd == "keep" {
		end = "; it outlives its token"
	}
	return "allowed, idle for at most " + c.Idle.String() + ", " + life + end
}
