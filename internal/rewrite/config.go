package rewrite

import (
	"maps"
	"slices"
	"strings"

	"github.com/oncegate/oncegate/internal/units"
	"github.com/oncegate/oncegate/internal/wire"
)

// Config is a route's rewrite: what goes upstream, and back, differs from what came.
type Config struct {
	StripPrefix string  `yaml:"strip_prefix" doc:"Taken off the path, as whole segments: /v1 of /v1/orders."`
	AddPrefix   string  `yaml:"add_prefix" doc:"Put before the path."`
	Path        string  `yaml:"path" doc:"In place of the path; parameters of the route's path as {name}."`
	Host        string  `yaml:"host" default:"client" doc:"The Host that the upstream sees: client, upstream, or a name."`
	Request     Headers `yaml:"request_headers" doc:"Fields of the request."`
	Response    Headers `yaml:"response_headers" doc:"Fields of the upstream's answers."`
}

// Headers are changes to header fields.
type Headers struct {
	Set    map[string]string `yaml:"set" doc:"Fields to set, in place of all of that name."`
	Remove []string          `yaml:"remove" doc:"Fields to take off."`
}

// most is how many request fields one route may change: an exchange has room for 24, claims included.
const most = 12

// Validate checks what tags can't say.
func (c *Config) Validate(p units.Problems) {
	for key, prefix := range map[string]string{"strip_prefix": c.StripPrefix, "add_prefix": c.AddPrefix} {
		if prefix != "" && !isPrefix(prefix) {
			p.Key(key).Add("%q is not a canonical path such as /v1, without a / at its end", prefix)
		}
	}
	if c.Path != "" {
		if c.StripPrefix != "" || c.AddPrefix != "" {
			p.Key("path").Add("path replaces the whole path: strip_prefix and add_prefix can't stand beside it")
		}
		if _, err := parsePath(c.Path, nil); err != "" {
			p.Key("path").Add("%q %s", c.Path, err)
		}
	}
	if c.Host != "client" && c.Host != "upstream" && c.Host != "" && !isHost(c.Host) {
		p.Key("host").Add("%q is neither client, upstream nor host[:port]", c.Host)
	}
	c.Request.check(p.Key("request_headers"), forbiddenRequest)
	c.Response.check(p.Key("response_headers"), forbiddenResponse)
	if n := len(c.Request.Set) + len(c.Request.Remove); n > most {
		p.Key("request_headers").Add("%d fields: a route can change at most %d", n, most)
	}
}

// CheckParams reports parameters in path that the route's own path has not.
func (c *Config) CheckParams(p units.Problems, names []string) {
	if c.Path == "" {
		return
	}
	parts, problem := parsePath(c.Path, nil)
	if problem != "" {
		return
	}
	for _, part := range parts {
		if part.param != "" && !slices.Contains(names, part.param) {
			p.Key("path").Unknown("parameter", part.param, names)
		}
	}
}

func (h *Headers) check(p units.Problems, forbidden func(name string) bool) {
	for _, name := range slices.Sorted(maps.Keys(h.Set)) {
		at := p.Key("set").Key(name)
		switch value := h.Set[name]; {
		case !isToken(name):
			at.Add("%q is not the name of a header field", name)
		case forbidden(name):
			at.Add("%s is set by the gateway alone", name)
		case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) || strings.TrimSpace(value) != value:
			at.Add("the value is not printable ASCII, or has spaces at its ends")
		}
	}
	for i, name := range h.Remove {
		at := p.Key("remove").Index(i)
		switch {
		case !isToken(name):
			at.Add("%q is not the name of a header field", name)
		case forbidden(name):
			at.Add("%s is decided by the gateway alone", name)
		}
	}
}

// forbiddenRequest are fields that frame a request, or say who asks: routes say that with forward.
func forbiddenRequest(name string) bool {
	return wire.HopByHop([]byte(name)) || among(name, "host", "expect", "content-length", "authorization", "idempotency-key", "forwarded", "x-real-ip",
		"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id", "traceparent", "tracestate", "dpop", "idempotency-attempt", "x-gateway-mirror")
}

// forbiddenResponse are fields that frame an answer, or that clients rely on.
func forbiddenResponse(name string) bool {
	return wire.HopByHop([]byte(name)) || among(name, "content-length", "date", "x-request-id", "idempotency-status", "idempotent-replayed", "ratelimit", "ratelimit-policy", "x-gateway-fallback", "proxy-status")
}

func among(name string, lower ...string) bool {
	return slices.Contains(lower, strings.ReplaceAll(strings.ToLower(name), "_", "-"))
}

func isToken(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

func isPrefix(text string) bool {
	return strings.HasPrefix(text, "/") && !strings.HasSuffix(text, "/") && isCanonical(text)
}

// isCanonical holds for what may stand in a path as it is: no empty or dot segment, no escape, nothing that has a meaning.
func isCanonical(path string) bool {
	for i, segment := range strings.Split(path, "/") {
		if i > 0 && (segment == "" || segment == "." || segment == "..") {
			return false
		}
		if strings.ContainsFunc(segment, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"#%<>?[\]^{|}`+"`", r) }) {
			return false
		}
	}
	return true
}

func isHost(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"#%/<>?@\^{|},`+"`", r) })
}

// Words says what is changed, for explain.
func (c *Config) Words() string {
	var words []string
	say := func(is bool, text string) {
		if is {
			words = append(words, text)
		}
	}
	say(c.StripPrefix != "", "path without "+c.StripPrefix)
	say(c.AddPrefix != "", "path below "+c.AddPrefix)
	say(c.Path != "", "path "+c.Path)
	say(c.Host != "" && c.Host != "client", "Host "+c.Host)
	say(len(c.Request.Set)+len(c.Request.Remove) > 0, "request fields")
	say(len(c.Response.Set)+len(c.Response.Remove) > 0, "answer fields")
	if words == nil {
		return "nothing"
	}
	return strings.Join(words, ", ")
}
