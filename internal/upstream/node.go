package upstream

import (
	"sync/atomic"

	"github.com/oncegate/oncegate/internal/upstream/balance"
	"github.com/oncegate/oncegate/internal/upstream/eject"
)

// node is what is known of one target of one upstream: its load, its record, its health. It outlives the configurations and the
// DNS answers that name it.
type node struct {
	group *group
	key   nodeKey
	conns *conns
	load  balance.Load

	record  eject.Record
	drained atomic.Bool // by an operator
	sick    atomic.Bool // by active checks

	// Below group.mu.
	since int64  // when it came, or came back, as balance.Now counts
	why   string // what the newest check that took it out said
	kept  string // why it was not ejected when it should have been
}

// nodeKey is a target's identity in its upstream. A document may name the same address several times.
type nodeKey struct {
	poolKey
	again int
}

// usable tells whether it may be picked.
func (n *node) usable() bool { return !n.drained.Load() && !n.sick.Load() && !n.record.Out() }

// returnLocked lets it come back from ejection, at once or by a slow start. by says what ended it.
func (n *node) returnLocked(s *eject.Settings, now int64, by string) {
	g := n.group
	n.record.Return(s, now)
	n.since = now
	g.epoch.Add(1)
	g.log.Info("target is back from ejection", "upstream", g.name, "target", n.key.addr, "by", by)
}

// Health takes what a check found.
func (n *node) health(well bool, why string) {
	g := n.group
	n.sick.Store(!well)
	n.why = why
	if well {
		n.since = g.clock()
		g.log.Info("target is healthy again", "upstream", g.name, "target", n.key.addr)
	} else {
		g.log.Warn("target is unhealthy", "upstream", g.name, "target", n.key.addr, "reason", why)
	}
	g.epoch.Add(1)
}
