package gateway

import (
	"context"

	"github.com/oncegate/oncegate/internal/cors"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/routes"
)

// preflight answers the question of a browser for the route that the request itself would meet. Where that route has no cors,
// the question is a request like any other, which needs a credential where OPTIONS does.
func preflight(ctx context.Context, x *pipeline.Exchange, asked []*Plan) error {
	x.Route = asked[0].ID
	for _, other := range asked[1:] { // the value of a field will decide, and the page chooses it
		if other.cors == nil || !other.cors.Allows(x.Request) {
			x.Deferred = cors.ErrOrigin
		}
	}
	return asked[0].preflight.Serve(ctx, x)
}

// askedRoutes are the routes that may take the request that a preflight asks about, the most likely first.
func askedRoutes[T any](table *routes.Table[T], r pipeline.Request) []T {
	method := cors.Asked(r)
	if method == nil {
		return nil
	}
	return table.Preflight(r, method, func(field string) bool { return cors.Names(r, field) })
}

// asksExecution reports a preflight for the question what became of a keyed write.
func (s *Snapshot) asksExecution(r pipeline.Request) bool {
	if !s.crossOrigin || !cors.IsPreflight(r) {
		return false
	}
	method := string(cors.Asked(r))
	return method == "GET" || method == "HEAD"
}
