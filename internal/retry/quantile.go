package retry

import (
	"sync"
	"time"
)

// quantile follows the 95th percentile of durations in one number: each sample moves it up by 19 steps or down by one, so that
// it rests where one of twenty is above it (after Ma, Muthukrishnan, Sandler, "Frugal Streaming", 2013, with a step that is
// relative to the estimate).
type quantile struct {
	mu       sync.Mutex
	estimate float64 // seconds; 0: nothing was seen
}

const pace = 0.002 // of the estimate, a step

func (q *quantile) add(d time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := d.Seconds()
	switch step := q.estimate * pace; {
	case q.estimate == 0:
		q.estimate = 2 * s
	case s > q.estimate:
		q.estimate = min(q.estimate+19*step, max(s, q.estimate+step))
	default:
		q.estimate -= step
	}
}

func (q *quantile) value() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	return time.Duration(q.estimate * float64(time.Second))
}
