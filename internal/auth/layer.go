// Package auth verifies bearer tokens (RFC 6750, RFC 7519, RFC 8725) and decides whether a client may use a route.
//
// It promises that a request passes with a client only when one key of a trusted issuer, bound to one algorithm, signed
// its token, and every check of the issuer and of the route holds at that moment, whether the token was seen before or
// not; that a route without credentials says so in words; that nothing in a token chooses a URL, a file or an algorithm;
// and that an answer never tells which check failed. It does not limit failed attempts, refuse a second Authorization
// field (the edge does), or know revoked tokens. When an issuer's keys can't be fetched, the last good ones serve up to
// their age limit of a day; then, and before the first load, requests are refused with auth-unavailable.
package auth

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

const authorization = "Authorization"

// gate is the layer of one route.
type gate struct {
	next      pipeline.Handler
	authority *Authority
	trusted   []*issuer
	optional  bool
	claims    []claimRule
	scopes    scopeRule
	forward   forward
}

type claimRule struct {
	name   string
	values []string
}

// New makes the layer of a route. Issuers that the authority does not know, and two with the same iss, are errors. For
// auth: none the layer only keeps claim headers off the request; it is nil when there are none.
func New(cfg Config, fwd ForwardConfig, a *Authority) (pipeline.Layer, error) {
	if cfg.None {
		return open(newForward(fwd)), nil
	}
	trusted, err := trust(cfg.Issuers, a)
	if err != nil {
		return nil, err
	}
	g := gate{
		authority: a, trusted: trusted, optional: cfg.Optional,
		scopes: newScopeRule(cfg.Require.Scopes), forward: newForward(fwd),
	}
	for name, values := range cfg.Require.Claims {
		g.claims = append(g.claims, claimRule{name, values})
	}
	return func(next pipeline.Handler) pipeline.Handler {
		own := g
		own.next = next
		return &own
	}, nil
}

func trust(names []string, a *Authority) ([]*issuer, error) {
	if len(names) == 0 {
		return nil, fmt.Errorf("auth names no issuers")
	}
	var trusted []*issuer
	for _, name := range names {
		i := a.issuers[name]
		if i == nil {
			return nil, fmt.Errorf("unknown issuer %q", name)
		}
		for _, other := range trusted {
			if other.cfg.Issuer == i.cfg.Issuer {
				return nil, fmt.Errorf("issuers %q and %q of one route have the same iss: tokens can't be told apart", other.name, name)
			}
		}
		trusted = append(trusted, i)
	}
	return trusted, nil
}

// open is the layer of a route without auth.
func open(f forward) pipeline.Layer {
	if !f.authorization && len(f.fields) == 0 {
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

// Serve lets a request with a good token pass and fills x.Client; others get a Reason.
func (g *gate) Serve(ctx context.Context, x *pipeline.Exchange) error {
	x.Client = pipeline.Client{}
	field := x.Request.Header(authorization)
	if field == nil && g.optional {
		if !g.forward.apply(x, nil) {
			return TooManyHeaders
		}
		return g.next.Serve(ctx, x)
	}
	v := verified{}
	text, reason := bearer(field)
	if reason == accepted {
		now := x.Start
		if now.IsZero() {
			now = time.Now()
		}
		wait, _ := x.Remaining(now, unknownKeyWait)
		v = g.authority.verify(g.trusted, text, now, wait)
		reason = v.reason
	}
	if reason == accepted {
		reason = g.authorize(x, v.entry)
	}
	if reason != accepted {
		return g.refuse(x, v.issuer, reason)
	}
	g.authority.recorder.Authenticated(v.issuer.name, v.cached)
	return g.next.Serve(ctx, x)
}

// authorize judges what the route demands, and passes on what the route forwards.
func (g *gate) authorize(x *pipeline.Exchange, e *entry) Reason {
	for i := range g.claims {
		if !e.claims.isOneOf(g.claims[i].name, g.claims[i].values) {
			return MissingClaim
		}
	}
	if missing := g.scopes.missing(e.claims.scopes); missing != nil {
		x.Problem.Scopes = missing.words
		x.Response.Set(challengeField, missing.challenge)
		return MissingScope
	}
	if !g.forward.apply(x, e.claims) {
		return TooManyHeaders
	}
	x.Client = e.client
	return accepted
}

// bearer gives the token of an Authorization field. The scheme's letter case does not count (RFC 9110, 11.1).
func bearer(field []byte) ([]byte, Reason) {
	const scheme = "bearer"
	if field == nil {
		return nil, NoCredential
	}
	if len(field) < len(scheme) {
		return nil, OtherScheme
	}
	for i := range scheme {
		if field[i]|0x20 != scheme[i] {
			return nil, OtherScheme
		}
	}
	text := field[len(scheme):]
	if len(text) > 0 && text[0] != ' ' {
		return nil, OtherScheme
	}
	for len(text) > 0 && text[0] == ' ' {
		text = text[1:]
	}
	if len(text) == 0 {
		return nil, BadCredential
	}
	if len(text) <= maxToken && several(text) {
		return nil, BadCredential
	}
	return text, accepted
}

// several reports a list of credentials: no token holds a comma.
func several(text []byte) bool {
	return bytes.IndexByte(text, ',') >= 0
}
