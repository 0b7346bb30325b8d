package upstream

import (
	"fmt"
	"strings"
	"time"

	"github.com/oncegate/oncegate/internal/upstream/balance"
	"github.com/oncegate/oncegate/internal/upstream/eject"
)

// The states of a target.
const (
	Up        = "up"
	Starting  = "starting" // it does not take all of its part yet: slow_start
	Ejected   = "ejected"
	Unhealthy = "unhealthy"
	Drained   = "drained"
)

// TargetInfo is a target as the admin API and the metrics show it.
type TargetInfo struct {
	URL      string
	Address  string // host:port
	Weight   int
	Open     int // connections, those being dialled included
	Idle     int
	InFlight int

	State   string
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
		if all[i].State == Up && s.ramp(t.node, balance.Now(now)) < balance.Full && v.Ramp(i) < balance.Full {
			all[i].State = Starting
		}
	}
	return all
}

func (t *target) infoLocked(now time.Time) TargetInfo {
	n, clock := t.node, balance.Now(now)
	open, idle := t.conns.Stats()
	i := TargetInfo{URL: t.url, Address: t.addr, Weight: t.weight, Open: open, Idle: idle, InFlight: int(n.load.InFlight()),
		State: Up, Healthy: !n.sick.Load(), Latency: n.load.Latency(), Failing: n.load.Failing(clock)}
	i.EjectedErrors, i.EjectedDials = n.record.Ejections()
	switch {
	case n.drained.Load():
		i.State, i.Reason = Drained, "by the admin API"
	case n.record.Out():
		i.State, i.Until = Ejected, now.Add(time.Duration(n.record.Until()-clock))
		i.Reason, _, _ = n.record.Last()
		i.Reason = words[i.Reason]
	case n.sick.Load():
		i.State, i.Reason = Unhealthy, n.why
	case n.record.Failing(&t.set.rules.eject):
		i.Reason = n.kept
	}
	return i
}

var words = map[string]string{
	eject.Errors:  "answers 502, 503 or 504, resets and time-outs in a row",
	eject.Connect: "connections in a row did not come about",
}

// Drain has the targets of an address get no calls any more, or again; false when there is none. Calls that run finish. It holds
// until the process ends or the target leaves the document or the DNS answer, over reloads.
func (u *Upstream) Drain(address string, drain bool) (found bool) {
	g := u.group
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range u.set.Load().targets {
		if t.addr != address {
			continue
		}
		found = true
		if t.node.drained.Swap(drain) == drain {
			continue
		}
		t.node.since = g.clock()
		g.epoch.Add(1)
		if drain {
			t.conns.CloseIdle()
		}
	}
	return found
}

// Words tell how an upstream is called, for explain.
func (c *Config) Words() string {
	var words []string
	for _, t := range c.Targets {
		words = append(words, t.URL)
	}
	if d := c.DNS; d != nil {
		words = append(words, fmt.Sprintf("%s://%s:%d by DNS every %s", d.Scheme, d.Name, d.Port, d.Refresh))
	}
	list := strings.Join(words, " ")
	if len(c.Targets) == 1 {
		return list + healthWords(c.Health)
	}
	list += ", " + c.Balance
	if c.Balance == "hash" {
		by := c.HashBy
		if by == "" {
			by = "client"
		}
		list += " by " + by
	}
	if e := &c.Ejection; e.Consecutive > 0 || e.Connect > 0 {
		list += fmt.Sprintf(", ejection after %d errors or %d failed connections for %s", e.Consecutive, e.Connect, e.Time)
	}
	return list + healthWords(c.Health)
}

func healthWords(h *HealthConfig) string {
	switch {
	case h == nil:
		return ""
	case h.Type == "tcp":
		return ", checked by connecting every " + h.Interval.String()
	case h.Type == "grpc":
		return ", checked by grpc.health.v1 every " + h.Interval.String()
	}
	return ", checked at " + h.Path + " every " + h.Interval.String()
}
