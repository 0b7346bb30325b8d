package upstream

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/upstream/balance"
	"github.com/oncegate/oncegate/internal/upstream/discover"
)

// Pools holds what outlives configurations: the connections to all targets, one pool for each identity (scheme, host and port,
// and how TLS is verified), and what is known of the targets of each upstream. A reload closes no connection of a target that
// stays, and forgives none.
type Pools struct {
	log *slog.Logger

	change sync.Mutex // one change of live targets at a time; taken before any other lock

	mu     sync.Mutex
	all    map[poolKey]*conns // bounded by the targets of live documents: Live removes the rest
	groups map[string]*group  // by the upstream's name

	running sync.WaitGroup
	ctx     context.Context
	cancel  context.CancelFunc
}

type poolKey struct {
	addr, name string // name is for certificates, with TLS
	secure     bool
	speaks     protocol
	tls        [32]byte
}

const expireEvery = time.Second

// NewPools starts with no connections. log, which may be nil, is told what becomes of targets. Close ends its goroutines.
func NewPools(log *slog.Logger) *Pools {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p := &Pools{log: log, all: map[poolKey]*conns{}, groups: map[string]*group{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.start(p.expire)
	return p
}

// start runs f until it is cancelled or Close is called.
func (p *Pools) start(f func(context.Context)) context.CancelFunc {
	ctx, cancel := context.WithCancel(p.ctx)
	p.running.Go(func() { f(ctx) })
	return cancel
}

// expire closes connections that were idle for too long, and lets targets come back whose time is over though nobody calls.
func (p *Pools) expire(ctx context.Context) {
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			for _, pool := range p.list() {
				pool.Expire(now)
			}
			for _, g := range p.named() {
				g.tick(balance.Now(now))
			}
		case <-ctx.Done():
			return
		}
	}
}

func (g *group) tick(now int64) {
	g.mu.Lock()
	live := g.live
	for _, n := range g.nodes {
		if n.drained.Load() {
			n.conns.CloseIdle()
		}
	}
	g.mu.Unlock()
	if live != nil {
		live.set.Load().look(now)
	}
}

func (p *Pools) list() []*conns {
	p.mu.Lock()
	defer p.mu.Unlock()
	pools := make([]*conns, 0, len(p.all))
	for _, pool := range p.all {
		pools = append(pools, pool)
	}
	return pools
}

func (p *Pools) named() []*group {
	p.mu.Lock()
	defer p.mu.Unlock()
	groups := make([]*group, 0, len(p.groups))
	for _, g := range p.groups {
		groups = append(groups, g)
	}
	return groups
}

// keyOf: schemes that mean the same share connections.
func keyOf(where endpoint, id *tlsIdentity) poolKey {
	key := poolKey{addr: where.addr, secure: encrypted(where.scheme), speaks: where.speaks}
	if key.secure {
		key.tls, key.name = id.sum, where.name
	}
	return key
}

func (p *Pools) get(key poolKey, where endpoint, id *tlsIdentity) *conns {
	p.mu.Lock()
	defer p.mu.Unlock()
	pool := p.all[key]
	if pool == nil {
		pool = newConns(where, id)
		p.all[key] = pool
	}
	return pool
}

// group finds what is kept for an upstream's name, or begins it.
func (p *Pools) group(name string) *group {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.groups[name]
	if g == nil {
		g = newGroup(name, p)
		p.groups[name] = g
	}
	return g
}

// Live puts the upstreams of a snapshot in force: their health checks and look-ups run from now on, those of others end, and
// pools that none of them uses are closed. Exchanges that run on these finish.
func (p *Pools) Live(live []*Upstream) {
	p.change.Lock()
	defer p.change.Unlock()
	named := map[string]bool{}
	for _, u := range live {
		named[u.name] = true
	}
	p.mu.Lock()
	var gone []*group
	for name, g := range p.groups {
		if !named[name] {
			delete(p.groups, name)
			gone = append(gone, g)
		}
	}
	for _, u := range live {
		p.groups[u.name] = u.group
	}
	p.mu.Unlock()
	for _, g := range gone {
		g.end()
	}
	for _, u := range live {
		u.group.serve(u)
	}
	p.sweep()
}

// sweep closes the pools that no target of a group uses.
func (p *Pools) sweep() {
	keep := map[*conns]poolKey{}
	for _, g := range p.named() {
		g.mu.Lock()
		for _, n := range g.nodes {
			keep[n.conns] = n.key.poolKey
		}
		g.mu.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, pool := range p.all {
		if _, used := keep[pool]; !used {
			delete(p.all, key)
			pool.Close()
		}
	}
	for pool, key := range keep {
		if p.all[key] == nil { // it was closed between the making of a snapshot and its coming into force
			p.all[key] = pool
			pool.Reopen()
		}
	}
}

// resolved puts the outcome of a look-up in force and tells whether any address is known.
func (p *Pools) resolved(ctx context.Context, g *group, addrs []netip.Addr, left int, err error) bool {
	p.change.Lock()
	defer p.change.Unlock()
	g.mu.Lock()
	if ctx.Err() != nil { // another configuration came meanwhile
		g.mu.Unlock()
		return false
	}
	changed := g.resolvedLocked(addrs, left, err)
	known := len(g.found.Addrs()) > 0
	g.mu.Unlock()
	if changed {
		p.sweep()
	}
	return known
}

func lookupResult(err error) int {
	switch {
	case err == nil:
		return lookupGood
	case errors.Is(err, discover.ErrNothing):
		return lookupEmpty
	}
	return lookupFailed
}

// jittered is a tenth more or less, so that gateways that started together do not ask together.
func jittered(d time.Duration) time.Duration {
	return time.Duration((0.9 + 0.2*rand.Float64()) * float64(d))
}

// Close ends checks and look-ups, closes all idle connections and keeps none from now on.
func (p *Pools) Close() {
	p.cancel()
	p.running.Wait()
	for _, pool := range p.list() {
		pool.Close()
	}
}
