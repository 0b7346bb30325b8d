package ratelimit

import (
	"encoding/binary"
	"math"
	"strconv"
	"time"
)

// Kind says what a limit counts.
type Kind uint8

// The kinds.
const (
	Bucket Kind = iota // tokens that come back at a rate
	Window             // a quota: so many per period
	Slots              // requests at the same time
)

// Failure says what a shared limit does while its store is down.
type Failure uint8

// The ways to fail.
const (
	FailLocal Failure = iota // count in this process, with this gateway's share of the rate
	FailAllow                // let everything pass
	FailDeny                 // refuse with store-unavailable
)

// Limit is a compiled limit: settings only, no counters. It travels with every call to a store, so a reload changes the rate
// without emptying a bucket.
type Limit struct {
	name      string
	kind      Kind
	rate      float64 // tokens a second; of a Window the mean
	burst     float64 // tokens of a full bucket; of a Window the count, of Slots how many
	quota     Quota
	cost      float64
	by        by
	onMissing missing
	failure   Failure
	shared    bool
	shadow    bool
	member    string // the name as a structured field string: "per-client"
	policy    string // its member of RateLimit-Policy: "per-client";q=200;w=2
	prefix    []byte // begins every key: the name behind its length
}

// Quota is a count per period. The zero value is none.
type Quota struct {
	Count   int64
	N       int            // a period is N units long
	Unit    string         // s m h d w mo
	Rolling bool           // any span of that length, not that of the calendar
	Zone    *time.Location // of the calendar
}

// Compile makes a limit of a configuration that Validate accepts.
func Compile(name string, cfg Config) *Limit {
	l := &Limit{
		name:   name,
		rate:   cfg.Rate.PerSecond(),
		cost:   float64(max(1, cfg.Cost)),
		shadow: cfg.Mode == "shadow",
		member: quote(name),
	}
	l.burst = burstOf(cfg.Burst, l.rate)
	l.by, _ = parseBy(cfg.By)
	switch {
	case cfg.OnMissing == "shared":
		l.onMissing = missingShared
	case cfg.OnMissing == "reject" && !l.shadow: // a shadow refuses nothing: it counts by address
		l.onMissing = missingReject
	}
	window := max(1, ceil(l.burst/l.rate))
	l.policy = l.member + ";q=" + strconv.FormatInt(int64(l.burst), 10) + ";w=" + strconv.FormatInt(window, 10)
	l.prefix = append(binary.AppendUvarint(nil, uint64(len(name))), name...)
	return l
}

// Name is the key of the limit under rate_limits.
func (l *Limit) Name() string { return l.name }

// Kind says what the limit counts.
func (l *Limit) Kind() Kind { return l.kind }

// Rate is tokens a second.
func (l *Limit) Rate() float64 { return l.rate }

// Burst is the tokens of a full bucket, the count of a quota, or the number of slots.
func (l *Limit) Burst() float64 { return l.burst }

// Quota is the count and the period of a Window.
func (l *Limit) Quota() Quota { return l.quota }

// Shared reports that the whole fleet counts together.
func (l *Limit) Shared() bool { return l.shared }

// OnStoreFailure says what to do while the shared store is down.
func (l *Limit) OnStoreFailure() Failure { return l.failure }

// Policy is the limit's member of the field RateLimit-Policy.
func (l *Limit) Policy() string { return l.policy }

// Shadow reports that the limit decides and counts but refuses nothing.
func (l *Limit) Shadow() bool { return l.shadow }

// Spec is what a limit amounts to, for admin pages: tokens a second, tokens of a full bucket, tokens a request.
func (l *Limit) Spec() (rate float64, burst, cost int64) {
	return l.rate, int64(l.burst), int64(l.cost)
}

// Share is what one of n gateways may let pass alone: the n-th part of the rate, and at least one token at once. It counts in
// buckets of its own name.
func (l *Limit) Share(n int) *Limit {
	part := *l
	part.name, part.shared = l.name+"\x00alone", false
	part.rate = l.rate / float64(max(1, n))
	part.burst = max(1, math.Floor(l.burst/float64(max(1, n))))
	return &part
}

// level is what a bucket holds now. The clock may stand still but not go back: that would mint tokens twice.
func (l *Limit) level(b *bucket, now int64) float64 {
	level := b.level
	if now > b.last {
		level += time.Duration(now-b.last).Seconds() * l.rate
	}
	return min(level, l.burst)
}

// wait is how long tokens take to come back, cut to whole nanoseconds: a caller who waits that long is admitted.
func (l *Limit) wait(tokens float64) time.Duration {
	if tokens <= 0 {
		return 0
	}
	ns := tokens / l.rate * float64(time.Second)
	if !(ns < math.MaxInt64) {
		return math.MaxInt64
	}
	return time.Duration(ns)
}

// burstOf gives the size of a bucket; without one it holds the tokens of one second.
func burstOf(burst int, rate float64) float64 {
	if burst != 0 {
		return float64(burst)
	}
	return float64(max(1, ceil(rate)))
}

// ceil rounds up, but not over an error in the last binary digits: 11 tokens at 11 a minute take 60 seconds.
func ceil(v float64) int64 { return int64(math.Ceil(v - v*1e-12)) }

// seconds rounds up to whole seconds.
func seconds(d time.Duration) int64 {
	s := int64(d / time.Second)
	if d%time.Second != 0 {
		s++
	}
	return s
}

// quote writes a structured field string (RFC 9651, section 3.3.3). What it can't hold becomes '?'.
func quote(name string) string {
	out := []byte{'"'}
	for _, r := range name {
		switch {
		case r == '"' || r == '\\':
			out = append(out, '\\', byte(r))
		case r < 0x20 || r > 0x7e:
			out = append(out, '?')
		default:
			out = append(out, byte(r))
		}
	}
	return string(append(out, '"'))
}
