package edge

import (
	"errors"
	"slices"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// View is what policies see of a request's head, whichever edge it came by. The rest of pipeline.Request, the body, is each
// edge's own. The bytes are the request's: valid until the exchange ends.
type View struct {
	Head  wire.Head
	Verb  []byte // the method
	Limit int64  // of the body, in bytes

	struck []pipeline.Names // what was stripped from the head, and has no business in trailers either
}

// Renew readies the view for the next request; the head is checked by itself.
func (v *View) Renew(verb []byte, limit int64) {
	v.Verb, v.Limit, v.struck = verb, limit, v.struck[:0]
}

// These are pipeline.Request's.

func (v *View) Method() []byte                   { return v.Verb }
func (v *View) Host() []byte                     { return v.Head.Host() }
func (v *View) Authority() []byte                { return v.Head.Authority() }
func (v *View) Path() []byte                     { return v.Head.Path() }
func (v *View) Query() []byte                    { return v.Head.Query() }
func (v *View) Header(name string) []byte        { return v.Head.Get(name) }
func (v *View) Fields() int                      { return v.Head.Len() }
func (v *View) Field(i int) (name, value []byte) { return v.Head.At(i) }
func (v *View) ContentLength() int64             { return v.Head.ContentLength() }
func (v *View) LimitBody(max int64)              { v.Limit = max }

// Methods is the Allow of a 405 for CONNECT and TRACE, which no route takes: the methods that routes usually take. Which of them
// the path has, nobody looked up.
const Methods = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"

// Strip drops every field that names holds, in trailers too.
func (v *View) Strip(names pipeline.Names) {
	v.struck = append(v.struck, names)
	if set, ok := names.(*wire.Names); ok {
		v.Head.DropNames(set)
		return
	}
	for i := range v.Head.Len() {
		if name, _ := v.Head.At(i); name != nil && names.Has(name) {
			v.Head.Drop(i)
		}
	}
}

// Strips reports that fields of this name were stripped.
func (v *View) Strips(name []byte) bool {
	return slices.ContainsFunc(v.struck, func(names pipeline.Names) bool { return names.Has(name) })
}

// RefusalOf is what a client is told of a fault of its request's head.
func RefusalOf(err error) pipeline.Refusal {
	switch {
	case errors.Is(err, wire.HeaderTooLarge):
		return pipeline.HeaderTooLarge
	case errors.Is(err, wire.MethodNotAllowed):
		return pipeline.MethodNotAllowed
	case errors.Is(err, wire.ExpectationFailed):
		return pipeline.ExpectationFailed
	case errors.Is(err, wire.VersionNotSupported):
		return pipeline.VersionNotSupported
	}
	return pipeline.BadRequest
}
