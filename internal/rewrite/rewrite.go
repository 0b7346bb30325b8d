// Package rewrite changes what goes upstream and what comes back: path, Host and header fields.
//
// It promises that a rewritten path is canonical when the one that came was: it was matched and authorised as it came, and
// nothing here decodes, joins or empties a segment; that fields which frame a message or say who asks can't be changed; and
// that no route finds out at run time that its settings can't work. It does not look at bodies, and it holds no state.
package rewrite

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/oncegate/oncegate/internal/pipeline"
)

type rewriter struct {
	next     pipeline.Handler
	strip    string
	add      string
	path     []part // nil: as it came
	host     []byte // nil: as it came; empty: the target's
	request  []pipeline.Field
	response []pipeline.Field
}

// New makes the layer of a route; nil when nothing is changed.
func New(cfg Config) (pipeline.Layer, error) {
	r := &rewriter{strip: cfg.StripPrefix, add: cfg.AddPrefix, request: fields(cfg.Request), response: fields(cfg.Response)}
	if cfg.Path != "" {
		parts, problem := parsePath(cfg.Path, nil)
		if problem != "" {
			return nil, fmt.Errorf("rewrite.path: %q %s", cfg.Path, problem)
		}
		r.path = parts
	}
	switch cfg.Host {
	case "", "client":
	case "upstream":
		r.host = []byte{}
	default:
		r.host = []byte(cfg.Host)
	}
	if r.strip == "" && r.add == "" && r.path == nil && r.host == nil && r.request == nil && r.response == nil {
		return nil, nil
	}
	return func(next pipeline.Handler) pipeline.Handler {
		own := *r
		own.next = next
		return &own
	}, nil
}

func fields(h Headers) (all []pipeline.Field) {
	for name, value := range h.Set {
		all = append(all, pipeline.Field{Name: name, Value: []byte(value)})
	}
	for _, name := range h.Remove {
		all = append(all, pipeline.Field{Name: name})
	}
	return all
}

// Serve implements pipeline.Handler.
func (r *rewriter) Serve(ctx context.Context, x *pipeline.Exchange) error {
	if path, ok := r.rewritten(x); ok {
		x.Outgoing.Path = path
	}
	if r.host != nil {
		x.Outgoing.Host = r.host
	}
	for i := range r.request {
		if !x.Outgoing.Set(r.request[i].Name, r.request[i].Value) {
			return fmt.Errorf("%w: more header fields are to be changed than fit", pipeline.Internal)
		}
	}
	err := r.next.Serve(ctx, x)
	if err == nil {
		for i := range r.response {
			if f := &r.response[i]; f.Value == nil {
				x.Response.Del(f.Name)
			} else {
				x.Response.Set(f.Name, f.Value)
			}
		}
	}
	return err
}

// rewritten gives the path that goes upstream. Taking a prefix off costs nothing; anything else makes a new path.
func (r *rewriter) rewritten(x *pipeline.Exchange) ([]byte, bool) {
	path := x.Request.Path()
	if x.Outgoing.Path != nil {
		path = x.Outgoing.Path
	}
	if r.path != nil {
		return r.fill(x), true
	}
	stripped := strip(path, r.strip)
	if r.add == "" {
		return stripped, len(stripped) != len(path)
	}
	out := make([]byte, 0, len(r.add)+len(stripped))
	out = append(out, r.add...)
	if string(stripped) == "/" && string(path) != "/" && !bytes.HasSuffix(path, []byte("/")) {
		return out, true // /v1 without its prefix is the new prefix, not a folder below it
	}
	return append(out, stripped...), true
}

var root = []byte("/")

// strip takes whole segments off. A path that does not begin with them stays.
func strip(path []byte, prefix string) []byte {
	if prefix == "" || !bytes.HasPrefix(path, []byte(prefix)) {
		return path
	}
	switch rest := path[len(prefix):]; {
	case len(rest) == 0:
		return root
	case rest[0] == '/':
		return rest
	}
	return path
}

func (r *rewriter) fill(x *pipeline.Exchange) []byte {
	out := make([]byte, 0, 128)
	for i := range r.path {
		if r.path[i].param != "" {
			out = append(out, x.Params.Get(r.path[i].param)...)
		} else {
			out = append(out, r.path[i].text...)
		}
	}
	return out
}

// part is a piece of a path: text, or the value of a parameter.
type part struct{ text, param string }

// parsePath reads a path with {name} in place of whole segments. problem is "" when it is fine.
func parsePath(text string, parts []part) (_ []part, problem string) {
	if !strings.HasPrefix(text, "/") {
		return nil, "does not begin with /"
	}
	plain := ""
	segments := strings.Split(text[1:], "/")
	for i, segment := range segments {
		plain += "/"
		name, isParam := strings.CutPrefix(segment, "{")
		switch name, closed := strings.CutSuffix(name, "}"); {
		case isParam && closed && name != "" && !strings.ContainsAny(name, "{}"):
			parts = append(parts, part{text: plain}, part{param: name})
			plain = ""
		case isParam || closed || strings.ContainsAny(segment, "{}"):
			return nil, "has a parameter that is not a whole segment"
		case segment == "" && i == len(segments)-1: // a / at the end
		case !isCanonical("/" + segment):
			return nil, "is not canonical"
		default:
			plain += segment
		}
	}
	if plain != "" {
		parts = append(parts, part{text: plain})
	}
	return parts, ""
}
