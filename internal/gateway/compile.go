package gateway

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/oncegate/oncegate/internal/access"
	"github.com/oncegate/oncegate/internal/auth"
	"github.com/oncegate/oncegate/internal/auth/expression"
	"github.com/oncegate/oncegate/internal/auth/signing"
	"github.com/oncegate/oncegate/internal/config"
	"github.com/oncegate/oncegate/internal/cors"
	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/headers"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/ratelimit"
	"github.com/oncegate/oncegate/internal/routes"
	"github.com/oncegate/oncegate/internal/shed"
	"github.com/oncegate/oncegate/internal/traffic"
	"github.com/oncegate/oncegate/internal/upstream"
	"github.com/oncegate/oncegate/internal/websocket"
)

// compiler turns one checked document into a snapshot. It never touches the running one: an error leaves no trace but
// connection pools and breakers, which the next sweep takes away.
type compiler struct {
	doc    *config.Document
	state  *State
	snap   *Snapshot
	limits map[string]*ratelimit.Limit
	store  ratelimit.Store
	seats  ratelimit.Seats
}

func compile(doc *config.Document, state *State, old *Snapshot) (*Snapshot, error) {
	c := &compiler{doc: doc, state: state, snap: &Snapshot{Document: doc, Upstreams: map[string]*upstream.Upstream{}, checks: map[string]dedup.Check{}, executions: map[string]pipeline.Handler{}, questions: map[string]pipeline.Handler{}, splits: map[string]*traffic.Split{}}}
	var previous *auth.Authority
	var signer *signing.Signer
	if old != nil {
		previous, signer = old.Authority, old.Signer
	}
	var err error
	if c.snap.Signer, err = signing.New(doc.Signing, signer); err != nil {
		return nil, fmt.Errorf("internal_token: %w", err)
	}
	revoked, shared, err := state.shareRevocations(doc)
	if err != nil {
		return nil, err
	}
	replays, err := state.shareProofs(doc)
	if err != nil {
		return nil, err
	}
	authority, err := auth.NewAuthority(doc.Issuers, previous, auth.Deps{
		Logger: state.Logger, Recorder: state.Metrics, APIKeys: doc.APIKeys, Clients: doc.ClientCertificates, Users: doc.BasicUsers,
		Revocations: revoked, Store: shared,
		Replays: replays, Nonces: nonces(doc), Compile: expressions(),
		FailedShare: float64(doc.Listen.Limits.FailedTokensPerIP), Introspected: state.Metrics.Introspected,
	})
	if err != nil {
		return nil, err
	}
	c.snap.Authority = authority
	if err := c.build(); err != nil {
		authority.Retire(previous)
		return nil, err
	}
	return c.snap, nil
}

func (c *compiler) build() error {
	for name, cfg := range c.doc.Upstreams {
		u, err := upstream.New(name, cfg.Config, c.state.pools, c.state.Metrics)
		if err != nil {
			return fmt.Errorf("upstreams.%s: %w", name, err)
		}
		c.snap.Upstreams[name] = u
	}
	upstream.FirstLook(context.Background(), slices.Collect(maps.Values(c.snap.Upstreams)))
	var err error
	if c.snap.sealer, err = sealer(c.doc.State); err != nil {
		return err
	}
	if c.store, c.seats, err = c.state.counters(c.doc); err != nil {
		return err
	}
	if c.snap.flags, err = c.state.flags(c.doc.Flags); err != nil {
		return err
	}
	c.limits = make(map[string]*ratelimit.Limit, len(c.doc.RateLimits))
	for name, cfg := range c.doc.RateLimits {
		c.limits[name] = ratelimit.Compile(name, cfg)
	}
	rules := make([]routes.Rule[*Plan], len(c.doc.Routes))
	for i := range c.doc.Routes {
		r := &c.doc.Routes[i]
		plan, err := c.plan(r)
		if err != nil {
			return fmt.Errorf("routes[%d] %s: %w", i, r.ID, err)
		}
		rules[i] = routes.Rule[*Plan]{ID: r.ID, Match: r.Match, Value: plan}
	}
	table, conflicts := routes.New(rules)
	if len(conflicts) > 0 {
		return fmt.Errorf("routes[%d]: %s", conflicts[0].Second, conflicts[0].Message)
	}
	c.snap.table = table
	c.snap.guarded = guardedNames(c.doc)
	if c.snap.addresses, err = access.New(c.doc.Listen.Addresses, "", c.state.Metrics); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	c.snap.unrouted = stack(parts{observe: c.state.Observer.Layer(""), status: proxyStatus(c.doc.Listen.ProxyStatus), end: pipeline.HandlerFunc(unroutedEnd)})
	return nil
}

