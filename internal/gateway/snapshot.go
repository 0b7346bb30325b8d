package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/oncegate/oncegate/internal/access"
	"github.com/oncegate/oncegate/internal/answer"
	"github.com/oncegate/oncegate/internal/auth"
	"github.com/oncegate/oncegate/internal/auth/signing"
	"github.com/oncegate/oncegate/internal/config"
	"github.com/oncegate/oncegate/internal/cors"
	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/flags"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/routes"
	"github.com/oncegate/oncegate/internal/traffic"
	"github.com/oncegate/oncegate/internal/upstream"
	"github.com/oncegate/oncegate/internal/wire"
)

// Plan is a route's finished handler.
type Plan struct {
	ID      string
	Config  *config.RouteConfig
	handler pipeline.Handler

	cors      *cors.Policy     // nil: off
	preflight pipeline.Handler // nil: preflights are requests like others
}

// Snapshot is all plans of one configuration. It is immutable: a reload makes another and swaps one pointer, and an exchange
// stays with the snapshot that it began with.
type Snapshot struct {
	Document  *config.Document
	Upstreams map[string]*upstream.Upstream
	Authority *auth.Authority
	Signer    *signing.Signer // of the gateway's own tokens; nil without internal_token

	table    *routes.Table[*Plan]
	guarded  *wire.Names // fields that some route sets: no client can send them, on any route
	unrouted pipeline.Handler

	addresses   *access.List // of the whole port; nil: everybody
	crossOrigin bool         // some route has cors

	records    *dedup.Records              // nil: no route has dedup
	executions map[string]pipeline.Handler // by route: answers its clients' questions about keyed writes
	questions  map[string]pipeline.Handler // by route: answers preflights of such questions
	checks     map[string]dedup.Check      // by route
	sealer     *answer.Sealer
	splits     map[string]*traffic.Split // by route
	flags      *flags.Set                // nil: none
	closers    []func()                  // what ends with the snapshot
}

// Serve finds the plan and runs it.
func (s *Snapshot) Serve(ctx context.Context, x *pipeline.Exchange) error {
	if !s.addresses.Admits(x.ClientIP) {
		x.Deferred = s.addresses.Refuse(x)
		return s.unrouted.Serve(ctx, x)
	}
	x.Request.Strip(s.guarded)
	if s.records != nil && bytes.HasPrefix(x.Request.Path(), executionsPath) {
		return s.execution(ctx, x)
	}
	nobody := false
	if s.crossOrigin && cors.IsPreflight(x.Request) {
		asked := askedRoutes(s.table, x.Request)
		if len(asked) > 0 && asked[0].preflight != nil {
			return preflight(ctx, x, asked)
		}
		nobody = len(asked) == 0
	}
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
	} else if result == routes.WrongMethod || nobody { // takes the method that a preflight asks about
		x.Deferred = pipeline.MethodNotAllowed
	}
	return s.unrouted.Serve(ctx, x)
}

// executionsPath is the gateway's own; no route takes it while a route has dedup.
var executionsPath = []byte("/-/executions/")

// execution answers GET /-/executions/{operation_ref} by the route that the write came in on.
func (s *Snapshot) execution(ctx context.Context, x *pipeline.Exchange) error {
	x.Route = ""
	asks := s.asksExecution(x.Request)
	if method := string(x.Request.Method()); method != "GET" && method != "HEAD" && !asks {
		x.Response.Set("Allow", []byte("GET, HEAD"))
		x.Deferred = pipeline.MethodNotAllowed
		return s.unrouted.Serve(ctx, x)
	}
	e, err := s.records.Execution(ctx, string(x.Request.Path()[len(executionsPath):]))
	handler := s.executions[e.Route]
	if asks {
		handler = s.questions[e.Route]
	}
	switch {
	case errors.Is(err, dedup.ErrNoExecution) || err == nil && handler == nil:
		x.Deferred = pipeline.NotFound
		return s.unrouted.Serve(ctx, x)
	case err != nil:
		x.Problem = pipeline.Problem{Executed: pipeline.ExecutedUnknown, SameKey: pipeline.Yes, NewKey: pipeline.No, RetryAfter: 1}
		x.Deferred = fmt.Errorf("%w: %w", pipeline.StoreUnavailable, err)
		return s.unrouted.Serve(ctx, x)
	}
	x.Route = e.Route
	return handler.Serve(ctx, x)
}

// unroutedEnd answers what no route takes: the refusal that the look-up left, or 204 for OPTIONS.
func unroutedEnd(_ context.Context, x *pipeline.Exchange) error {
	if x.Deferred != nil {
		return x.Deferred
	}
	x.Response.SetStatus(204)
	return nil
}

// settle puts into effect what the records of keyed writes take from the document.
func (s *Snapshot) settle() {
	if s.records == nil {
		return
	}
	s.records.Checks(s.checks)
	s.records.Seal(s.sealer)
}

func (s *Snapshot) close() {
	for _, f := range s.closers {
		f()
	}
}

// Split gives the split of a route; nil when it has none.
func (s *Snapshot) Split(route string) *traffic.Split { return s.splits[route] }
