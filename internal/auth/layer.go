// Package auth verifies bearer tokens (RFC 6750, RFC 7519, RFC 8725), API keys, passwords (RFC 7617) and client certificates,
// and decides whether a client may use a route.
//
// It promises that a request passes with a client only when it sent exactly one credential, or none over a connection with a
// certificate; when one key of a trusted issuer, bound to one algorithm, signed its token, or a list of the route holds its
// API key, password (as hashes) or certificate; and when every check of the issuer and of the route holds at that moment,
// revocation included, whether the credential was seen before or not.
// A route without credentials says so in words; nothing in a token chooses a URL, a file or an algorithm; an answer never
// tells which check failed. It does not limit failed attempts or refuse a second Authorization field (the edge does). When
// an issuer's keys can't be fetched, the last good ones serve up to their age limit of a day; then, and before the first
// load, requests are refused with auth-unavailable, as they are when nobody knows what was revoked.
package auth

import (
	"context"
	"fmt"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// gate is the layer of one route.
type gate struct {
	next      pipeline.Handler
	authority *Authority
	trusted   []*issuer
	lists     []*keyList
	certs     []*certList
	users     users
	headers   []string      // of the lists, in lower case
	schemes   []scheme      // of what the route takes; refusals speak of the first when nothing was recognised
	proofs    *proofs       // nil: no issuer takes tokens with proofs
	patience  time.Duration // how long a request waits for keys or an answer
	optional  bool
	rules     []rule
	scopes    scopeRule
	anyScope  anyScopeRule
	forward   forward

	bothScopes scopeRule // of scopes, for a client that has none of anyScope either
}

// New makes the layer of a route. Issuers and lists that the authority does not know, and two issuers with the same iss, are
// errors. For auth: none the layer only keeps claim headers and API keys from going upstream; it is nil when there are none.
func New(cfg Config, fwd ForwardConfig, a *Authority) (pipeline.Layer, error) {
	f := newForward(fwd, a)
	if err := f.clash(a); err != nil {
		return nil, err
	}
	if cfg.None {
		return open(f), nil
	}
	g, err := newGate(cfg, f, a)
	if err != nil {
		return nil, err
	}
	return func(next pipeline.Handler) pipeline.Handler {
		own := *g
		own.next = next
		return &own
	}, nil
}

func newGate(cfg Config, f forward, a *Authority) (*gate, error) {
	trusted, err := trust(cfg.Issuers, a)
	if err != nil {
		return nil, err
	}
	g := &gate{
		authority: a, trusted: trusted, patience: unknownKeyWait, optional: cfg.Optional, forward: f,
		scopes: newScopeRule(cfg.Require.Scopes, nil), anyScope: newAnyScopeRule(cfg.Require.AnyScope),
	}
	if len(cfg.Require.AnyScope) > 0 {
		g.bothScopes = newScopeRule(cfg.Require.Scopes, cfg.Require.AnyScope)
	}
	if i := introspecting(trusted); i != nil {
		g.patience = max(g.patience, i.asks.Timeout())
	}
	for _, name := range cfg.APIKeys {
		l := a.lists[name]
		if l == nil {
			return nil, fmt.Errorf("unknown list of API keys %q", name)
		}
		g.lists = append(g.lists, l)
	}
	if err := g.takeLists(cfg, a); err != nil {
		return nil, err
	}
	g.proofs = newProofs(trusted)
	g.schemes = g.taken()
	if len(g.schemes) == 0 {
		return nil, fmt.Errorf("auth names none of issuers, api_keys, certificates and basic")
	}
	g.headers = keyHeaders(g.lists)
	g.rules, err = newRules(cfg.Require, a.compile)
	return g, err
}

// takeLists finds the lists of clients by certificate and by password.
func (g *gate) takeLists(cfg Config, a *Authority) (err error) {
	for _, name := range cfg.Certificates {
		l := a.certs[name]
		if l == nil {
			return fmt.Errorf("unknown list of client_certificates %q", name)
		}
		g.certs = append(g.certs, l)
	}
	var lists []*userList
	for _, name := range cfg.Basic {
		l := a.users[name]
		if l == nil {
			return fmt.Errorf("unknown list of basic_users %q", name)
		}
		lists = append(lists, l)
	}
	g.users, err = newUsers(lists)
	return err
}

func trust(names []string, a *Authority) ([]*issuer, error) {
	var trusted []*issuer
	for _, name := range names {
		i := a.issuers[name]
		if i == nil {
			return nil, fmt.Errorf("unknown issuer %q", name)
		}
		for _, other := range trusted {
			if other.asks != nil && i.asks != nil {
				return nil, fmt.Errorf("issuers %q and %q of one route are both asked about tokens: nobody could tell which to ask", other.name, name)
			}
			if other.cfg.Issuer == i.cfg.Issuer && other.asks == nil && i.asks == nil {
				return nil, fmt.Errorf("issuers %q and %q of one route have the same iss: tokens can't be told apart", other.name, name)
			}
		}
		trusted = append(trusted, i)
	}
	return trusted, nil
}

// open is the layer of a route without auth.
func open(f forward) pipeline.Layer {
	if !f.authorization && len(f.fields) == 0 && len(f.hidden) == 0 {
		return nil
	}
	return func(next pipeline.Handler) pipeline.Handler {
		return pipeline.HandlerFunc(func(ctx context.Context, x *pipeline.Exchange) error {
			if !f.apply(x, nil) {
				return TooManyHeaders
			}
			return next.Serve(ctx, x)
		})
	}
}

// Serve lets a request with a good credential pass and fills x.Client; others get a Reason.
func (g *gate) Serve(ctx context.Context, x *pipeline.Exchange) error {
	x.Client, x.Refused = pipeline.Client{}, ""
	if g.elsewhere(x) {
		return g.refuse(x, &identified{reason: OtherHost})
	}
	sent := g.credentials(x)
	if g.optional && sent.none() {
		if !g.forward.apply(x, nil) {
			return TooManyHeaders
		}
		return g.next.Serve(ctx, x)
	}
	who := g.identify(x, &sent)
	if who.reason == accepted {
		who.reason = g.authorize(x, &who)
	}
	if who.reason != accepted {
		return g.refuse(x, &who)
	}
	g.authority.recorder.Authenticated(who.source, who.cached)
	err := g.next.Serve(ctx, x)
	if who.nonce != "" {
		tellNonce(x, who.nonce)
	}
	return err
}

// authorize judges what the route demands, and passes on what the route forwards. Rules see the client; nobody else does
// before all of them hold. The log gets the name of one that may not.
func (g *gate) authorize(x *pipeline.Exchange, who *identified) Reason {
	x.Client = *who.client
	reason := g.judge(x, who)
	if reason != accepted {
		x.Client = pipeline.Client{}
	}
	if reason.Kind() == pipeline.Forbidden {
		x.Refused = who.client.Subject
	}
	return reason
}

// judge asks every rule, whatever else fails: a client that lacks scopes is told which.
func (g *gate) judge(x *pipeline.Exchange, who *identified) Reason {
	who.failed, who.missing = g.failed(x, who.claims), g.missing(who.claims.scopes)
	if who.missing != nil {
		x.Problem.Scopes = who.missing.words
	}
	switch {
	case who.failed != nil:
		return who.failed.reason
	case who.missing != nil:
		return MissingScope
	case !g.forward.apply(x, who.claims):
		return TooManyHeaders
	}
	return accepted
}

// failed gives the first rule that does not hold, or nil.
func (g *gate) failed(x *pipeline.Exchange, c *claims) *rule {
	for i := range g.rules {
		if r := &g.rules[i]; !r.matcher.matches(x, c) {
			return r
		}
	}
	return nil
}
