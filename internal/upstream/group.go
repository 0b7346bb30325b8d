package upstream

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oncegate/oncegate/internal/upstream/balance"
	"github.com/oncegate/oncegate/internal/upstream/discover"
)

// group is what outlives the configurations of one upstream, found by its name: what is known of its targets, its last DNS
// answer, and the goroutines that check and look up for the live configuration.
type group struct {
	name  string
	pools *Pools
	log   *slog.Logger

	epoch  atomic.Uint64 // moves when what may be picked changes
	total  atomic.Int64  // calls in flight, while balance is hash
	panics atomic.Uint64
	asked  [lookupResults]atomic.Uint64

	mu       sync.Mutex
	nodes    map[nodeKey]*node
	live     *Upstream // nil until a snapshot with it is in force
	checks   map[*node]*check
	lookups  context.CancelFunc // nil: none run
	source   DNSConfig          // what they ask
	found    discover.Memory
	failing  bool // the newest look-up failed
	panicked bool
}

func newGroup(name string, p *Pools) *group {
	return &group{name: name, pools: p, log: p.log, nodes: map[nodeKey]*node{}, checks: map[*node]*check{}}
}

func (g *group) clock() int64 { return balance.Now(time.Now()) }

// nodeLocked finds the state of a target, or begins it.
func (g *group) nodeLocked(key nodeKey, where endpoint, id *tlsIdentity) *node {
	n := g.nodes[key]
	if n == nil {
		n = &node{group: g, key: key, conns: g.pools.get(key.poolKey, where, id), since: g.clock()}
		g.nodes[key] = n
	}
	return n
}

// serve makes u the live one: it gets the checks and look-ups that its configuration wants.
func (g *group) serve(u *Upstream) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.live = u
	if g.lookups != nil && (u.cfg.DNS == nil || *u.cfg.DNS != g.source) {
		g.lookups()
		g.lookups = nil
	}
	if u.cfg.DNS != nil {
		g.discoverLocked(u)
	}
	g.settleLocked()
	g.epoch.Add(1) // rules may have changed
}

// discoverLocked has the look-ups of u run, and gives it the newest answer.
func (g *group) discoverLocked(u *Upstream) {
	running := g.lookups != nil
	if !running {
		g.source, g.found, g.failing = *u.cfg.DNS, discover.Memory{}, false
	}
	switch known := g.found.Addrs(); {
	case len(known) == 0 && len(u.first) > 0:
		g.found.Take(u.first, nil, 0)
	case !slices.Equal(known, u.first): // it changed since u was made
		u.first = known
		u.replaceLocked(known)
	}
	if !running {
		g.lookups = g.pools.start(g.lookUp)
	}
}

// settleLocked drops what the live set does not name, and starts and ends health checks. Pools of targets that went are closed
// by the caller's Pools.sweep.
func (g *group) settleLocked() {
	wanted := map[*node]*target{}
	for _, t := range g.live.set.Load().targets {
		wanted[t.node] = t
		g.nodes[t.node.key] = t.node // a sweep may have come between
	}
	for key, n := range g.nodes {
		if wanted[n] == nil {
			delete(g.nodes, key)
		}
	}
	want := g.live.checks
	for n, c := range g.checks {
		if wanted[n] == nil || want == nil || c.settings != *want {
			c.cancel()
			delete(g.checks, n)
		}
	}
	for n, t := range wanted {
		if want == nil {
			n.sick.Store(false)
			continue
		}
		if g.checks[n] == nil {
			g.checks[n] = g.check(n, t, *want)
		}
	}
}

// end ends what runs for the upstream.
func (g *group) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.lookups != nil {
		g.lookups()
		g.lookups = nil
	}
	for n, c := range g.checks {
		c.cancel()
		delete(g.checks, n)
	}
}

// panicsLocked notes that the live set begins or ends to use targets that it should not.
func (g *group) panicsLocked(s *set, panic bool, usable, known int) {
	if g.live == nil || g.live.set.Load() != s || panic == g.panicked {
		return
	}
	g.panicked = panic
	if panic {
		g.panics.Add(1)
		g.log.Error("too few targets are usable: all are used", "upstream", g.name, "usable", usable, "targets", known)
		return
	}
	g.log.Info("enough targets are usable again", "upstream", g.name, "usable", usable, "targets", known)
}

// The results of look-ups.
const (
	lookupGood = iota
	lookupEmpty
	lookupFailed
	lookupResults
)

// firstLook bounds the look-up that a start or a reload waits for.
const firstLook = 2 * time.Second

// lookUp asks for the upstream's name until ctx ends. While nothing is known it asks more often.
func (g *group) lookUp(ctx context.Context) {
	g.mu.Lock()
	source, known := g.source, len(g.found.Addrs()) > 0
	g.mu.Unlock()
	resolver := discover.New(source.Resolver, source.Family)
	for {
		pause := jittered(source.Refresh.Std())
		if !known {
			pause = min(pause, jittered(time.Second))
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		addrs, left, err := resolver.Lookup(ctx, source.Name, 5*time.Second)
		if ctx.Err() != nil {
			return
		}
		known = g.pools.resolved(ctx, g, addrs, left, err)
	}
}

// resolvedLocked takes the outcome of a look-up and tells whether the targets changed.
func (g *group) resolvedLocked(addrs []netip.Addr, left int, err error) bool {
	g.countLocked(err)
	if left > 0 {
		g.log.Warn("DNS gives more addresses than are used", "upstream", g.name, "name", g.source.Name, "left_out", left)
	}
	before := len(g.found.Addrs())
	if !g.found.Take(addrs, err, g.source.Keep) {
		return false
	}
	g.live.first = g.found.Addrs()
	g.live.replaceLocked(g.found.Addrs())
	g.settleLocked()
	g.epoch.Add(1)
	g.log.Info("DNS gives other targets", "upstream", g.name, "name", g.source.Name, "before", before, "now", len(g.found.Addrs()))
	return true
}

func (g *group) countLocked(err error) {
	if failing := err != nil; failing != g.failing {
		g.failing = failing
		if failing {
			g.log.Warn("DNS look-up failed, the last good answer stays", "upstream", g.name, "name", g.source.Name, "error", err.Error())
		} else {
			g.log.Info("DNS look-up works again", "upstream", g.name, "name", g.source.Name)
		}
	}
	g.asked[lookupResult(err)].Add(1)
}
