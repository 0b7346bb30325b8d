package headers

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/oncegate/oncegate/internal/units"
)

// Config is a route's security_headers: what browsers are told about its answers.
type Config struct {
	Off bool `yaml:"-"` // written as false: no default is taken

	HSTS        string `yaml:"hsts" default:"max-age=31536000" doc:"Strict-Transport-Security, on answers over TLS only; off: none."`
	ContentType string `yaml:"content_type" default:"nosniff" enum:"nosniff off" doc:"X-Content-Type-Options."`
	Frame       string `yaml:"frame" default:"deny" enum:"deny sameorigin off" doc:"Who may show answers in a frame: X-Frame-Options, and frame-ancestors of the Content-Security-Policy."`
	Referrer    string `yaml:"referrer" default:"no-referrer" enum:"no-referrer no-referrer-when-downgrade origin origin-when-cross-origin same-origin strict-origin strict-origin-when-cross-origin unsafe-url off" doc:"Referrer-Policy."`
	CSP         string `yaml:"csp" nonempty:"true" doc:"Content-Security-Policy; frame adds its frame-ancestors unless they stand here."`
	Override    bool   `yaml:"override" default:"false" doc:"Replace what the upstream says; without it the upstream's own fields stay. On the gateway's own answers these always stand."`
}

// FromScalar takes true, for the defaults, and false.
func (c *Config) FromScalar(text string) error {
	if text != "true" && text != "false" {
		return fmt.Errorf("unknown security_headers %q: write true, false, or a mapping", text)
	}
	c.Off = text == "false"
	return nil
}

// Scalar is the word that says it all.
func (c Config) Scalar() (string, bool) { return "false", c.Off }

const off = "off"

// Validate finds values that browsers would not understand.
func (c *Config) Validate(p units.Problems) {
	if c.Off {
		return
	}
	if err := checkHSTS(c.HSTS); err != nil {
		p.Key("hsts").Add("%q: %s", c.HSTS, err)
	}
	switch {
	case strings.ContainsFunc(c.CSP, func(r rune) bool { return r < ' ' || r > '~' }):
		p.Key("csp").Add("a policy is plain ASCII on one line")
	case strings.Contains(c.CSP, ","):
		p.Key("csp").Add("a comma would make two policies of it: directives are separated by ;")
	case c.CSP != "" && strings.TrimSpace(c.CSP) == "":
		p.Key("csp").Add("is empty: leave it out")
	}
}

// checkHSTS reads Strict-Transport-Security (RFC 6797, 6.1).
func checkHSTS(text string) error {
	if text == off {
		return nil
	}
	age, subdomains, preload := -1, false, false
	for part := range strings.SplitSeq(text, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch strings.ToLower(name) {
		case "max-age":
			n, err := strconv.ParseUint(value, 10, 31)
			if err != nil || age >= 0 {
				return fmt.Errorf("max-age is one number of seconds")
			}
			age = int(n)
		case "includesubdomains":
			subdomains = value == ""
		case "preload":
			preload = value == ""
		default:
			return fmt.Errorf("unknown directive %q: write max-age=31536000, with includeSubDomains and preload if they are meant; or off", name)
		}
	}
	switch {
	case age < 0:
		return fmt.Errorf("max-age is missing")
	case preload && (!subdomains || age < 31536000):
		return fmt.Errorf("preload needs includeSubDomains and a max-age of at least 31536000")
	}
	return nil
}

// Words say in one line what is configured.
func (c *Config) Words() string {
	var words []string
	for _, f := range c.fields() {
		words = append(words, f.name+": "+string(f.value))
	}
	if c.Override {
		words = append(words, "in place of the upstream's")
	}
	return strings.Join(words, ", ")
}
