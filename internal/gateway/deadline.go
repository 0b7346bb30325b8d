package gateway

import (
	"context"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// deadline fixes one point in time for everything below it. It bounds the way to the answer's head; bodies are bounded by
// their pauses, so a long download is not cut.
func deadline(timeout time.Duration) pipeline.Layer {
	return func(next pipeline.Handler) pipeline.Handler {
		return pipeline.HandlerFunc(func(ctx context.Context, x *pipeline.Exchange) error {
			x.Deadline = x.Start.Add(timeout)
			return next.Serve(ctx, x)
		})
	}
}
