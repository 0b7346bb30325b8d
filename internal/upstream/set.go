package upstream

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/upstream/balance"
	"github.com/oncegate/oncegate/internal/upstream/eject"
)

// set is the targets of an upstream as they stand in a document or in a DNS answer, with what they are picked by.
type set struct {
	group   *group
	rules   *rules
	targets []*target
	balance *balance.Set
	view    atomic.Pointer[view]
}

// rules are the settings by which targets are picked and judged.
type rules struct {
	kind  balance.Kind
	eject eject.Settings
	slow  time.Duration
	panic float64
}

// view is what may be picked, until something changes or time passes.
type view struct {
	*balance.View
	epoch uint64
	until int64
	panic bool // too little is usable: all is used
}

const (
	forever     = 1<<63 - 1
	relearn     = int64(time.Second)     // how often the median latency is taken
	rampSteps   = 50                     // of a slow start
	rampStep    = 20 * time.Millisecond  // the shortest
	rampSlowest = 500 * time.Millisecond // the longest
)

// look gives the view of this moment. What is not new is found without a lock.
func (s *set) look(now int64) *view {
	v := s.view.Load()
	if v != nil && v.epoch == s.group.epoch.Load() && now < v.until {
		return v
	}
	if v == nil {
		s.group.mu.Lock()
	} else if !s.group.mu.TryLock() {
		return v // somebody is at it
	}
	defer s.group.mu.Unlock()
	return s.renewLocked(now)
}

func (s *set) renewLocked(now int64) *view {
	v := &view{epoch: s.group.epoch.Load(), until: forever}
	ramp := make([]uint32, len(s.targets))
	known, usable, starting := 0, 0, 0
	for i, t := range s.targets {
		s.returnLocked(t.node, now)
		if t.node.drained.Load() {
			continue
		}
		known++
		if out := t.node.record.Until(); out != 0 {
			v.until = min(v.until, out)
			continue
		}
		if t.node.sick.Load() {
			continue
		}
		usable++
		if ramp[i] = s.ramp(t.node, now); ramp[i] < balance.Full {
			starting++
			v.until = min(v.until, now+int64(min(max(s.rules.slow/rampSteps, rampStep), rampSlowest)))
		}
	}
	v.panic = usable < known && float64(usable) < s.rules.panic*float64(known)
	for i, t := range s.targets {
		switch {
		case v.panic && !t.node.drained.Load(), ramp[i] > 0 && 2*starting > usable: // all are new: there is nobody to spare them
			ramp[i] = balance.Full
		}
	}
	if s.rules.kind == balance.EWMA {
		v.until = min(v.until, now+relearn)
	}
	v.View = s.balance.Look(ramp)
	s.group.panicsLocked(s, v.panic, usable, known)
	s.view.Store(v)
	return v
}

// returnLocked lets a target come back whose time is over, or whose upstream ejects no longer.
func (s *set) returnLocked(n *node, now int64) {
	out := n.record.Until()
	if out == 0 || now < out && s.rules.eject.On() {
		return
	}
	by := "time"
	if now < out {
		by = "reload"
	}
	n.returnLocked(&s.rules.eject, now, by)
}

// ramp is how much of its part a target takes: a tenth at first, all of it after the slow start.
func (s *set) ramp(n *node, now int64) uint32 {
	if age := now - n.since; s.rules.slow > 0 && age < int64(s.rules.slow) {
		return uint32(balance.Full * max(0.1, float64(age)/float64(s.rules.slow)))
	}
	return balance.Full
}

// pick gives the target to call, one that was not tried when there is one, and notes it as tried; nil when there is none. What
// is out of use comes before what was tried already.
func (s *set) pick(tried *balance.Tried, key uint64, now int64) *target {
	if len(s.targets) == 0 {
		return nil
	}
	v := s.look(now)
	i := s.balance.Pick(v.View, tried, key, now)
	if i < 0 && s.rules.panic > 0 {
		i = s.spare(tried)
	}
	if i < 0 && !tried.None() { // all were tried: from the beginning
		*tried = pipeline.Tried{Of: tried.Of}
		i = s.balance.Pick(v.View, tried, key, now)
	}
	if i < 0 {
		return nil
	}
	tried.Add(i)
	return s.targets[i]
}

// spare is any target that was not tried and is not drained.
func (s *set) spare(tried *balance.Tried) int {
	n := len(s.targets)
	for i, from := 0, rand.IntN(n); i < n; i++ {
		if at := (from + i) % n; !tried.Has(at) && !s.targets[at].node.drained.Load() {
			return at
		}
	}
	return -1
}

// eject takes a target out if the others can do without it.
func (s *set) eject(t *target, reason string) {
	g, n := s.group, t.node
	g.mu.Lock()
	defer g.mu.Unlock()
	if n.record.Out() || n.drained.Load() {
		return
	}
	known, out, others := 0, 0, 0
	for _, other := range s.targets {
		if other.node.drained.Load() {
			continue
		}
		known++
		if other.node.record.Out() {
			out++
		}
		if other != t && other.node.usable() {
			others++
		}
	}
	kept := ""
	switch {
	case others == 0:
		kept = "no other target is usable"
	case !s.rules.eject.May(known, out):
		kept = "as many are out as max_share lets"
	}
	if kept != "" {
		if n.kept != kept {
			n.kept = kept
			g.log.Warn("target should be ejected, but stays", "upstream", g.name, "target", n.key.addr, "failures", reason, "reason", kept)
		}
		return
	}
	n.kept = ""
	length := n.record.Eject(&s.rules.eject, reason, g.clock(), rand.Float64())
	_, _, times := n.record.Last()
	g.epoch.Add(1)
	g.log.Warn("target is ejected", "upstream", g.name, "target", n.key.addr, "reason", reason, "for", length.String(), "times", times)
}
