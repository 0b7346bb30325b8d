package bulkhead

import (
	"math"
	"time"
)

// gradient finds how many calls at once an upstream bears: when calls take longer than they usually do, they wait somewhere,
// and the bound goes down (after Netflix concurrency-limits, Gradient2, with windows of time in place of single calls). It is
// never pinned to a low value in order to measure: that costs refusals. What it takes for usual it learns from an upstream
// that has room; while the bound is reached, it hardly follows, or it would take the queue that it made for usual.
type gradient struct {
	bound float64 // 0: not begun
	usual float64 // seconds
	seen  int     // windows

	since time.Time // of the running window
	sum   float64   // seconds
	calls int
	most  int // in flight
}

const (
	window    = 100 * time.Millisecond
	leastSeen = 5 // calls that a window needs; it goes on until it has them
	warmup    = 10
	calm      = 2.0 / (300 + 1)  // half a minute of windows
	pressed   = 2.0 / (6000 + 1) // ten minutes
	tolerance = 1.3              // a call may take so many times as long as usual before the bound goes down
	headroom  = 4                // what a bound at rest aims above itself, or the bound's root when that is more
	smoothing = 0.2
)

// limit is the bound under these settings.
func (g *gradient) limit(s *Settings) int {
	if g.bound == 0 {
		g.bound = float64(s.Least)
	}
	g.bound = min(max(g.bound, float64(s.Least)), float64(s.InFlight))
	return int(g.bound)
}

// learn takes the time of a good call that ended now, when so many ran at once.
func (g *gradient) learn(s *Settings, took time.Duration, inFlight int, now time.Time) {
	if g.since.IsZero() {
		g.since = now
	}
	g.sum += max(took.Seconds(), 1e-6)
	g.calls++
	g.most = max(g.most, inFlight)
	if now.Sub(g.since) < window || g.calls < leastSeen {
		return
	}
	g.judge(s, g.sum/float64(g.calls), g.most)
	g.since, g.sum, g.calls, g.most = now, 0, 0, 0
}

func (g *gradient) judge(s *Settings, short float64, inFlight int) {
	limit := g.limit(s)
	g.follow(short, inFlight >= limit*9/10)
	if inFlight < limit/2 {
		return // not busy: nothing is learned of its limits
	}
	slope := min(max(tolerance*g.usual/short, 0.5), 1)
	aim := g.bound*slope + max(headroom, math.Sqrt(g.bound))
	g.bound = min(max(g.bound*(1-smoothing)+aim*smoothing, float64(s.Least)), float64(s.InFlight))
}

// follow moves what is usual towards a window's mean: down at once, up as slowly as the bound is pressed.
func (g *gradient) follow(short float64, full bool) {
	switch {
	case g.seen < warmup:
		g.seen++
		g.usual += (short - g.usual) / float64(g.seen)
	case short < g.usual:
		g.usual += (short - g.usual) * 0.05
	case full:
		g.usual += (short - g.usual) * pressed
	default:
		g.usual += (short - g.usual) * calm
	}
}
