package dedup

import (
	"context"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// marks are the fields by which this package speaks. On its routes nobody else does: an upstream that replays by itself would
// have a first answer look like a repeated one.
var (
	marks   = []string{statusField, "Idempotent-Replayed", "Idempotency-Original-Request-Id"}
	markSet = wire.NewNames(marks...)
)

// unmarked takes the upstream's own marks off its answers.
type unmarked struct{ next pipeline.Handler }

// Serve implements pipeline.Handler.
func (u unmarked) Serve(ctx context.Context, x *pipeline.Exchange) error {
	err := u.next.Serve(ctx, x)
	if x.Response.HasAny(markSet) {
		for _, name := range marks {
			x.Response.Del(name)
		}
	}
	return err
}
