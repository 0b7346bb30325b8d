package traffic

import (
	"context"
	"fmt"
	"strings"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Handler gives the fixed answer. To a gRPC call it is the status that stands for it, unless it is an answer of gRPC by its
// Content-Type.
func (r *Respond) Handler() pipeline.Handler {
	body, own := []byte(r.Body), *r
	values := make([]pipeline.Field, 0, len(r.Headers))
	for name, value := range r.Headers {
		values = append(values, pipeline.Field{Name: name, Value: []byte(value)})
	}
	calls := pipeline.IsGRPC(contentType(r.Headers))
	return pipeline.HandlerFunc(func(_ context.Context, x *pipeline.Exchange) error {
		x.Response.SetStatus(own.Status)
		for i := range values {
			x.Response.Set(values[i].Name, values[i].Value)
		}
		x.Response.SetBody(body)
		if !calls {
			fixedCall(x)
		}
		return nil
	})
}

// Handler sends clients elsewhere.
func (r *Redirect) Handler() (pipeline.Handler, error) {
	pieces, problem := parseTemplate(r.Location)
	if problem != "" {
		return nil, fmt.Errorf("redirect.location: %q %s", r.Location, problem)
	}
	status := r.Status
	return pipeline.HandlerFunc(func(_ context.Context, x *pipeline.Exchange) error {
		location := make([]byte, 0, 256)
		for _, p := range pieces {
			location = p.append(location, x)
		}
		x.Response.SetStatus(status)
		x.Response.Set("Location", location)
		x.Response.SetBody(nil)
		fixedCall(x)
		return nil
	}), nil
}

// piece is text or a name in braces.
type piece struct{ text, name string }

func (p piece) append(dst []byte, x *pipeline.Exchange) []byte {
	switch p.name {
	case "":
		return append(dst, p.text...)
	case "path":
		return append(dst, x.Request.Path()...)
	case "query":
		return append(dst, x.Request.Query()...)
	case "?query": // with its question mark, when there is one
		if q := x.Request.Query(); len(q) > 0 {
			return append(append(dst, '?'), q...)
		}
		return dst
	}
	return append(dst, x.Params.Get(p.name)...)
}

// parseTemplate reads text with {names}. {?query} is the query with its question mark, or nothing. What a client sent can
// only stand behind the host: before it, it would choose where others go. A path that begins with two slashes names a host,
// too, and {path} begins with one; a query may begin with anything.
func parseTemplate(text string) (pieces []piece, problem string) {
	whole, origin := text, ""
	if _, rest, absolute := strings.Cut(text, "://"); absolute {
		origin, _, _ = strings.Cut(rest, "/")
		origin, _, _ = strings.Cut(origin, "{path}") // which begins with its own /
	}
	before, _, found := strings.Cut(text, "{query}")
	switch {
	case strings.Contains(origin, "{"):
		return nil, "has a name in its host"
	case strings.HasPrefix(text, "/{path}"):
		return nil, "begins with two slashes: {path} has its own"
	case found && !strings.ContainsAny(before, "?#"):
		return nil, "has a {query} without a ? before it; {?query} brings its own"
	}
	for text != "" {
		before, rest, found := strings.Cut(text, "{")
		if strings.Contains(before, "}") {
			return nil, "has a } without a {"
		}
		if before != "" {
			pieces = append(pieces, piece{text: before})
		}
		if !found {
			break
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed || name == "" || strings.ContainsAny(name, "{ ") {
			return nil, "has a { without its }"
		}
		pieces = append(pieces, piece{name: name})
		text = after
	}
	if strings.ContainsFunc(whole, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, "holds a space or what is not ASCII"
	}
	return pieces, ""
}

// Params are the path parameters that a template names.
func (r *Redirect) Params() (names []string) {
	pieces, _ := parseTemplate(r.Location)
	for _, p := range pieces {
		if p.name != "" && p.name != "path" && p.name != "query" && p.name != "?query" {
			names = append(names, p.name)
		}
	}
	return names
}
