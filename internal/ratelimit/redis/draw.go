package redis

import (
	"context"
	"strconv"
	"time"

	"github.com/oncegate/oncegate/internal/ratelimit"
	"github.com/oncegate/oncegate/internal/ratelimit/leases"
)

// Draw asks for tokens of a bucket or a window. done is called from another goroutine, at the latest after 20 ms. Want 0 without
// debt looks and changes nothing.
//
// Begins and Ends of a calendar's window are a guess. When the store's clock is in another period nothing was changed, and the
// draw is made once more for that one, with Drawn 0; tokens to give back are void then. A grant whose Begins is not that of the
// draw and that has no tokens says that this failed too: ask anew, by Now. Drawn is taken off by the store for each gateway whose
// tokens it does not know, not only for the one that meets a lost count first. Tokens of a rolling window
// are void at Ends, one or two 60ths of its length later; its Begins changes with every 60th.
func (s *Source) Draw(d leases.Draw, done func(leases.Grant)) {
	due := time.Now().Add(s.cfg.patience)
	s.draw(d, due, func(g leases.Grant, other bool) {
		if !other {
			done(g)
			return
		}
		quota := d.Limit.Quota()
		if d.Want < 0 {
			done(elsewhere(g, quota))
			return
		}
		d.Begins, d.Ends = quota.Period(g.Now)
		d.Drawn = 0
		s.draw(d, due, func(g leases.Grant, other bool) {
			if other {
				g = elsewhere(g, quota)
			}
			done(g)
		})
	})
}

// elsewhere says which period it is.
func elsewhere(g leases.Grant, quota ratelimit.Quota) leases.Grant {
	begins, ends := quota.Period(g.Now)
	return leases.Grant{Begins: begins, Ends: ends.Sub(g.Now), Next: time.Millisecond, Now: g.Now}
}

// draw sends a draw; other tells that it named another period than it is.
func (s *Source) draw(d leases.Draw, due time.Time, done func(g leases.Grant, other bool)) {
	kind := kindOf(d.Limit)
	c := s.order(kind, d)
	c.due, c.first = due, d.First
	c.done = func(value any, err error) {
		if err != nil {
			done(leases.Grant{Err: err}, false)
			return
		}
		done(granted(kind, value))
	}
	s.out.send(c)
}

// order makes a draw's call.
func (s *Source) order(kind byte, d leases.Draw) *call {
	c := &call{key: s.names.of(kind, d.Name)}
	burst, debt, drawn := decimal(d.Limit.Burst()), max(0, d.Debt), max(0, d.Drawn)
	switch kind {
	case bucketKind:
		c.script, c.args = bucketScript, []any{decimal(d.Limit.Rate()), burst, d.Want, debt}
	case rollingKind:
		c.script, c.args = rollingScript, []any{burst, d.Want, debt, drawn, widthOf(d.Limit.Quota()), s.me}
	default:
		c.script, c.args = windowScript, []any{burst, d.Want, debt, drawn, micros(d.Begins), micros(d.Ends), s.me}
	}
	if s.clock != nil {
		c.args = append(c.args, s.clock())
	}
	return c
}

// widthOf is a 60th of a rolling window, in microseconds, rounded up.
func widthOf(q ratelimit.Quota) int64 { return max(1, (q.Length().Microseconds()+59)/60) }

// decimal writes a number as it is, also a large one or a small one.
func decimal(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// granted reads the answer of a script.
func granted(kind byte, value any) (g leases.Grant, other bool) {
	r := newRow(value)
	tokens, left, next, fresh, now := r.int(), r.float(), r.int(), r.int(), r.int()
	g = leases.Grant{Tokens: tokens, Left: left, Next: duration(next), Fresh: fresh == 1, Now: time.UnixMicro(now)}
	if kind != bucketKind {
		begins, ends := r.int(), r.int()
		g.Ends = duration(ends)
		if begins > 0 {
			g.Begins = time.UnixMicro(begins)
		}
	}
	if r.bad {
		return leases.Grant{Err: errStrange("a draw", value)}, false
	}
	return g, fresh == otherPeriod
}

const otherPeriod = 2

// duration reads microseconds; below zero is never.
func duration(us int64) time.Duration {
	if us < 0 || us > int64(ratelimit.Never/time.Microsecond) {
		return ratelimit.Never
	}
	return time.Duration(us) * time.Microsecond
}

// row reads a script's answer: integers, and numbers as text, because Redis cuts Lua's fractions off.
type row struct {
	list []any
	bad  bool
}

func newRow(value any) *row {
	list, ok := value.([]any)
	return &row{list: list, bad: !ok}
}

func (r *row) next() any {
	if len(r.list) == 0 {
		r.bad = true
		return nil
	}
	v := r.list[0]
	r.list = r.list[1:]
	return v
}

func (r *row) int() int64 {
	switch v := r.next().(type) {
	case int64:
		return v
	case string:
		n, err := strconv.ParseInt(v, 10, 64)
		r.bad = r.bad || err != nil
		return n
	}
	r.bad = true
	return 0
}

func (r *row) float() float64 {
	text, ok := r.next().(string)
	v, err := strconv.ParseFloat(text, 64)
	r.bad = r.bad || !ok || err != nil
	return v
}

// Usage looks at a key's bucket, window or seats, and changes nothing. Left is what is free.
func (s *Source) Usage(ctx context.Context, key []byte, limit *ratelimit.Limit) (leases.Grant, error) {
	name, ok := s.Name(key)
	if !ok {
		return leases.Grant{}, ErrDown
	}
	if limit.Kind() == ratelimit.Slots {
		r, err := s.sitting(ctx, name, limit)
		return leases.Grant{Left: limit.Burst() - float64(r.count), Next: r.wait}, err
	}
	c := s.order(kindOf(limit), leases.Draw{Name: name, Limit: limit})
	value, err := s.ask(ctx, c.script, c.key, c.args...)
	if err != nil {
		return leases.Grant{}, err
	}
	g, _ := granted(kindOf(limit), value)
	return g, g.Err
}

// Forget resets a key: its bucket is full again, its window unused, its seats free.
func (s *Source) Forget(ctx context.Context, key []byte, limit *ratelimit.Limit) error {
	name, ok := s.Name(key)
	if !ok {
		return ErrDown
	}
	_, err := s.ask(ctx, forgetScript, s.names.of(kindOf(limit), name))
	return err
}
