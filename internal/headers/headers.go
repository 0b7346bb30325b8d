// Package headers sets the fields by which answers tell browsers to be careful: Strict-Transport-Security (RFC 6797),
// X-Content-Type-Options, X-Frame-Options, Referrer-Policy and Content-Security-Policy.
//
// It promises that every answer of a route has them, refusals and replays included; that an upstream's own value stays unless
// the document says otherwise; and that Strict-Transport-Security is never sent over plain HTTP, where it means nothing
// (RFC 6797, 7.2). It does not look into bodies, and it can't fail.
package headers

import (
	"context"
	"strings"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

type field struct {
	name  string
	value []byte
}

const (
	transportSecurity = "Strict-Transport-Security"
	contentPolicy     = "Content-Security-Policy"
)

// fields are what is to be set, Strict-Transport-Security first.
func (c *Config) fields() []field {
	var list []field
	add := func(name, value string) {
		if value != "" && value != off {
			list = append(list, field{name, []byte(value)})
		}
	}
	add(transportSecurity, c.HSTS)
	add("X-Content-Type-Options", c.ContentType)
	add("X-Frame-Options", strings.ToUpper(strings.ReplaceAll(c.Frame, off, "")))
	add("Referrer-Policy", c.Referrer)
	add(contentPolicy, c.policy())
	return list
}

// policy joins the document's policy with what frame means in it.
func (c *Config) policy() string {
	ancestors := map[string]string{"deny": "frame-ancestors 'none'", "sameorigin": "frame-ancestors 'self'"}[c.Frame]
	own := strings.TrimSuffix(strings.TrimSpace(c.CSP), ";")
	switch {
	case own == "":
		return ancestors
	case ancestors == "" || hasDirective(own, "frame-ancestors"):
		return own
	}
	return own + "; " + ancestors
}

func hasDirective(policy, name string) bool {
	for part := range strings.SplitSeq(policy, ";") {
		if words := strings.Fields(part); len(words) > 0 && strings.EqualFold(words[0], name) {
			return true
		}
	}
	return false
}

// New makes the layer of a route; nil when it is off or sets nothing.
func New(cfg *Config) pipeline.Layer {
	if cfg == nil || cfg.Off {
		return nil
	}
	l := layer{always: cfg.fields(), override: cfg.Override}
	if len(l.always) == 0 {
		return nil
	}
	names := []string{transportSecurity}
	for _, f := range l.always {
		names = append(names, f.name)
	}
	l.names = wire.NewNames(names...)
	if l.always[0].name == transportSecurity {
		l.secure, l.always = l.always[0].value, l.always[1:]
	}
	return func(next pipeline.Handler) pipeline.Handler {
		own := l
		own.next = next
		return &own
	}
}

type layer struct {
	next     pipeline.Handler
	names    *wire.Names // of all that may be set or taken away
	secure   []byte      // over TLS only; nil: nothing is said
	always   []field
	override bool
}

// Serve sets the fields after the answer has been made, so that nothing below stores them.
func (l *layer) Serve(ctx context.Context, x *pipeline.Exchange) error {
	err := l.next.Serve(ctx, x)
	if x.Response.HasAny(l.names) {
		l.join(x, err != nil || l.override)
		return err
	}
	if x.Secure && l.secure != nil {
		x.Response.Add(transportSecurity, l.secure)
	}
	for i := range l.always {
		x.Response.Add(l.always[i].name, l.always[i].value)
	}
	return err
}

// join sets what is not there, or replaces what is.
func (l *layer) join(x *pipeline.Exchange, replace bool) {
	set := func(name string, value []byte) {
		if replace || x.Response.Header(name) == nil {
			x.Response.Set(name, value)
		}
	}
	switch {
	case !x.Secure:
		x.Response.Del(transportSecurity)
	case l.secure != nil:
		set(transportSecurity, l.secure)
	}
	for i := range l.always {
		set(l.always[i].name, l.always[i].value)
	}
}
