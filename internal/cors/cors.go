// Package cors says which pages of other origins may use a route from a browser (CORS protocol of the Fetch standard).
//
// It promises that only origins of the list get an Access-Control-Allow-Origin, compared byte by byte; that null never stands
// for one of them; that every answer of a route whose list names origins varies by Origin, refusals included; that an
// upstream's own CORS fields never reach a client; and that only a true preflight, OPTIONS with Origin and
// Access-Control-Request-Method, is answered here. It does not keep anybody out: a request of another origin passes, only the
// browser withholds its answer. Private network access is not answered. It keeps no state and can't fail.
package cors

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// Policy is a route's cors, compiled. It is immutable.
type Policy struct {
	origins *origins

	credentials              bool
	methods, headers, expose []byte // values of fields; nil: none
	maxAge                   []byte
}

// The fields of the protocol.
const (
	allowOrigin      = "Access-Control-Allow-Origin"
	allowCredentials = "Access-Control-Allow-Credentials"
	allowMethods     = "Access-Control-Allow-Methods"
	allowHeaders     = "Access-Control-Allow-Headers"
	exposeHeaders    = "Access-Control-Expose-Headers"
	maxAgeField      = "Access-Control-Max-Age"
	privateNetwork   = "Access-Control-Allow-Private-Network"
	localNetwork     = "Access-Control-Allow-Local-Network"
)

// fields are those that an upstream may have set; ours replace them.
var (
	fields = []string{allowOrigin, allowCredentials, allowMethods, allowHeaders, exposeHeaders, maxAgeField, privateNetwork, localNetwork}
	names  = wire.NewNames(fields...)
)

var (
	everybody     = []byte("*")
	yes           = []byte("true")
	varyOrigin    = []byte("Origin")
	varyPreflight = []byte("Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
)

// usual are the methods of a route that takes all.
var usual = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}

// ErrOrigin is the refusal of a preflight.
var ErrOrigin = fmt.Errorf("%w: the origin may not use this route", pipeline.Forbidden)

// New compiles a route's cors; nil when it is off. methods are those that the route matches; none: every method.
func New(cfg *Config, methods []string) (*Policy, error) {
	if cfg == nil || cfg.Off {
		return nil, nil
	}
	list, err := newOrigins(cfg.Origins)
	if err != nil {
		return nil, err
	}
	if list.every && cfg.Credentials {
		return nil, fmt.Errorf("cors: * can't go with credentials")
	}
	p := &Policy{origins: list, credentials: cfg.Credentials}
	p.methods = value(methodsOf(cfg.Methods, methods))
	p.headers, p.expose = value(cfg.Headers), value(cfg.Expose)
	p.maxAge = strconv.AppendInt(nil, int64(cfg.MaxAge.Std()/time.Second), 10)
	return p, nil
}

func methodsOf(configured, matched []string) []string {
	switch {
	case len(configured) > 0:
		return configured
	case len(matched) == 0:
		return usual
	case slices.Contains(matched, "GET") && !slices.Contains(matched, "HEAD"):
		return append(slices.Clone(matched), "HEAD")
	}
	return matched
}

func value(list []string) []byte {
	if len(list) == 0 {
		return nil
	}
	return []byte(strings.Join(list, ", "))
}

// Allows reports whether the request comes from a page that may use the route.
func (p *Policy) Allows(r pipeline.Request) bool {
	_, ok := p.origin(r)
	return ok
}

// origin gives the request's Origin when it is one of the list. Two fields are none.
func (p *Policy) origin(r pipeline.Request) (origin []byte, ok bool) {
	if origin = r.Header("Origin"); origin == nil || !p.origins.allow(origin) {
		return nil, false
	}
	count := 0
	for i := range r.Fields() {
		if name, _ := r.Field(i); len(name) == len("Origin") && name[0]|0x20 == 'o' && wire.EqualFold(name, "Origin") {
			count++
		}
	}
	return origin, count == 1
}

// Layer puts the fields on whatever answer comes from below, refusals included: a page has to be able to read them.
func (p *Policy) Layer() pipeline.Layer {
	if p == nil {
		return nil
	}
	return func(next pipeline.Handler) pipeline.Handler { return &layer{p, next} }
}

type layer struct {
	*Policy
	next pipeline.Handler
}

// Serve calls next and sets the fields after it, so that nothing below can keep, store or double them.
func (l *layer) Serve(ctx context.Context, x *pipeline.Exchange) error {
	err := l.next.Serve(ctx, x)
	if x.Response.HasAny(names) {
		for _, name := range fields {
			x.Response.Del(name)
		}
	}
	if l.origins.every { // the same for everybody, so that caches need not tell requests apart (Fetch, 3.3.6)
		x.Response.Add(allowOrigin, everybody)
		l.exposed(x)
		return err
	}
	vary(x.Response)
	if origin, ok := l.origin(x.Request); ok {
		x.Response.Add(allowOrigin, origin)
		if l.credentials {
			x.Response.Add(allowCredentials, yes)
		}
		l.exposed(x)
	}
	return err
}

func (p *Policy) exposed(x *pipeline.Exchange) {
	if p.expose != nil {
		x.Response.Add(exposeHeaders, p.expose)
	}
}

// vary adds Origin to what the answer varies by. A second field says the same as a longer one.
func vary(r pipeline.Response) {
	if v := r.Header("Vary"); v == nil || !lists(v, "Origin") && !bytes.Equal(v, everybody) {
		r.Add("Vary", varyOrigin)
	}
}

// lists reports whether a list holds a word, whatever its case.
func lists(list []byte, word string) bool {
	for len(list) > 0 {
		member := list
		if i := bytes.IndexByte(list, ','); i >= 0 {
			member, list = list[:i], list[i+1:]
		} else {
			list = nil
		}
		if member = bytes.Trim(member, " \t"); wire.EqualFold(member, word) {
			return true
		}
	}
	return false
}
