package traffic

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/oncegate/oncegate/internal/units"
	"github.com/oncegate/oncegate/internal/wire"
)

// Destination is a route's to: the name of an upstream, or a mapping with exactly one of upstream, split, respond and redirect.
type Destination struct {
	Upstream string    `yaml:"upstream" doc:"The upstream's name."`
	Split    []Arm     `yaml:"split" nonempty:"true" doc:"Upstreams that share the requests."`
	Sticky   string    `yaml:"sticky" doc:"What keeps a client at its arm of the split: client, ip, header:Name or cookie:Name; without it each request is drawn anew."`
	Mirror   *Mirror   `yaml:"mirror" doc:"An upstream that gets copies; its answers are dropped."`
	Respond  *Respond  `yaml:"respond" doc:"A fixed answer."`
	Redirect *Redirect `yaml:"redirect" doc:"Another place."`
}

// Arm is one part of a split.
type Arm struct {
	Upstream string `yaml:"upstream" required:"true" doc:"The upstream's name."`
	Weight   int    `yaml:"weight" default:"1" min:"0" max:"1000000" doc:"Its part of the requests that no arm's when takes."`
	When     *When  `yaml:"when" doc:"Requests that it takes whatever the weights are; the first arm whose conditions all hold."`
}

// When are conditions that must all hold.
type When struct {
	Headers map[string]string `yaml:"headers" nonempty:"true" doc:"Header fields and their exact values."`
	Cookies map[string]string `yaml:"cookies" nonempty:"true" doc:"Cookies and their exact values."`
	Claims  map[string]string `yaml:"claims" nonempty:"true" doc:"Claims of the verified client and their values."`
	Flag    string            `yaml:"flag" doc:"A feature flag that is on for the request's client."`
}

// Mirror sends copies of requests.
type Mirror struct {
	Upstream string      `yaml:"upstream" required:"true" doc:"The upstream's name."`
	Share    units.Share `yaml:"share" default:"100%" doc:"Part of the requests that is copied."`
	Body     units.Size  `yaml:"body" default:"64KiB" max:"1MiB" doc:"A request with a larger body, or one of unknown length, is not copied."`
	InFlight int         `yaml:"in_flight" default:"64" min:"1" max:"10000" doc:"Copies on their way at once; further ones are dropped."`
	Secrets  bool        `yaml:"secrets" default:"false" doc:"Send Authorization, Cookie and API keys along, as far as the route forwards them."`
}

// Respond is a fixed answer.
type Respond struct {
	Status  int               `yaml:"status" default:"200" min:"200" max:"599" doc:"Its status."`
	Body    string            `yaml:"body" doc:"Its body."`
	Headers map[string]string `yaml:"headers" doc:"Its header fields."`
}

// Redirect sends clients elsewhere.
type Redirect struct {
	Status   int    `yaml:"status" default:"308" doc:"301, 302, 303, 307 or 308."`
	Location string `yaml:"location" required:"true" nonempty:"true" doc:"Where to; {path} and {query} are the request's, other {names} its path parameters."`
}

// Rule is one entry of fallback: what to do about which failures.
type Rule struct {
	On       []string `yaml:"on" required:"true" nonempty:"true" doc:"Failures: open, overloaded, connect, reset, timeout, 5xx, or a status. connect and reset are 502, too, timeout is 504, and so they are 5xx; open and overloaded are not."`
	Upstream string   `yaml:"upstream" doc:"Another upstream; only for requests of which nothing was sent, or that may be repeated."`
	Respond  *Respond `yaml:"respond" doc:"A fixed answer; never for a keyed write."`
}

// FromScalar takes the name of an upstream.
func (d *Destination) FromScalar(text string) error {
	if text == "" {
		return fmt.Errorf("the name of an upstream is empty")
	}
	d.Upstream = text
	return nil
}

