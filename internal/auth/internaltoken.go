package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oncegate/oncegate/internal/auth/signing"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"

	"github.com/go-json-experiment/json/jsontext"
)

// TokenConfig is forward.token: the gateway's own token for an upstream, in place of the client's credential.
type TokenConfig struct {
	Audience string   `yaml:"audience" nonempty:"true" doc:"aud of the token; by default the upstream's name."`
	Claims   []string `yaml:"claims" nonempty:"true" doc:"Claims of the client to be copied, beside sub, scope and who knows the client."`
	Header   string   `yaml:"header" default:"Authorization" doc:"Where it goes: Authorization, as a bearer token, or another header, which holds the token alone; no client can set that one."`
}

// ownClaims are what the gateway says in a token itself, or what would have it say more than it knows.
var ownClaims = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "scope", "client_id", "client_issuer", "client_identity", "cnf", "act", "may_act"}

func (c *TokenConfig) inAuthorization() bool {
	return c.Header == "" || strings.EqualFold(c.Header, authorization)
}

func (c *TokenConfig) header() string {
	if c.inAuthorization() {
		return authorization
	}
	return c.Header
}

// validate judges forward.token beside the rest of forward.
func (c *TokenConfig) validate(p units.Problems, f *ForwardConfig) {
	low := strings.ToLower(c.header())
	switch at := p.Key("header"); {
	case c.inAuthorization():
		if f.Authorization {
			at.Add("authorization: true sends the client's Authorization there: name another header, such as X-Internal-Token")
		}
	case !isToken(c.Header) || strings.Contains(c.Header, "_"):
		at.Add("%q is not a header name; write it without '_'", c.Header)
	case slices.Contains(reserved, low) || strings.HasPrefix(low, "x-forwarded-"):
		at.Add("header %s is not for tokens", c.Header)
	}
	for header := range f.Claims {
		if strings.EqualFold(header, c.Header) {
			p.Key("header").Add("%s carries a claim already", header)
		}
	}
	for i, name := range c.Claims {
		switch {
		case name == "" || slices.Contains(c.Claims[:i], name):
			p.Key("claims").Index(i).Add("%q is empty or stands here twice", name)
		case slices.Contains(ownClaims, name):
			p.Key("claims").Index(i).Add("%s is the gateway's to say: it can't be copied", name)
		}
	}
	if len(c.Claims) > maxForwardedClaims {
		p.Key("claims").Add("at most %d claims can be copied", maxForwardedClaims)
	}
}

// NewToken makes the layer that signs who asks, for one upstream of a route; nil when the route forwards no token. It stands below
// everything that may still refuse or replay: what is not sent is not signed, and no stored answer depends on it. A request
// of nobody goes on without the header; one whose token can't be signed does not go on.
func NewToken(fwd ForwardConfig, upstream string, s *signing.Signer) (pipeline.Layer, error) {
	if fwd.Token == nil {
		return nil, nil
	}
	if s == nil {
		return nil, errors.New("forward.token needs internal_token")
	}
	t := tokenLayer{signer: s, cfg: *fwd.Token, header: fwd.Token.header(), bare: !fwd.Token.inAuthorization()}
	if t.cfg.Audience == "" {
		t.cfg.Audience = upstream
	}
	if t.cfg.Audience == "" {
		return nil, errors.New("forward.token has no audience")
	}
	return func(next pipeline.Handler) pipeline.Handler {
		own := t
		own.next = next
		return &own
	}, nil
}

type tokenLayer struct {
	next   pipeline.Handler
	signer *signing.Signer
	cfg    TokenConfig
	header string
	bare   bool
}

// Serve signs and goes on.
func (t *tokenLayer) Serve(ctx context.Context, x *pipeline.Exchange) error {
	var value []byte // nil removes what the client sent
	if !x.Client.Anonymous() {
		var err error
		if value, err = t.sign(x); err != nil {
			return fmt.Errorf("%w: %w", NotSigned, err)
		}
	}
	if !x.Outgoing.Set(t.header, value) {
		return TooManyHeaders
	}
	return t.next.Serve(ctx, x)
}

var errNoClaims = errors.New("the client has no claims to sign")

func (t *tokenLayer) sign(x *pipeline.Exchange) ([]byte, error) {
	c, ok := x.Client.Claims.(*claims)
	if !ok || c == nil {
		return nil, errNoClaims
	}
	expires, _, _ := c.date("exp")
	grant := signing.Grant{
		Audience: t.cfg.Audience, Subject: x.Client.Subject, ClientID: c.program(x.Client.Subject),
		Issuer: x.Client.Issuer, Identity: x.Client.Identity, Scopes: c.scopes, Expires: expires,
		Names: t.cfg.Claims, Claims: c,
	}
	value, err := t.signer.Authorization(&grant, time.Now()) // not x.Start: keyed writes may have waited
	if err == nil && t.bare {
		value = signing.Token(value)
	}
	return value, err
}

// program names the program that acts for the subject: client_id (RFC 8693, 4.3), OpenID's azp, or the subject itself.
func (c *claims) program(subject string) string {
	for _, name := range [...]string{"client_id", "azp"} {
		if id, ok := c.textOf(name); ok && id != "" {
			return id
		}
	}
	return subject
}

// AppendJSON appends a claim as JSON. A null counts as absent.
func (c *claims) AppendJSON(dst []byte, name string) ([]byte, bool) {
	m := c.find(name)
	if m == nil || m.kind == jsontext.KindNull {
		return dst, false
	}
	if m.kind != jsontext.KindString {
		return append(dst, m.text...), true
	}
	out, err := jsontext.AppendQuote(dst, m.text)
	return out, err == nil
}
