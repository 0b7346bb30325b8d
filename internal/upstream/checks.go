package upstream

import (
	"context"
	"crypto/tls"
	"time"

	"github.com/oncegate/oncegate/internal/upstream/balance"
	"github.com/oncegate/oncegate/internal/upstream/health"
)

// check is a running health check.
type check struct {
	settings health.Settings
	cancel   context.CancelFunc
}

func (g *group) check(n *node, t *target, s health.Settings) *check {
	at := health.Target{Addr: t.addr, Host: t.host, HTTP2: n.key.speaks != overHTTP1, Either: n.key.speaks == overEither}
	if t.tls != nil {
		at.TLS = func() *tls.Config { return t.tls.config(t.name, n.key.speaks) }
	}
	well := !n.sick.Load()
	return &check{s, g.pools.start(func(ctx context.Context) { health.Run(ctx, s, at, well, report{n, ctx, s.Healthy}) })}
}

// report passes on what a check found, unless the check was ended meanwhile.
type report struct {
	n       *node
	ctx     context.Context
	healthy int // checks in a row that end an ejection
}

// Checked implements health.Watch.
func (r report) Checked(passed bool, began time.Time) {
	if !r.n.record.Out() {
		return
	}
	g := r.n.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := g.clock(); r.ctx.Err() == nil && r.n.record.Checked(passed, balance.Now(began), now, r.healthy) {
		r.n.returnLocked(&g.live.rules.eject, now, "checks")
	}
}

// Health implements health.Watch.
func (r report) Health(well bool, why string) {
	r.n.group.mu.Lock()
	defer r.n.group.mu.Unlock()
	if r.ctx.Err() == nil {
		r.n.health(well, why)
	}
}
