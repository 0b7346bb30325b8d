package cors

import (
	"context"
	"slices"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

const (
	requestMethod  = "Access-Control-Request-Method"
	requestHeaders = "Access-Control-Request-Headers"
)

// maxMethod bounds what is taken for a method.
const maxMethod = 32

// IsPreflight reports the question of a browser whether a page may send a request (Fetch, 4.8).
func IsPreflight(r pipeline.Request) bool {
	return string(r.Method()) == "OPTIONS" && r.Header(requestMethod) != nil && r.Header("Origin") != nil
}

// Asked gives the method that a preflight asks for; nil when no page can use it.
func Asked(r pipeline.Request) []byte {
	method := r.Header(requestMethod)
	if len(method) > maxMethod || !isToken(method) || slices.Contains(neverAsked, string(method)) {
		return nil
	}
	return method
}

// Names reports whether a preflight says that the request will carry a field. Its value is not told.
func Names(r pipeline.Request, field string) bool {
	for i := range r.Fields() {
		if name, value := r.Field(i); wire.EqualFold(name, requestHeaders) && lists(value, field) {
			return true
		}
	}
	return false
}

// Preflight is the handler that answers the preflights of a route: 204 with what is allowed, or forbidden for an origin that
// is not in the list, or when x.Deferred says so. The browser compares method and fields with the lists itself, and tells
// the page's author which of them is missing.
func (p *Policy) Preflight() pipeline.Handler {
	if p == nil {
		return nil
	}
	return pipeline.HandlerFunc(p.answer)
}

func (p *Policy) answer(_ context.Context, x *pipeline.Exchange) error {
	x.Response.Set("Vary", varyPreflight)
	origin, ok := p.origin(x.Request)
	if !ok || x.Deferred != nil {
		x.Deferred = nil
		return ErrOrigin
	}
	if p.origins.every {
		origin = everybody
	}
	x.Response.SetStatus(204)
	x.Response.Set(allowOrigin, origin)
	if p.credentials {
		x.Response.Set(allowCredentials, yes)
	}
	x.Response.Set(allowMethods, p.methods)
	if p.headers != nil {
		x.Response.Set(allowHeaders, p.headers)
	}
	x.Response.Set(maxAgeField, p.maxAge)
	return nil
}
