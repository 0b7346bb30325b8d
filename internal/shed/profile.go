package shed

import (
	"sync/atomic"
	"time"
)

// profile is what is known of the latencies of one route. Routes are compared with themselves: a slow one that gets more
// requests than before does not look like an overload.
type profile struct {
	route string

	// Written by requests, emptied by the learner.
	_        [64]byte
	sum      atomic.Int64 // nanoseconds
	count    atomic.Int64
	timedOut atomic.Bool // some samples are lower bounds: nothing for the baseline
	_        [40]byte

	baseline atomic.Int64 // long, for requests to compare with; 0: not known yet

	// The learner's.
	short, long float64       // nanoseconds; the long average is the baseline
	learnt      float64       // samples of the baseline, up to enough
	age         time.Duration // of the baseline, as far as it followed, up to drift
	n, mean     float64       // of the window
	late        bool          // the window holds time-outs
	before      float64       // short, when the probe began
}

const (
	maxProfiles = 4096
	enough      = 32  // samples that make a first baseline
	weight      = 16  // a window of so many samples moves the short average by half
	stayed      = 0.8 // of the latency before a probe: it has not fallen
)

// profile finds or makes the profile of a route. Past the cap routes share one.
func (s *Shedder) profile(route string) *profile {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.profiles[route]
	if p == nil {
		if len(s.profiles) >= maxProfiles {
			route = ""
			if p = s.profiles[route]; p != nil {
				return p
			}
		}
		p = &profile{route: route}
		s.profiles[route] = p
	}
	return p
}

func (p *profile) add(took time.Duration) {
	p.sum.Add(int64(took))
	p.count.Add(1)
}

// take adds what requests have left to the window.
func (p *profile) take() {
	n := float64(p.count.Swap(0))
	if n == 0 {
		return
	}
	p.mean = (p.mean*p.n + float64(p.sum.Swap(0))) / (p.n + n)
	p.n += n
	p.late = p.timedOut.Swap(false) || p.late
}

// blend moves the short average by the window. It reports false as long as there is no baseline to compare with. The first
// window after a rest is not looked at: those that answer soonest answer in it, whatever is normal.
func (p *profile) blend() bool {
	if p.short == 0 {
		p.short = p.mean
		return false
	}
	p.short += (p.mean - p.short) * p.n / (p.n + weight)
	if p.learnt < enough && !p.late {
		p.learnt += p.n
		p.setLong(p.long + (p.mean-p.long)*p.n/p.learnt)
		p.short = p.long
	}
	return p.learnt >= enough
}

// follow moves the baseline. When latencies are clearly below it, it was wrong, or the route got faster: it comes down
// quickly at any time. Otherwise it follows slowly, and only while there is plenty of room: at the bound it would take the
// queue that the bound lets grow for the route's nature, and give the bound more and more room (baseline drift).
func (p *profile) follow(plenty bool, passed time.Duration) {
	switch {
	case p.late:
	case p.short*tolerance < p.long:
		p.setLong(p.long + (p.short-p.long)*correction)
	case plenty:
		p.age = min(p.age+passed, drift)
		over := drift
		if p.short < p.long*tolerance {
			over = p.age // a young baseline is the mean of all so far
		}
		p.setLong(p.long + (p.short-p.long)*float64(passed)/float64(over))
	}
}

// What a probe finds, as the factor by which the baseline changed.
const (
	queueing  = 0 // there are queues even at the probe's level: the baseline stays
	unchanged = 1
)

// measured takes the window of a probe as the baseline, as far as it has samples. A much higher one is believed only if
// latencies stayed where they were although fewer requests were let in: if they fell, what is left of the rise is a queue.
func (p *profile) measured() float64 {
	before := p.long
	switch {
	case p.late:
		return unchanged
	case p.mean > tolerance*p.long && p.mean < stayed*p.before:
		return queueing
	}
	p.setLong(p.long + (p.mean-p.long)*p.n/(p.n+weight/4))
	p.short = p.long
	return p.long / before
}

func (p *profile) setLong(long float64) {
	p.long = long
	if p.learnt >= enough {
		p.baseline.Store(int64(long))
	}
}

// gradient is 1 while the short average is within the tolerance, and less the longer requests take, but never below a half:
// an outlier must not close the door.
func (p *profile) gradient() float64 {
	return max(0.5, min(1, tolerance*p.long/p.short))
}
