package leases

import (
	"math"
	"time"

	"github.com/oncegate/oncegate/internal/ratelimit"
)

// past is what an entry must remember beyond its lease: what was drawn in a quota's period, so that a store which lost its
// count can be told, and what was admitted without the store, so that it isn't given twice.
type past struct {
	begins   int64 // of a calendar period, Unix nanoseconds; of a rolling one: drawn has faded until then
	latest   int64 // of a rolling one: when tokens were drawn last
	drawn    int64 // in the period, net
	slot     int64 // of now
	now      int64 // admitted alone in this slot
	before   int64 // and in the one before it
	during   int64 // of now: since the draw that is to bring it was sent
	grounded int64 // after which answer the local bucket was set, and one
	paid     int64 // until then a request that cost more than a local bucket holds is being paid for
}

func (e *entry) remember() *past {
	if e.past == nil {
		e.past = &past{}
	}
	return e.past
}

// admitAlone notes tokens that were admitted without the store.
func (s *Store) admitAlone(e *entry, cost, now int64) {
	p := e.remember()
	p.turn(s.slot(e, now))
	p.now += cost
	p.during += cost
	e.used = now
}

// turn begins a new slot. Of a calendar period nothing is carried over: slots are not neighbours.
func (p *past) turn(slot int64) {
	switch slot {
	case p.slot:
		return
	case p.slot + 1:
		p.before = p.now
	default:
		p.before = 0
	}
	p.slot, p.now, p.during = slot, 0, 0
}

// span is how long a bucket takes to fill; of a rolling quota its period.
func span(l *ratelimit.Limit) int64 {
	ns := l.Burst() / l.Rate() * float64(time.Second)
	return int64(max(1, min(ns, math.MaxInt64/4)))
}

func (s *Store) slot(e *entry, now int64) int64 {
	if isCalendar(e.limit) {
		begins, _ := s.period(e.limit.Quota(), s.latency.clock(s.began, now))
		return begins.UnixNano()
	}
	return now / span(e.limit)
}

// alone is what was admitted without the store in the last time that a bucket takes to fill, or in this period.
func (s *Store) alone(e *entry, now int64) int64 {
	p := e.past
	if p == nil || p.now == 0 && p.before == 0 {
		return 0
	}
	p.turn(s.slot(e, now))
	sum := float64(p.now)
	if p.before > 0 {
		width := span(e.limit)
		sum += float64(p.before) * (1 - float64(now%width)/float64(width))
	}
	return int64(math.Ceil(min(sum, e.limit.Burst())))
}

// settled forgets what a draw has brought to the store.
func (p *past) settled() { p.now, p.before, p.during = p.during, 0, 0 }

// takeDebt moves what the store must be told onto a draw.
func (s *Store) takeDebt(e *entry, now int64) (debt, local int64) {
	debt, e.debt = e.debt, 0
	if local = s.alone(e, now); local > 0 {
		e.past.during = 0
	}
	return debt, local
}

// over reports that nothing is remembered that could matter again.
func (p *past) over(e *entry, now int64, s *Store) bool {
	if now < p.paid {
		return false
	}
	if p.now+p.before+p.drawn == 0 {
		return true
	}
	if e.limit.Kind() == ratelimit.Bucket {
		return s.alone(e, now) == 0
	}
	if !isCalendar(e.limit) {
		p.fade(e, now, s.fleet.size())
		return p.drawn == 0 && s.alone(e, now) == 0
	}
	begins, _ := s.period(e.limit.Quota(), s.latency.clock(s.began, now))
	at := begins.UnixNano()
	return (p.drawn == 0 || p.begins < at) && (p.now == 0 || p.slot < at)
}
