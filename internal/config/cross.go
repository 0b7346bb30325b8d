package config

import (
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/oncegate/oncegate/internal/auth"
	"github.com/oncegate/oncegate/internal/auth/expression"
	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/routes"
	"github.com/oncegate/oncegate/internal/shed"
	"github.com/oncegate/oncegate/internal/units"
)

// cross checks what needs more than one part of the document: names, routes against each other, policies of a route that
// depend on its other policies. It runs on the effective document; what a route has from defaults is judged where it stands.
type cross struct {
	doc  *Document
	root *node

	compiler *expression.Compiler

	fine      func(path string) bool // nothing was found at the path or above it
	fineBelow func(path string) bool // nothing was found below it
}

func (c *cross) check(p units.Problems) {
	c.addresses(p)
	c.shared(p.Key("rate_limits"))
	if given := c.root.get("defaults"); given != nil {
		d := &c.doc.Defaults
		c.policies(p.Key("defaults"), given, d.Auth)
		c.forward(p.Key("defaults").Key("forward"), d.Forward)
		c.limits(p.Key("defaults"), given, d.RateLimits, d.FailedLogins, true)
	}
	for i := range c.doc.Routes {
		c.route(p.Key("routes").Index(i), i)
	}
	c.ids(p.Key("routes"))
	c.conflicts(p.Key("routes"))
}

func (c *cross) addresses(p units.Problems) {
	host, port, err := net.SplitHostPort(c.doc.Listen.Address)
	adminHost, adminPort, adminErr := net.SplitHostPort(c.doc.Admin.Address)
	if err != nil || adminErr != nil || port != adminPort || port == "0" {
		return
	}
	if host == adminHost || anyHost(host) || anyHost(adminHost) {
		p.Key("admin").Key("address").Add("has the port of listen.address")
	}
}

func anyHost(host string) bool { return host == "" || host == "0.0.0.0" || host == "::" }

func (c *cross) route(p units.Problems, i int) {
	r, given := &c.doc.Routes[i], c.root.get("routes").items[i]
	if given.kind != mappingNode {
		return
	}
	c.policies(p, given, r.Auth)
	c.limits(p, given, r.RateLimits, r.FailedLogins, r.Priority == shed.Critical)
	if given.get("rate_limits") == nil {
		c.inherited(p.Key("rate_limits"), r)
	}
	if given.get("forward") != nil {
		c.forward(p.Key("forward"), r.Forward)
	}
	if r.Auth != nil && r.Auth.Require.Expression != "" {
		c.parameters(p.Key("auth").Key("require").Key("expression"), r)
	}
	c.rewritten(p.Key("rewrite").Key("request_headers"), r)
	c.traffic(p, r, given)
	switch {
	case r.Auth == nil && given.get("auth") == nil:
		p.Missing("auth", "the route says nothing about auth: write auth: { issuers: [...] }, or auth: none when everybody may call")
	case r.Auth != nil && r.Dedup != nil:
		c.keyOwner(p.Key("dedup").Key("client"), r.Auth, r.Dedup)
	}
}

// policies checks what a route or defaults wrote itself.
func (c *cross) policies(p units.Problems, given *node, who *auth.Config) {
	if given.get("auth") != nil && who != nil {
		q := p.Key("auth")
		for j, name := range who.Issuers {
			c.name(q.Key("issuers").Index(j), "issuer", name, sortedNames(c.doc.Issuers), "issuers")
		}
		c.asked(q.Key("issuers"), who.Issuers)
		for j, name := range who.APIKeys {
			c.name(q.Key("api_keys").Index(j), "list of API keys", name, sortedNames(c.doc.APIKeys), "api_keys")
		}
		c.expression(q.Key("require").Key("expression"), who)
		c.clients(q, who)
	}
}

