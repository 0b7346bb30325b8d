// Package eject judges one target by the calls that it got (passive outlier detection).
//
// It promises that a target goes out only for failures in a row, comes back by time at the latest, stays away longer each time
// it fails again, and costs one failed call, not a whole series, when it comes back too soon. Active checks may end an ejection,
// but they are believed once: of the n-th they end what the one before had not. How many of an upstream's targets may be out is
// the caller's business. It stores nothing that could fail.
package eject

import (
	"sync/atomic"
	"time"
)

// Settings travel with each call, so a reload changes them and forgets nothing.
type Settings struct {
	Consecutive, Connect int // failures in a row; 0: not counted
	Time, MaxTime        time.Duration
	MaxShare             float64 // 0 to 1
}

// On tells whether anything can be ejected.
func (s *Settings) On() bool { return s.Consecutive > 0 || s.Connect > 0 }

// May tells whether out of n targets one more may be ejected. One of several always may.
func (s *Settings) May(n, out int) bool {
	return n > 1 && (out == 0 || float64(out+1) <= s.MaxShare*float64(n))
}

// The reasons.
const (
	Errors  = "errors"  // 502, 503 or 504, resets, time-outs, broken answers
	Connect = "connect" // no connection came about
)

// Record is what one target's calls came to. It belongs to the target and outlives configurations. Good and Bad may be called
// by many at once, the rest under the caller's lock.
type Record struct {
	errors, connects atomic.Int32 // in a row
	until            atomic.Int64 // when it comes back, nanoseconds of the caller's clock; 0: it is not out

	times    int // how often it was ejected lately
	returned int64
	earliest int64 // passing checks may end the ejection from here on
	passed   int   // checks in a row since it began
	reason   string
	since    int64
	byErrors atomic.Uint64
	byDials  atomic.Uint64
}

// Good takes a call that was answered.
func (r *Record) Good() {
	if r.errors.Load() != 0 {
		r.errors.Store(0)
	}
	if r.connects.Load() != 0 {
		r.connects.Store(0)
	}
}

// Bad takes a call that failed for a reason. It tells whether the target is to be ejected now.
func (r *Record) Bad(s *Settings, reason string) bool {
	n, limit := int32(0), 0
	if reason == Connect {
		n, limit = r.connects.Add(1), s.Connect
	} else {
		r.connects.Store(0) // it could be reached
		n, limit = r.errors.Add(1), s.Consecutive
	}
	return limit > 0 && int(n) >= limit && r.until.Load() == 0
}

// Eject takes the target out and gives for how long: the n-th time n times as long. A time without ejection as long as one of
// them takes one of them back. jitter, 0 to 1, adds up to a tenth, so that targets that failed together come back one by one.
func (r *Record) Eject(s *Settings, reason string, now int64, jitter float64) time.Duration {
	if r.times > 0 && s.Time > 0 {
		r.times = max(0, r.times-int((now-r.returned)/int64(s.Time)))
	}
	r.earliest, r.passed = now+int64(s.length(r.times)), 0
	r.times++
	length := s.length(r.times)
	length += time.Duration(jitter * float64(length) / 10)
	r.reason, r.since = reason, now
	r.until.Store(max(1, now+int64(length)))
	if reason == Connect {
		r.byDials.Add(1)
	} else {
		r.byErrors.Add(1)
	}
	return length
}

// length is that of the n-th ejection; 0 of none.
func (s *Settings) length(n int) time.Duration {
	if n > int(s.MaxTime/max(1, s.Time)) {
		return s.MaxTime
	}
	return s.Time * time.Duration(n)
}

// Checked takes an active check that began at a moment. It tells whether the ejection is to end now: enough passed in a row, all
// of them begun after it, and it lasts as long already as the one before did. Without the latter a target whose checks pass while
// its calls fail would come and go for ever.
func (r *Record) Checked(passed bool, began, now int64, enough int) bool {
	switch {
	case !r.Out() || began < r.since:
		return false
	case !passed:
		r.passed = 0
		return false
	}
	r.passed++
	return r.passed >= enough && now >= r.earliest
}

// Return lets the target come back. It is on probation: the first failure ejects it again, the first success ends that.
func (r *Record) Return(s *Settings, now int64) {
	r.errors.Store(int32(max(0, s.Consecutive-1)))
	r.connects.Store(int32(max(0, s.Connect-1)))
	r.returned = now
	r.until.Store(0)
}

// Failing tells whether the newest failures in a row would be enough.
func (r *Record) Failing(s *Settings) bool {
	return s.Consecutive > 0 && int(r.errors.Load()) >= s.Consecutive || s.Connect > 0 && int(r.connects.Load()) >= s.Connect
}

// Out tells whether the target is ejected.
func (r *Record) Out() bool { return r.until.Load() != 0 }

// Until is when an ejected target comes back; 0: it is not out.
func (r *Record) Until() int64 { return r.until.Load() }

// Last is why the newest ejection happened, when, and the how manieth lately it was. "" when there was none.
func (r *Record) Last() (reason string, at int64, times int) { return r.reason, r.since, r.times }

// Ejections counts all of them by reason.
func (r *Record) Ejections() (byErrors, byConnect uint64) {
	return r.byErrors.Load(), r.byDials.Load()
}
