package leases

import (
	"sync"
	"sync/atomic"
	"time"
)

// latency is what draws took, and what time it is at the store.
type latency struct {
	sync.Mutex
	mean, p99 float64 // nanoseconds; 0: nothing known
	offset    time.Duration
	synced    bool
	published atomic.Int64 // the mean: every decision reads it
}

// learn takes the times of a draw. The store's clock was read half way between them; slow answers say too little of it.
func (l *latency) learn(began, ended int64, base, store time.Time) {
	l.Lock()
	defer l.Unlock()
	took := max(1, float64(ended-began))
	if l.mean == 0 {
		l.mean, l.p99 = took, 2*took
	}
	l.mean += (took - l.mean) / 16
	l.published.Store(int64(l.mean))
	if took > l.p99 {
		l.p99 *= 1.05
	} else {
		l.p99 *= 1 - 0.05/99
	}
	if !store.IsZero() && (!l.synced || took < 2*l.mean) {
		middle := base.Add(time.Duration(began + (ended-began)/2))
		l.offset, l.synced = store.Sub(middle), true
	}
}

// trip is the mean round trip; a millisecond until one was seen.
func (l *latency) trip() time.Duration {
	if mean := l.published.Load(); mean > 0 {
		return min(time.Duration(mean), maxWait)
	}
	return time.Millisecond
}

// patience is how long a request waits for tokens.
func (l *latency) patience() time.Duration {
	l.Lock()
	defer l.Unlock()
	return min(max(time.Duration(2*l.p99), minWait), maxWait)
}

// clock is the time at the store.
func (l *latency) clock(base time.Time, now int64) time.Time {
	l.Lock()
	defer l.Unlock()
	return base.Add(time.Duration(now) + l.offset).Round(0)
}

// fleet is how many gateways share the limits. A number that jumps is believed by a factor of four a minute only.
type fleet struct {
	sync.Mutex
	n      atomic.Int64 // every decision reads it
	sure   atomic.Bool  // it was counted, and not only as the first one that came
	base   int
	minute int64
}

func (f *fleet) size() int { return int(f.n.Load()) }

func (f *fleet) update(n int, sure bool, now int64) {
	f.Lock()
	defer f.Unlock()
	f.sure.Store(sure)
	n = max(1, n)
	switch minute := now / int64(time.Minute); {
	case minute == 0: // the first answers are a count that grows as gateways are found
		f.base = n
	case minute > f.minute:
		f.minute, f.base = minute, f.size()
	}
	f.n.Store(int64(min(max(n, (f.base+3)/4), f.base*4)))
}
