package access

import (
	"fmt"
	"strings"

	"github.com/oncegate/oncegate/internal/units"
)

// Config says from where requests are taken.
type Config struct {
	Off bool `yaml:"-"` // written as false: no default is taken

	Allow []string `yaml:"allow" nonempty:"true" doc:"Networks that clients may come from: 10.0.0.0/8, 2001:db8::/32, 192.0.2.7. Without it, all that deny leaves."`
	Deny  []string `yaml:"deny" nonempty:"true" doc:"Networks that clients may not come from, whatever allow says."`
}

// FromScalar takes the word false.
func (c *Config) FromScalar(text string) error {
	if text != "false" {
		return fmt.Errorf("unknown addresses %q: write a mapping with allow or deny, or false for no list", text)
	}
	c.Off = true
	return nil
}

// Scalar is the word that says it all.
func (c Config) Scalar() (string, bool) { return "false", c.Off }

// Validate finds what is not a network, and lists that say nothing.
func (c *Config) Validate(p units.Problems) {
	if !c.Off && c.Allow == nil && c.Deny == nil {
		p.Add("addresses name no networks: write allow or deny, or false for no list")
	}
	validate(c.Allow, p.Key("allow"))
	validate(c.Deny, p.Key("deny"))
}

func validate(list []string, p units.Problems) {
	seen := make(map[string]bool, len(list))
	for i, text := range list {
		if _, err := parse(text); err != nil {
			p.Index(i).Add("%s", err)
		} else if seen[text] {
			p.Index(i).Add("%q stands here twice", text)
		}
		seen[text] = true
	}
}

// Words say in one line what is configured.
func (c *Config) Words() string {
	var words []string
	if len(c.Allow) > 0 {
		words = append(words, "only from "+some(c.Allow))
	}
	if len(c.Deny) > 0 {
		words = append(words, "never from "+some(c.Deny))
	}
	return strings.Join(words, ", ")
}

// some names the first networks of a list that may be long.
func some(list []string) string {
	const shown = 4
	if len(list) <= shown {
		return strings.Join(list, " ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:shown], " "), len(list)-shown)
}
