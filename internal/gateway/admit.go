package gateway

import (
	"context"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// admit holds the cheap refusals that come before cryptography: for now the size of the body. A body of unknown length is
// counted as it is read.
func admit(maxBody int64) pipeline.Layer {
	return func(next pipeline.Handler) pipeline.Handler {
		return pipeline.HandlerFunc(func(ctx context.Context, x *pipeline.Exchange) error {
			if x.Request.ContentLength() > maxBody {
				return pipeline.TooLarge
			}
			x.Request.LimitBody(maxBody)
			return next.Serve(ctx, x)
		})
	}
}
