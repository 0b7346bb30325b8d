package dedup

import (
	"context"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Ignored is the layer of routes without dedup: a request that carries a key is told that nobody looked at it.
func Ignored() pipeline.Layer {
	return func(next pipeline.Handler) pipeline.Handler { return ignored{next} }
}

type ignored struct{ next pipeline.Handler }

var ignoredWord = []byte("ignored")

// Serve implements pipeline.Handler.
func (h ignored) Serve(ctx context.Context, x *pipeline.Exchange) error {
	keyed := x.Request.Header(keyField) != nil
	err := h.next.Serve(ctx, x)
	if keyed {
		x.Response.Set(statusField, ignoredWord)
	}
	return err
}
