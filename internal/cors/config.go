package cors

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oncegate/oncegate/internal/units"
)

// Config is a route's cors: which pages of other origins may use it from a browser.
type Config struct {
	Off bool `yaml:"-"` // written as false: no default is taken

	Origins     []string       `yaml:"origins" required:"true" nonempty:"true" doc:"Origins as browsers send them: https://app.example.com, with a port when it is not the usual one; https://*.example.com is every name below; * alone is everybody, without credentials."`
	Methods     []string       `yaml:"methods" nonempty:"true" doc:"Methods that pages may use; by default those of the route."`
	Headers     []string       `yaml:"headers" default:"[Authorization, Content-Type, DPoP, Idempotency-Key, X-Api-Key, X-Request-Id]" doc:"Request fields that pages may set."`
	Expose      []string       `yaml:"expose" default:"[DPoP-Nonce, Deprecation, ETag, Idempotency-Original-Request-Id, Idempotency-Status, Idempotent-Replayed, Link, Location, RateLimit, RateLimit-Policy, Retry-After, Sunset, WWW-Authenticate, X-Request-Id]" doc:"Fields of answers that pages may read; by default those that the gateway writes."`
	Credentials bool           `yaml:"credentials" default:"false" doc:"Pages may read answers to requests with cookies or client certificates. A token in Authorization does not need it."`
	MaxAge      units.Duration `yaml:"max_age" default:"10m" max:"24h" doc:"How long browsers keep the answer to a preflight; 0s: they ask each time."`
}

// FromScalar takes the word false.
func (c *Config) FromScalar(text string) error {
	if text != "false" {
		return fmt.Errorf("unknown cors %q: write a mapping with origins, or false for none", text)
	}
	c.Off = true
	return nil
}

// Scalar is the word that says it all.
func (c Config) Scalar() (string, bool) { return "false", c.Off }

// Validate finds origins that no browser sends, and what can't go with credentials.
func (c *Config) Validate(p units.Problems) {
	if c.Off {
		return
	}
	c.validateOrigins(p.Key("origins"))
	for i, method := range c.Methods {
		at := p.Key("methods").Index(i)
		switch {
		case !isToken(method) || slices.Contains(neverAsked, strings.ToUpper(method)):
			at.Add("%q is not a method that a page can use", method)
		case slices.Contains(c.Methods[:i], method):
			at.Add("%q stands here twice", method)
		}
	}
	c.validateFields(c.Headers, p.Key("headers"))
	c.validateFields(c.Expose, p.Key("expose"))
	if c.MaxAge.Std()%time.Second != 0 {
		p.Key("max_age").Add("is sent in whole seconds")
	}
}

func (c *Config) validateOrigins(p units.Problems) {
	for i, text := range c.Origins {
		switch at := p.Index(i); {
		case slices.Contains(c.Origins[:i], text):
			at.Add("%q stands here twice", text)
		case text == "*" && c.Credentials:
			at.Add("* can't go with credentials: any page could act for whoever looks at it; name the origins")
		case text == "*" && len(c.Origins) > 1:
			at.Add("* is everybody: it stands alone")
		case text == "*":
		default:
			if err := checkOrigin(text); err != nil {
				at.Add("%s", err)
			}
		}
	}
}

func (c *Config) validateFields(names []string, p units.Problems) {
	for i, name := range names {
		at := p.Index(i)
		again := slices.ContainsFunc(names[:i], func(other string) bool { return strings.EqualFold(name, other) })
		switch {
		case name == "*" && c.Credentials:
			at.Add("* means nothing to browsers where credentials are: name the fields")
		case !isToken(name):
			at.Add("%q is not the name of a field", name)
		case again:
			at.Add("%q stands here twice", name)
		}
	}
}

// neverAsked are methods that the Fetch standard keeps from pages; the gateway passes none of them on.
var neverAsked = []string{"CONNECT", "TRACE", "TRACK"}

// isToken is token of RFC 9110, 5.6.2. '*' is one.
func isToken[T string | []byte](text T) bool {
	for i := range len(text) {
		c := text[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9'
		if !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return len(text) > 0
}

// Words say in one line what is configured.
func (c *Config) Words() string {
	words := "pages of " + strings.Join(c.Origins, " ")
	if c.Credentials {
		words += ", with credentials"
	}
	return words + "; preflights are answered here, kept " + c.MaxAge.String()
}
