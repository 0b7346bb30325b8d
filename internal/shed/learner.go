package shed

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// learner finds the bound by the gradient of latencies, after Gradient2 of Netflix' concurrency-limits
// (https://github.com/Netflix/concurrency-limits, Gradient2Limit): from window to window
//
//	gradient = tolerance * long average / short average, from 0.5 to 1
//	bound   += smoothing * (gradient*bound + sqrt(bound) - bound)
//
// so that it comes to rest where requests take a little longer than alone. Three things differ. The gradient is the one of
// the middle request of all routes, each compared with its own past. The long average must not follow a queue that the bound
// itself lets grow; instead probes lower the bound for a moment and look whether latencies fall with it. And the bound falls
// only as far as there are requests: it is not the bound that latencies are long of when half of it is unused.
//
// It has neither clock nor lock nor goroutine. Times are since an origin.
type learner struct {
	bound  float64
	opened time.Duration // when the window began

	phase    phase
	level    float64       // the bound during a probe
	windows  int           // of this phase
	anchor   float64       // the highest bound since the latest probe
	due      time.Duration // no probe before
	interval time.Duration
	pressed  int // windows with refusals; a window without takes one off

	active []*profile // with samples in the window
	pace   float64    // nanoseconds: what the middle request takes
	points []point
}

const (
	floor      = 20   // never learned below
	tolerance  = 1.25 // so much longer than the baseline is no overload
	rise       = 0.5  // smoothing upward
	fall       = 0.4  // and downward: being late costs more there
	correction = 0.1  // of the way, a window
	drift      = 20 * time.Second

	minSamples = 16
	minWindow  = 100 * time.Millisecond
	maxWindow  = 5 * time.Second

	firstProbe = time.Second
	restProbe  = 30 * time.Second
	maxDrain   = 5 // windows
	steady     = 5 // windows
)

// phase is where a probe is.
type phase uint8

const (
	idle      phase = iota
	draining        // until no more wait than the level allows
	settling        // until those that saw the longer queue are answered
	measuring       // one window
)

// window is what happened in it.
type window struct {
	at      time.Duration // its end
	peak    float64       // most requests waiting at once
	left    float64       // waiting at the end
	refused bool          // the learned bound was reached
}

func (l *learner) begin(ceiling float64, at time.Duration) {
	*l = learner{bound: ceiling, anchor: ceiling, opened: at, interval: firstProbe}
}

// inForce is the bound that requests are held to.
func (l *learner) inForce() float64 {
	if l.phase != idle {
		return l.level
	}
	return l.bound
}

// length is that of the next window: a change of the bound shows after about one latency, and must not be made again before.
func (l *learner) length() time.Duration {
	return max(minWindow, min(time.Duration(l.pace), maxWindow))
}

// complete: a window with enough samples to judge by. While a probe waits, time alone counts.
func (l *learner) complete(samples float64, at time.Duration) bool {
	switch l.phase {
	case draining, settling:
		return true
	case measuring:
		samples /= 4 // a baseline is kept for long
	}
	return samples >= minSamples || at-l.opened >= maxWindow
}

// collect gathers samples and counts those of the window.
func (l *learner) collect(profiles map[string]*profile) float64 {
	total := 0.0
	l.active = l.active[:0]
	for _, p := range profiles {
		if p.take(); p.n > 0 {
			total += p.n
			l.active = append(l.active, p)
		}
	}
	return total
}

// step closes a window.
func (l *learner) step(w window, ceiling float64, profiles map[string]*profile) {
	lowest := min(floor, ceiling)
	l.bound = max(lowest, min(l.bound, ceiling))
	if w.refused {
		l.pressed++
	} else {
		l.pressed = max(l.pressed-1, 0)
	}
	gradient, known := l.judge(w)
	switch {
	case l.phase != idle:
		l.probe(w, known)
	case known:
		l.move(w, gradient)
		l.bound = max(lowest, min(l.bound, ceiling))
		if l.wantsProbe(w.at) {
			l.begins(max(lowest, math.Floor(l.bound/2)), profiles)
		}
	}
	for _, p := range l.active {
		p.n, p.mean, p.late = 0, 0, false
	}
	l.opened = w.at
}

// judge brings averages up to date, and gives the gradient of the middle request; known is false without one.
func (l *learner) judge(w window) (gradient float64, known bool) {
	plenty := l.phase == idle && !w.refused && w.peak <= l.bound/2
	l.points = l.points[:0]
	for _, p := range l.active {
		known := p.blend()
		if l.phase == draining || l.phase == settling {
			p.before = max(p.before, p.short)
		}
		if known {
			p.follow(plenty, w.at-l.opened)
			l.points = append(l.points, point{p.gradient(), p.n})
		}
	}
	gradient, known = middle(l.points), len(l.points) > 0
	l.points = l.points[:0]
	for _, p := range l.active {
		l.points = append(l.points, point{p.short, p.n})
	}
	if len(l.points) > 0 {
		l.pace = middle(l.points)
	}
	return gradient, known
}

// move takes one step. Up: only when the bound is used. Down: while less than half of it is used, to four times what is
// used at most.
func (l *learner) move(w window, gradient float64) {
	used := w.refused || w.peak >= l.bound/2
	change := gradient*l.bound + math.Sqrt(l.bound) - l.bound
	switch {
	case change < 0 && used:
		l.bound += fall * change
	case change < 0:
		l.bound = min(l.bound, max(l.bound+fall*change, 4*w.peak))
	case used:
		l.bound += rise * change
	}
	l.anchor = max(l.anchor, l.bound)
}

// point is a value that so many requests have.
type point struct{ value, weight float64 }

// middle is the weighted median, 1 of nothing. One sick route of many does not move it, an overload of the process does.
func middle(points []point) float64 {
	if len(points) == 0 {
		return 1
	}
	slices.SortFunc(points, func(a, b point) int { return cmp.Compare(a.value, b.value) })
	half := 0.0
	for _, p := range points {
		half += p.weight / 2
	}
	for _, p := range points {
		if half -= p.weight; half <= 0 {
			return p.value
		}
	}
	return points[len(points)-1].value
}
