package dedup

import (
	"context"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Ignored is the layer of routes without dedup: a request that carries a key is told that nobody looked at it. rec may be nil.
func Ignored(route string, rec Recorder) pipeline.Layer {
	if rec == nil {
		rec = silent{}
	}
	return func(next pipeline.Handler) pipeline.Handler { return &ignored{next, route, rec} }
}

type ignored struct {
	next     pipeline.Handler
	route    string
	recorder Recorder
}

var ignoredWord = []byte(ResultIgnored)

// Serve implements pipeline.Handler.
func (h *ignored) Serve(ctx context.Context, x *pipeline.Exchange) error {
	keyed := x.Request.Header(keyField) != nil
	err := h.next.Serve(ctx, x)
	if keyed {
		h.recorder.Dedup(h.route, ResultIgnored)
		x.Response.Set(statusField, ignoredWord)
	}
	return err
}
