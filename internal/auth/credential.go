package auth

import (
	"bytes"
	"crypto/sha256"
	"net/url"
	"slices"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

const authorization = "Authorization"

// credentials are what a request sent, of the kinds that the route takes. Its bytes are borrowed.
type credentials struct {
	authorization []byte // nil: none
	key           []byte
	header        string // of key; "": none
	keys          int    // fields that hold a key
	certificate   bool   // the connection has one: it counts when nothing was sent
}

func (s *credentials) none() bool { return s.authorization == nil && s.keys == 0 && !s.certificate }

// scheme is whose challenge a refusal carries.
type scheme uint8

const (
	noScheme scheme = iota // whatever the route takes
	bearerScheme
	dpopScheme
	keyScheme
	basicScheme
	certificateScheme
	schemes
)

// identified is who asks, or why nobody can tell.
type identified struct {
	claims *claims
	client *pipeline.Client
	source string  // the issuer or the list in the document; "" when none was found
	issuer *issuer // of a token
	scheme scheme
	reason Reason
	cached bool
	nonce  string        // to be used from now on; "": nothing is to be said
	after  time.Duration // with TooManyFailures

	failed  *rule // the first that does not hold; nil: all do
	missing *lack // of scopes; nil: none is missing
}

// credentials looks at the fields that the route takes credentials from, and at no other: a key in a query is not seen.
func (g *gate) credentials(x *pipeline.Exchange) (s credentials) {
	s.certificate = g.shows(x)
	if len(g.trusted) > 0 || len(g.users.all) > 0 {
		s.authorization = x.Request.Header(authorization)
	}
	if len(g.lists) == 0 {
		return s
	}
	for i := range x.Request.Fields() {
		name, value := x.Request.Field(i)
		for _, header := range g.headers {
			if wire.EqualFold(name, header) {
				s.key, s.header = value, header
				s.keys++
			}
		}
	}
	return s
}

// identify verifies the one credential of a request. Several can't be told apart from an attempt to have one judged and
// another one used: they are refused, good or not.
func (g *gate) identify(x *pipeline.Exchange, s *credentials) identified {
	now := x.Start
	if now.IsZero() {
		now = time.Now()
	}
	switch {
	case s.keys > 1 || s.keys == 1 && s.authorization != nil:
		return identified{reason: BadCredential}
	case s.keys == 1:
		return g.byKey(x, s, now)
	case s.authorization == nil && s.certificate:
		return g.byCertificate(x.TLS, now)
	case len(g.users.all) > 0 && isBasic(s.authorization):
		return g.byBasic(x, s.authorization, now)
	case len(g.trusted) == 0 && s.authorization != nil:
		return identified{reason: OtherScheme}
	}
	text, as, reason := g.token(s.authorization)
	if reason == accepted && tokenInQuery(x.Request.Query()) {
		reason = BadCredential
	}
	if reason != accepted {
		return identified{scheme: as, reason: reason}
	}
	if as == noScheme {
		as = bearerScheme
	}
	by := asker{now: now, from: x.ClientIP}
	by.wait, _ = x.Remaining(now, g.patience)
	v := g.authority.verify(g.trusted, text, &by)
	who := identified{scheme: as, issuer: v.issuer, reason: v.reason, cached: v.cached, after: v.after}
	if v.issuer != nil {
		who.source = v.issuer.name
	}
	if v.reason == accepted && v.binds(as) {
		g.held(x, text, &v, &who)
	}
	if who.reason == accepted {
		who.claims, who.client = v.entry.claims, &v.entry.client
	}
	return who
}

func (g *gate) byKey(x *pipeline.Exchange, s *credentials, now time.Time) identified {
	who := identified{scheme: keyScheme, reason: UnknownAPIKey}
	if len(s.key) == 0 {
		who.scheme, who.reason = noScheme, NoCredential // as if the field were not there, but never anonymous
		return who
	}
	if len(s.key) > maxAPIKey {
		return who
	}
	k := findKey(g.lists, s.header, sha256.Sum256(s.key))
	if k == nil {
		return who
	}
	who.source, who.claims, who.client = k.client.Issuer, k.claims, &k.client
	who.reason = k.usable(now, x.ClientIP)
	return who
}

// keyHeaders are the distinct headers of some lists, in lower case.
func keyHeaders(lists []*keyList) []string {
	var headers []string
	for _, l := range lists {
		headers = append(headers, l.header)
	}
	slices.Sort(headers)
	return slices.Compact(headers)
}

// tokenInQuery reports a second token where RFC 6750, 2.3 has one: the upstream might take that instead. Alone it is no
// credential here, and bodies are not looked at.
func tokenInQuery(query []byte) bool {
	for len(query) > 0 {
		var pair []byte
		pair, query, _ = bytes.Cut(query, []byte("&"))
		name, _, _ := bytes.Cut(pair, []byte("="))
		if string(name) == "access_token" {
			return true
		}
		if bytes.IndexByte(name, '%') >= 0 {
			if plain, err := url.QueryUnescape(string(name)); err == nil && plain == "access_token" {
				return true
			}
		}
	}
	return false
}

// token gives the token of an Authorization field, and how it was sent. DPoP is a scheme only where an issuer has proofs.
func (g *gate) token(field []byte) ([]byte, scheme, Reason) {
	text, reason := after("bearer", field)
	if reason == OtherScheme && g.proofs != nil {
		text, reason = after("dpop", field)
		return text, dpopScheme, reason
	}
	return text, noScheme, reason // bearerScheme once it is a token
}

// after gives what follows a scheme, whose letter case does not count (RFC 9110, 11.1).
func after(scheme string, field []byte) ([]byte, Reason) {
	if field == nil {
		return nil, NoCredential
	}
	if len(field) < len(scheme) {
		return nil, OtherScheme
	}
	for i := range len(scheme) {
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

// several reports a list of credentials: no token holds a comma. A token in JSON (RFC 7515, 7.2) is one, of a form that is
// not taken.
func several(text []byte) bool {
	return text[0] != '{' && bytes.IndexByte(text, ',') >= 0
}