// Validate checks what tags can't say.
func (d *Destination) Validate(p units.Problems) {
	var ways []string
	for name, there := range map[string]bool{"upstream": d.Upstream != "", "split": len(d.Split) > 0, "respond": d.Respond != nil, "redirect": d.Redirect != nil} {
		if there {
			ways = append(ways, name)
		}
	}
	slices.Sort(ways)
	if len(ways) != 1 {
		p.Add("needs exactly one of upstream, split, respond and redirect; it has %s", orNone(strings.Join(ways, " and ")))
	}
	if d.Mirror != nil && d.Upstream == "" && len(d.Split) == 0 {
		p.Key("mirror").Add("only what goes to an upstream can be copied")
	}
	switch {
	case d.Sticky == "":
	case len(d.Split) == 0:
		p.Key("sticky").Add("there is no split")
	default:
		if _, problem := parseKey(d.Sticky); problem != "" {
			p.Key("sticky").Add("%q %s", d.Sticky, problem)
		}
	}
	d.checkArms(p.Key("split"))
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

func (d *Destination) checkArms(p units.Problems) {
	total, seen := 0, map[string]bool{}
	for i, arm := range d.Split {
		if total += arm.Weight; seen[arm.Upstream] {
			p.Index(i).Key("upstream").Add("%s has an arm already", arm.Upstream)
		}
		seen[arm.Upstream] = true
		if w := arm.When; w != nil && len(w.Headers)+len(w.Cookies)+len(w.Claims) == 0 && w.Flag == "" {
			p.Index(i).Key("when").Add("has no condition")
		}
	}
	if len(d.Split) > 0 && total == 0 {
		p.Add("all weights are 0: nobody takes what no condition takes")
	}
}

// Validate checks status and template.
func (r *Redirect) Validate(p units.Problems) {
	if !slices.Contains([]int{301, 302, 303, 307, 308}, r.Status) {
		p.Key("status").Add("%d is not 301, 302, 303, 307 or 308", r.Status)
	}
	if _, problem := parseTemplate(r.Location); problem != "" {
		p.Key("location").Add("%q %s", r.Location, problem)
		return
	}
	u, err := url.Parse(strings.NewReplacer("{", "", "}", "").Replace(r.Location))
	switch {
	case err != nil:
		p.Key("location").Add("%q is not a URL", r.Location)
	case u.Scheme == "" && strings.HasPrefix(r.Location, "/") && !strings.HasPrefix(r.Location, "//"):
	case (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil:
	default:
		p.Key("location").Add("%q is neither a path nor a URL with http or https", r.Location)
	}
}

// Names are the upstreams that a destination calls, the first of which names records of keyed writes.
func (d *Destination) Names() (names []string) {
	if d.Upstream != "" {
		names = append(names, d.Upstream)
	}
	for _, arm := range d.Split {
		names = append(names, arm.Upstream)
	}
	return names
}

// Validate checks the headers.
func (r *Respond) Validate(p units.Problems) {
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		value := r.Headers[name]
		switch {
		case wire.HopByHop([]byte(name)) || strings.EqualFold(name, "Content-Length"):
			p.Key("headers").Key(name).Add("%s is set by the gateway alone", name)
		case strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c) }) || name == "":
			p.Key("headers").Key(name).Add("%q is not the name of a header field", name)
		case strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c > '~' }):
			p.Key("headers").Key(name).Add("the value is not printable ASCII")
		}
	}
	if (r.Status == 204 || r.Status == 304) && r.Body != "" {
		p.Key("body").Add("an answer with status %d has no body", r.Status)
	}
}

// Validate checks the words.
func (r *Rule) Validate(p units.Problems) {
	for i, word := range r.On {
		if _, known := parseFailure(word); !known {
			p.Key("on").Index(i).Unknown("failure", word, failureWords)
		}
	}
	if (r.Upstream == "") == (r.Respond == nil) {
		p.Add("needs an upstream or a respond, not both")
	}
}
