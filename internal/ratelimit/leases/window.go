package leases

import (
	"time"

	"github.com/oncegate/oncegate/internal/ratelimit"
)

func isCalendar(l *ratelimit.Limit) bool {
	return l.Kind() == ratelimit.Window && !l.Quota().Rolling
}

// periodOf is the calendar of the foundation.
func periodOf(q ratelimit.Quota, t time.Time) (begins, ends time.Time) { return q.Period(t) }

// expire drops tokens of a period that is over, and what was known of it.
func (e *entry) expire(now int64) {
	if e.void == 0 || now < e.void {
		return
	}
	e.held, e.void = 0, 0
	if isCalendar(e.limit) { // all is there again
		e.deny, e.next, e.known = 0, 0, false
	}
}

// ends is the time until a calendar period ends, as far as it is known.
func (e *entry) ends(now int64) time.Duration {
	if e.void == 0 || !isCalendar(e.limit) {
		return 0
	}
	return max(1, time.Duration(e.void-now))
}

// describePeriod fills in what a draw says of a quota.
func (s *Store) describePeriod(d *Draw, e *entry, now int64) {
	p := e.remember()
	if isCalendar(e.limit) {
		d.Begins, d.Ends = s.period(e.limit.Quota(), s.latency.clock(s.began, now))
		if d.Begins.UnixNano() == p.begins {
			d.Drawn = p.drawn
		}
		return
	}
	p.fade(e, now, s.fleet.size())
	d.Drawn = p.drawn
}

// fade lets the use of a rolling quota pass away, at this gateway's part of the rate, and all of it a period after the last draw:
// the store has forgotten by then, too, and must not be told.
func (p *past) fade(e *entry, now int64, fleet int) {
	if now-p.latest >= int64(e.limit.Quota().Length()) {
		p.drawn, p.begins = 0, now
		return
	}
	rate := e.limit.Rate() / float64(fleet)
	gone := int64(time.Duration(now-p.begins).Seconds() * rate)
	if gone >= p.drawn {
		p.drawn, p.begins = 0, now
		return
	}
	p.drawn -= gone
	p.begins += int64(float64(gone) / rate * float64(time.Second))
}

// bookPeriod notes a grant of a quota; false when its tokens are not of the period that this entry is in.
func (s *Store) bookPeriod(c *call, g *Grant, now int64) bool {
	e, p := c.entry, c.entry.remember()
	brought := c.draw.Debt
	if !isCalendar(e.limit) {
		p.fade(e, now, s.fleet.size())
		if p.drawn = min(p.drawn+g.Tokens+brought, e.limit.Quota().Count); g.Tokens+brought > 0 {
			p.latest = c.flight.began
		}
		if g.Ends > 0 {
			e.void = c.flight.began + int64(g.Ends)
		}
		return true
	}
	begins := g.Begins.UnixNano()
	switch {
	case begins < p.begins:
		s.recorder.Lease(EventLost, g.Tokens)
		return false
	case begins > p.begins:
		p.begins, p.drawn = begins, 0
		e.held = 0 // of the period before
	}
	p.drawn += g.Tokens + brought
	e.void = c.flight.began + max(1, int64(g.Ends))
	wrong := g.Tokens == 0 && !g.Begins.Equal(c.draw.Begins)
	if wrong && !e.missed { // the clock is known now: ask again at once
		e.missed = true
		return false
	}
	e.missed = false
	return true
}
