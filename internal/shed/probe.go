package shed

import (
	"math/rand/v2"
	"time"
)

// wantsProbe: at a bound that keeps refusing, from time to time; and when it fell by half and refuses, because then either
// the overload is real, and a moment's rest is good, or the upstream has become slower for good, and the sooner that is seen
// the better. A bound that refuses nobody is never probed: that would cost requests for nothing.
func (l *learner) wantsProbe(at time.Duration) bool {
	return l.pressed >= steady && at >= l.due || l.pressed > 0 && l.bound <= l.anchor/2
}

func (l *learner) enter(p phase) { l.phase, l.windows = p, 0 }

// begins has no more than level wait, from now on.
func (l *learner) begins(level float64, profiles map[string]*profile) {
	l.enter(draining)
	l.level = level
	for _, p := range profiles {
		p.before = p.short
	}
}

// probe takes the lowered bound through its phases.
func (l *learner) probe(w window, known bool) {
	l.windows++
	switch {
	case l.phase == draining && w.left <= l.level:
		l.enter(settling)
	case l.phase == settling:
		l.enter(measuring)
	case l.phase == measuring && known:
		l.conclude(w.at)
	case l.phase == measuring || l.windows >= maxDrain: // nothing was answered, or requests that hang keep their places
		l.rest(w.at, 2*l.interval)
	}
}

// conclude makes what was measured the baseline. Latencies that stay long at half the bound are not of the bound's making:
// it gets back what it lost. If they fell and are still long, half the bound is enough, and perhaps too much. And if they
// were shorter than the baseline, that had drifted and perhaps still is. In both cases the next probe comes soon.
func (l *learner) conclude(at time.Duration) {
	l.points = l.points[:0]
	for _, p := range l.active {
		if p.learnt >= enough {
			l.points = append(l.points, point{p.measured(), p.n})
		}
	}
	changed, next := middle(l.points), 2*l.interval
	switch {
	case changed == queueing:
		l.bound = l.level
	case changed > tolerance:
		l.bound = l.anchor
	}
	if changed < 1/tolerance {
		next = firstProbe
	}
	l.rest(at, next)
}

// rest ends a probe. Processes that began together should not probe together: the interval is spread by a tenth.
func (l *learner) rest(at, next time.Duration) {
	l.enter(idle)
	l.interval = min(next, restProbe)
	l.due = at + time.Duration(float64(l.interval)*(0.9+0.2*rand.Float64()))
	l.anchor, l.pressed = l.bound, 0
}
