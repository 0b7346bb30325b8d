package upstream

import (
	"errors"
	"time"

	"github.com/oncegate/oncegate/internal/upstream/balance"
	"github.com/oncegate/oncegate/internal/upstream/eject"
)

// TargetInfo is a target as the admin API and the metrics show it.
type TargetInfo struct {
	URL      string
	Address  string // host:port
	Weight   int
	Open     int // connections, those being dialled included
	Idle     int
	InFlight int

	State   string // up, starting, ejected, unhealthy or drained
	Reason  string // why it is not up, or stays up though it fails
	Healthy bool   // by active checks; true without them
	Latency time.Duration
	Failing float64 // share of failed calls lately, 0 to 1

	Until                       time.Time // the end of an ejection
	EjectedErrors, EjectedDials uint64
}

// Info is an upstream as a whole.
type Info struct {
	Panic                         bool // too few targets are usable: all are used
	Panics                        uint64
	Discovered                    bool // targets come from DNS
	Stale                         bool // the newest look-up failed: the last good answer stands
	Lookups, Empty, FailedLookups uint64
}

// Info tells about the upstream.
func (u *Upstream) Info() Info {
	g := u.group
	v := u.set.Load().look(g.clock())
	g.mu.Lock()
	defer g.mu.Unlock()
	return Info{Panic: v.panic, Panics: g.panics.Load(), Discovered: u.cfg.DNS != nil, Stale: g.failing,
		Lookups: g.asked[lookupGood].Load(), Empty: g.asked[lookupEmpty].Load(), FailedLookups: g.asked[lookupFailed].Load()}
}

// Targets tells about the targets, in the order of the document or of their addresses.
func (u *Upstream) Targets() []TargetInfo {
	now := time.Now()
	s := u.set.Load()
	v := s.look(balance.Now(now))
	u.group.mu.Lock()
	defer u.group.mu.Unlock()
	all := make([]TargetInfo, len(s.targets))
	for i, t := range s.targets {
		all[i] = t.infoLocked(now)
		if all[i].State == "up" && s.ramp(t.node, balance.Now(now)) < balance.Full && v.Ramp(i) < balance.Full {
			all[i].State = "starting"
		}
	}
	return all
}

func (t *target) infoLocked(now time.Time) TargetInfo {
	n, clock := t.node, balance.Now(now)
	open, idle := t.pool.Stats()
	i := TargetInfo{URL: t.url, Address: t.addr, Weight: t.weight, Open: open, Idle: idle, InFlight: int(n.load.InFlight()),
		State: "up", Healthy: !n.sick.Load(), Latency: n.load.Latency(), Failing: n.load.Failing(clock)}
	i.EjectedErrors, i.EjectedDials = n.record.Ejections()
	switch {
	case n.drained.Load():
		i.State, i.Reason = "drained", "by the admin API"
	case n.record.Out():
		i.State, i.Until = "ejected", now.Add(time.Duration(n.record.Until()-clock))
		i.Reason, _, _ = n.record.Last()
		i.Reason = words[i.Reason]
	case n.sick.Load():
		i.State, i.Reason = "unhealthy", n.why
	case n.record.Failing(&t.set.rules.eject):
		i.Reason = n.kept
	}
	return i
}

var words = map[string]string{
	eject.Errors:  "answers 502, 503 or 504, resets and time-outs in a row",
	eject.Connect: "connections in a row did not come about",
}

// ErrNoTarget says that an upstream has no such target.
var ErrNoTarget = errors.New("upstream: no such target")

// Drain has a target get no calls any more, or again. Calls that run finish. It holds until the process ends or the target
// leaves the document, over reloads.
func (u *Upstream) Drain(n int, drain bool) error {
	s := u.set.Load()
	if n < 0 || n >= len(s.targets) {
		return ErrNoTarget
	}
	t, g := s.targets[n], u.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.node.drained.Load() == drain {
		return nil
	}
	t.node.drained.Store(drain)
	t.node.since = g.clock()
	g.epoch.Add(1)
	if drain {
		t.pool.CloseIdle()
	}
	g.log.Info("target drained by an operator", "upstream", u.name, "target", t.addr, "drained", drain)
	return nil
}
