package retry

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oncegate/oncegate/internal/units"
)

// Config is an upstream's retry.
type Config struct {
	Attempts int          `yaml:"attempts" default:"3" min:"1" max:"10" doc:"Tries in all, the first included."`
	On       []string     `yaml:"on" doc:"Failures that are tried again: connect, reset, timeout, 429, 500, 502, 503, 504. By default connect, reset, 502, 503, 504."`
	Methods  []string     `yaml:"methods" nonempty:"true" doc:"Methods whose requests may be sent again once a byte was sent; by default GET, HEAD, OPTIONS, PUT and DELETE. Others only when nothing was sent."`
	Backoff  Backoff      `yaml:"backoff" doc:"Waits between tries, with full jitter."`
	Budget   units.Share  `yaml:"budget" default:"20%" doc:"Retries and hedges as a share of the calls to this upstream in ten seconds; all routes together."`
	Floor    int          `yaml:"floor" default:"10" min:"0" max:"1000000" doc:"Retries a second that are allowed whatever the budget says."`
	Hedge    *HedgeConfig `yaml:"hedge" doc:"A second call beside one that is slow, for GET and HEAD without a body; {} takes the defaults."`
	Announce bool         `yaml:"announce" default:"false" doc:"Tell the upstream with X-Request-Attempt and X-Request-Timeout which try this is, and how many milliseconds are left."`
}

// Backoff is the wait between tries.
type Backoff struct {
	Base units.Duration `yaml:"base" default:"25ms" min:"0s" doc:"Longest first wait; it doubles with each try."`
	Max  units.Duration `yaml:"max" default:"1s" min:"0s" doc:"Longest wait."`
}

// HedgeConfig is a second call beside a slow one.
type HedgeConfig struct {
	After units.Duration `yaml:"after" default:"0s" doc:"How long the first call is waited for; 0s: as long as 95 of 100 recent calls took."`
	Least units.Duration `yaml:"least" default:"10ms" min:"1ms" doc:"Shortest wait when it is learned."`
}

// failures are what a retry may be made on.
type failures struct {
	connect, reset, timeout bool
	statuses                [600]bool
}

var (
	usualOn      = []string{"connect", "reset", "502", "503", "504"}
	usualMethods = []string{"GET", "HEAD", "OPTIONS", "PUT", "DELETE"}
	statuses     = []string{"429", "500", "502", "503", "504"}
	words        = append([]string{"connect", "reset", "timeout"}, statuses...)
)

// Validate checks the words.
func (c *Config) Validate(p units.Problems) {
	for i, word := range c.On {
		if !slices.Contains(words, word) {
			p.Key("on").Index(i).Unknown("failure", word, words)
		}
	}
	for i, method := range c.Methods {
		if method == "" || strings.ToUpper(method) != method || strings.ContainsAny(method, " \t,") {
			p.Key("methods").Index(i).Add("%q is not a method in capital letters", method)
		}
	}
	if c.Backoff.Max < c.Backoff.Base {
		p.Key("backoff").Key("max").Add("is shorter than base, %s", c.Backoff.Base)
	}
}

func (c *Config) failures() (f failures) {
	on := c.On
	if len(on) == 0 {
		on = usualOn
	}
	for _, word := range on {
		switch word {
		case "connect":
			f.connect = true
		case "reset":
			f.reset = true
		case "timeout":
			f.timeout = true
		default:
			if n, err := strconv.Atoi(word); err == nil && n < len(f.statuses) {
				f.statuses[n] = true
			}
		}
	}
	return f
}

func (c *Config) methods() []string {
	if len(c.Methods) == 0 {
		return usualMethods
	}
	return c.Methods
}

// longest is the upper bound of the wait before try n, the second being 2.
func (b *Backoff) longest(n int) time.Duration {
	wait := b.Base.Std()
	for range n - 2 {
		if wait *= 2; wait >= b.Max.Std() {
			break
		}
	}
	return min(wait, b.Max.Std())
}

// Words says what the layer does, for explain.
func (c *Config) Words() string {
	on := c.On
	if len(on) == 0 {
		on = usualOn
	}
	text := strconv.Itoa(c.Attempts) + " tries on " + strings.Join(on, " ") + ", again for " + strings.Join(c.methods(), " ") +
		", others when nothing was sent; at most " + c.Budget.String() + " of the calls, or " + strconv.Itoa(c.Floor) + " a second"
	switch {
	case c.Hedge == nil:
	case c.Hedge.After > 0:
		text += "; GET and HEAD a second time beside the first after " + c.Hedge.After.String()
	default:
		text += "; GET and HEAD a second time beside the first when it is slower than 95 of 100"
	}
	return text
}