// clients checks the lists of clients by certificate and by password: certificates have to be asked for by the port, and a
// name has to mean one user.
func (c *cross) clients(p units.Problems, who *auth.Config) {
	for j, name := range who.Certificates {
		c.name(p.Key("certificates").Index(j), "list of clients", name, sortedNames(c.doc.ClientCertificates), "client_certificates")
	}
	if t := c.doc.Listen.TLS; len(who.Certificates) > 0 && (t == nil || t.ClientAuth == "none") {
		p.Key("certificates").Add("the port asks nobody for a certificate: listen.tls needs client_ca and client_auth: optional or require")
	}
	owner := map[string]string{}
	for j, name := range who.Basic {
		c.name(p.Key("basic").Index(j), "list of users", name, sortedNames(c.doc.BasicUsers), "basic_users")
		for _, u := range c.doc.BasicUsers[name].Users {
			if other := owner[u.Name]; other != "" && other != name {
				p.Key("basic").Index(j).Add("user %q is in list %s as well", u.Name, other)
			}
			owner[u.Name] = name
		}
	}
}

// asked: of two issuers that are asked about tokens, nobody could tell which to ask.
func (c *cross) asked(p units.Problems, names []string) {
	first := ""
	for j, name := range names {
		switch {
		case c.doc.Issuers[name].Introspection == nil:
		case first != "":
			p.Index(j).Add("%s is asked about tokens, and so is %s: nobody could tell which to ask; one issuer with introspection fits a route", name, first)
		default:
			first = name
		}
	}
}

// forward: what carries keys of clients is stripped where it carries claims or tokens, and no key would ever arrive.
func (c *cross) forward(p units.Problems, fwd *auth.ForwardConfig) {
	if fwd == nil {
		return
	}
	taken := auth.KeyHeaders(c.doc.APIKeys)
	for _, header := range sortedNames(fwd.Claims) {
		if slices.Contains(taken, strings.ToLower(header)) {
			p.Key("claims").Key(header).Add("header %s carries API keys and can't carry a claim", header)
		}
	}
	if fwd.Token == nil {
		return
	}
	if slices.Contains(taken, strings.ToLower(fwd.Token.Header)) {
		p.Key("token").Key("header").Add("header %s carries API keys and can't carry a token", fwd.Token.Header)
	}
	if c.doc.Signing == nil && c.fine("internal_token") {
		p.Key("token").Add("needs internal_token, which says who signs: issuer and keys")
	}
}

// name checks that a name stands for something. When the table itself is broken, nothing can be said.
func (c *cross) name(p units.Problems, what, got string, known []string, table string) {
	if !slices.Contains(known, got) && c.fine(table) {
		p.Unknown(what, got, known)
	}
}

func sortedNames[T any](table map[string]T) []string { return slices.Sorted(maps.Keys(table)) }

// keyOwner: without a verified client, keys of different callers would meet in one record.
func (c *cross) keyOwner(p units.Problems, who *auth.Config, d *dedup.Config) {
	if (who.None || who.Optional) && !strings.HasPrefix(d.Client, "header:") {
		p.Add("without an obligatory login nobody owns the key: name the client by a header, client: header:X-...")
	}
}

func (c *cross) ids(p units.Problems) {
	first := make(map[string]int)
	items := c.root.get("routes").list()
	for i, r := range c.doc.Routes {
		if r.ID == "" {
			continue
		}
		before, twice := first[r.ID]
		if !twice {
			first[r.ID] = i
			continue
		}
		p.Index(i).Key("id").Add("route id %s is taken by the route at line %d", strconv.Quote(r.ID), items[before].at.line)
	}
}

func (n *node) list() []*node {
	if n == nil {
		return nil
	}
	return n.items
}

// conflicts reports routes that no request can tell apart, at the later one. Routes whose match is broken are left out.
func (c *cross) conflicts(p units.Problems) {
	var rules []routes.Rule[int]
	var at []int
	for i, r := range c.doc.Routes {
		if c.fine(p.Index(i).Key("match").Path()) && c.fineBelow(p.Index(i).Key("match").Path()) {
			rules, at = append(rules, routes.Rule[int]{ID: r.ID, Match: r.Match, Value: i}), append(at, i)
		}
	}
	_, conflicts := routes.New(rules)
	for _, conflict := range conflicts {
		p.Index(at[conflict.Second]).Key("match").Key("path").Add("%s", conflict.Message)
	}
}