// plan compiles one route.
func (c *compiler) plan(r *config.RouteConfig) (*Plan, error) {
	plan := &Plan{ID: r.ID, Config: r}
	p := parts{
		observe:  c.state.Observer.Layer(r.ID),
		status:   proxyStatus(c.doc.Listen.ProxyStatus),
		headers:  headers.New(r.SecurityHeaders),
		deadline: deadline(r.Timeout.Std()),
		shed:     c.state.shed.Layer(c.doc.Shedding, r.Priority),
		admit:    admit(int64(*r.Body)),
	}
	err := c.doors(r, plan, &p)
	if err != nil {
		return nil, err
	}
	if p.auth, err = auth.New(*r.Auth, forward(r), c.snap.Authority); err != nil {
		return nil, err
	}
	if r.FailedLogins != "" {
		p.logins = ratelimit.FailedLogins(c.modeOf(r, c.limits[r.FailedLogins]), append(auth.KeyHeaders(c.doc.APIKeys), "Authorization"), c.store, c.state.Metrics)
	}
	if len(r.RateLimits) > 0 {
		p.limit = c.limit(r, r.Dedup != nil)
	}
	admits, err := c.route(r, &p)
	if err != nil {
		return nil, err
	}
	if p.dedup, err = c.dedup(r, admits); err != nil {
		return nil, err
	}
	if err := c.executions(r, p, plan.preflight); err != nil {
		return nil, err
	}
	plan.handler = stack(p)
	return plan, nil
}

// doors makes what decides by address and origin. Preflights go through a stack without identity and limits, because a browser
// sends no credentials with them and asks on its own account; lists of addresses and shedding hold for them.
func (c *compiler) doors(r *config.RouteConfig, plan *Plan, p *parts) error {
	list, err := access.New(r.Addresses, r.ID, c.state.Metrics)
	if err != nil {
		return err
	}
	p.access = list.Layer()
	if plan.cors, err = cors.New(r.CORS, r.Match.Methods); err != nil {
		return err
	}
	var allows func(pipeline.Request) bool
	if plan.cors != nil {
		allows = plan.cors.Allows
	}
	p.websocket = websocket.Layer(r.Websocket, r.ID, allows, c.state.Metrics)
	if plan.cors == nil {
		return nil
	}
	p.cors = plan.cors.Layer()
	plan.preflight = stack(parts{observe: p.observe, status: p.status, headers: p.headers, access: p.access, deadline: p.deadline, shed: p.shed, end: plan.cors.Preflight()})
	c.snap.crossOrigin = true
	return nil
}

// executions makes the way on which clients of a route with dedup ask for their keyed writes: through the same identity and the
// same limits, which refuse at once here.
func (c *compiler) executions(r *config.RouteConfig, p parts, preflight pipeline.Handler) error {
	if r.Dedup == nil {
		return nil
	}
	if err := c.check(r); err != nil {
		return err
	}
	records, err := c.state.store(c.doc.State)
	if err != nil {
		return err
	}
	p.dedup, p.admit, p.shed, p.websocket = nil, nil, nil, nil // who asks what became of a write is let in under overload, too
	p.rewrite, p.fallback, p.mirror, p.token, p.retry, p.breaker, p.bulkhead = nil, nil, nil, nil, nil, nil, nil
	p.version = nil // also after the version's end
	if len(r.RateLimits) > 0 {
		p.limit = c.limit(r, false)
	}
	p.end = dedup.Executions(*r.Dedup, records)
	c.snap.executions[r.ID], c.snap.questions[r.ID] = stack(p), preflight
	c.snap.records = records
	return nil
}

// limit makes the layer of a route's limits.
func (c *compiler) limit(r *config.RouteConfig, keyed bool) pipeline.Layer {
	named := make([]*ratelimit.Limit, len(r.RateLimits))
	for i, use := range r.RateLimits {
		named[i] = c.modeOf(r, use.Of(c.limits[use.Name]))
	}
	cfg := ratelimit.LayerConfig{Keyed: keyed, Fields: ratelimit.VersionOf(r.RateLimitFields), Critical: r.Priority == shed.Critical}
	return ratelimit.New(named, cfg, ratelimit.Deps{Store: c.store, Seats: c.seats, Recorder: c.state.Metrics})
}

// expressions gives the compiler of require.expression: equal texts are one program.
func expressions() func(string) (auth.Expression, error) {
	c := expression.New()
	return func(text string) (auth.Expression, error) { return c.Compile(text) }
}

func forward(r *config.RouteConfig) auth.ForwardConfig {
	if r.Forward == nil {
		return auth.ForwardConfig{}
	}
	return *r.Forward
}

func (c *compiler) dedup(r *config.RouteConfig, admits dedup.Admits) (pipeline.Layer, error) {
	if r.Dedup == nil {
		return dedup.Ignored(r.ID, c.state.Metrics), nil
	}
	store, err := c.state.store(c.doc.State)
	if err != nil {
		return nil, err
	}
	facts := dedup.Facts{Route: r.ID, Upstream: firstOf(r.To.Names()), Anonymous: r.Auth.None, MaxBody: int64(*r.Body), Limited: len(r.RateLimits) > 0}
	return dedup.New(*r.Dedup, facts, store, admits, c.state.Metrics)
}

func firstOf(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}
