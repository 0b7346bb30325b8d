package gateway

import (
	"context"

	"github.com/oncegate/oncegate/internal/auth"
	"github.com/oncegate/oncegate/internal/config"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/routes"
	"github.com/oncegate/oncegate/internal/upstream"
	"github.com/oncegate/oncegate/internal/wire"
)

// Plan is a route's finished handler.
type Plan struct {
	ID      string
	Config  *config.RouteConfig
	handler pipeline.Handler
}

// Snapshot is all plans of one configuration. It is immutable: a reload makes another and swaps one pointer, and an exchange
// stays with the snapshot that it began with.
type Snapshot struct {
	Document  *config.Document
	Upstreams map[string]*upstream.Upstream
	Authority *auth.Authority

	table    *routes.Table[*Plan]
	guarded  *wire.Names // fields that some route sets: no client can send them, on any route
	unrouted pipeline.Handler
}

// Serve finds the plan and runs it.
func (s *Snapshot) Serve(ctx context.Context, x *pipeline.Exchange) error {
	x.Request.Strip(s.guarded)
	plan, result, allow := s.table.Find(x.Request, &x.Params)
	if result == routes.Matched {
		x.Route = plan.ID
		return plan.handler.Serve(ctx, x)
	}
	x.Route = ""
	if allow != "" {
		x.Response.Set("Allow", []byte(allow))
	}
	if result == routes.NotFound {
		x.Deferred = pipeline.NotFound
	} else if result == routes.WrongMethod {
		x.Deferred = pipeline.MethodNotAllowed
	}
	return s.unrouted.Serve(ctx, x)
}

// unroutedEnd answers what no route takes: the refusal that the look-up left, or 204 for OPTIONS.
func unroutedEnd(_ context.Context, x *pipeline.Exchange) error {
	if x.Deferred != nil {
		return x.Deferred
	}
	x.Response.SetStatus(204)
	return nil
}
