package config

import (
	"net/url"
	"slices"
	"strings"

	"github.com/oncegate/oncegate/internal/traffic"
	"github.com/oncegate/oncegate/internal/units"
)

// traffic checks where a route sends its requests: names of upstreams and flags, and parameters of its path.
func (c *cross) traffic(p units.Problems, r *RouteConfig, given *node) {
	if given.get("to") != nil {
		c.destination(p.Key("to"), r, given.get("to"))
	}
	if given.get("fallback") != nil {
		for i, rule := range r.Fallback {
			if rule.Upstream != "" {
				c.upstream(p.Key("fallback").Index(i).Key("upstream"), rule.Upstream)
			}
		}
	}
	names := pathParams(r.Match.Path)
	if r.Rewrite != nil {
		r.Rewrite.CheckParams(p.Key("rewrite"), names)
		c.rewriteSense(p.Key("rewrite"), r)
	}
	if r.To.Redirect != nil {
		for _, name := range r.To.Redirect.Params() {
			if !slices.Contains(names, name) {
				p.Key("to").Key("redirect").Key("location").Unknown("parameter", name, append(names, "path", "query"))
			}
		}
	}
	if r.Dedup != nil && len(r.To.Names()) == 0 && given.get("dedup") != nil {
		p.Key("dedup").Add("the route calls no upstream: there is nothing to execute once")
	}
	c.websockets(p, r, given)
	c.asks(p, r)
	c.ledgers(p, r)
	if len(r.Fallback) > 0 && len(r.To.Names()) == 0 {
		p.Key("fallback").Add("the route calls no upstream: nothing can fail")
	}
}

// websockets finds upstreams that a handshake can't go to. What comes from defaults is for the routes that can use it.
func (c *cross) websockets(p units.Problems, r *RouteConfig, given *node) {
	if r.Websocket == nil || r.Websocket.Off || given.get("websocket") == nil {
		return
	}
	names := r.To.Names()
	for _, rule := range r.Fallback {
		names = append(names, rule.Upstream)
	}
	for _, name := range names {
		if u, named := c.doc.Upstreams[name]; named && u.Multiplexed() != "" {
			p.Key("websocket").Add("needs targets of HTTP/1.1, and upstream %s has %s targets; give WebSocket a route to http or https targets", name, u.Multiplexed())
			return
		}
	}
}

// asks: a status check is a GET, and servers of gRPC answer none.
func (c *cross) asks(p units.Problems, r *RouteConfig) {
	if r.Dedup == nil || r.Dedup.StatusCheck == nil {
		return
	}
	address, err := url.Parse(r.Dedup.StatusCheck.URL)
	if err != nil || address.Port() != "" {
		return
	}
	if u, named := c.doc.Upstreams[address.Hostname()]; named && u.SpeaksGRPC() {
		p.Key("dedup").Key("status_check").Key("url").Add("asks upstream %s over HTTP, and its targets speak gRPC", address.Hostname())
	}
}

// ledgers finds keyed writes that one upstream would be sent, or asked about, after another one may have executed them.
func (c *cross) ledgers(p units.Problems, r *RouteConfig) {
	d := r.Dedup
	if d == nil || d.UpstreamsShareKeys || !d.UpstreamDedup && d.StatusCheck == nil {
		return
	}
	word := "upstream_dedup"
	if !d.UpstreamDedup {
		word = "status_check"
	}
	const why = "dedup.%s counts on the upstream that was sent a key, and %s was not: it would execute again what another has executed; when all of them know all keys, say dedup.upstreams_share_keys: true"
	if len(r.To.Split) > 1 {
		p.Key("to").Key("split").Index(1).Key("upstream").Add(why, word, r.To.Split[1].Upstream)
	}
	for i, rule := range r.Fallback {
		if rule.Upstream != "" && !slices.Contains(r.To.Names(), rule.Upstream) {
			p.Key("fallback").Index(i).Key("upstream").Add(why, word, rule.Upstream)
		}
	}
}

func (c *cross) destination(p units.Problems, r *RouteConfig, given *node) {
	to := &r.To
	if to.Upstream != "" {
		at := p
		if given.kind == mappingNode {
			at = p.Key("upstream")
		}
		c.upstream(at, to.Upstream)
	}
	for i, arm := range to.Split {
		c.upstream(p.Key("split").Index(i).Key("upstream"), arm.Upstream)
		if arm.When != nil && arm.When.Flag != "" && c.doc.Flags == nil {
			p.Key("split").Index(i).Key("when").Key("flag").Add("there is no flags.file that could hold it")
		}
	}
	if to.Mirror != nil {
		c.upstream(p.Key("mirror").Key("upstream"), to.Mirror.Upstream)
		also := func(rule traffic.Rule) bool { return rule.Upstream == to.Mirror.Upstream }
		if slices.Contains(to.Names(), to.Mirror.Upstream) || to.Mirror.Upstream != "" && slices.ContainsFunc(r.Fallback, also) {
			p.Key("mirror").Key("upstream").Add("the route sends to %s already: copies there would be executed twice", to.Mirror.Upstream)
		}
	}
}

func (c *cross) upstream(p units.Problems, name string) {
	if name != "" {
		c.name(p, "upstream", name, sortedNames(c.doc.Upstreams), "upstreams")
	}
}

// rewriteSense finds a prefix that no path of the route can have: stripping it would never happen, in silence.
func (c *cross) rewriteSense(p units.Problems, r *RouteConfig) {
	prefix, path := r.Rewrite.StripPrefix, strings.TrimSuffix(r.Match.Path, "/**")
	if prefix == "" || path == "" || strings.Contains(path, "{") {
		return
	}
	if path != prefix && !strings.HasPrefix(path, prefix+"/") && !(path != r.Match.Path && strings.HasPrefix(prefix, path+"/")) {
		p.Key("strip_prefix").Add("no path of the route begins with %s", prefix)
	}
}

// pathParams are the parameters of a pattern.
func pathParams(pattern string) (names []string) {
	for _, segment := range strings.Split(pattern, "/") {
		if name, ok := strings.CutPrefix(segment, "{"); ok {
			names = append(names, strings.TrimSuffix(name, "}"))
		}
	}
	return names
}
