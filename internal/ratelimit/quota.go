package ratelimit

import (
	"math"
	"time"
)

// Windows in memory. A calendar Window is a bucket whose level is what is left of the period that began at last (nanoseconds
// of Unix time); it needs no other record. A rolling Window counts in sixteen parts of time, the sum of which covers more
// than its length: no span of that length ever holds more than the count, and what was taken comes back up to a fifteenth of
// the length late.

// span is the period of now.
type span struct {
	begins, ends int64 // nanoseconds of Unix time
	over         int64 // about when it ends by the clock of buckets
}

// calendar gives the period of now and the time until it ends. A clock that is set back by less than a period changes
// nothing: otherwise the count of a period could be spent twice.
func (m *Memory) calendar(p *policy, now int64) (*span, time.Duration) {
	wall := unixNano(m.wall())
	for {
		old := p.span.Load()
		holds := old != nil && wall < old.ends && wall >= old.begins-(old.ends-old.begins)
		if holds && now < old.over {
			return old, time.Duration(old.ends - wall)
		}
		s := new(span)
		if holds { // the clock was slowed or set back
			s.begins, s.ends = old.begins, old.ends
		} else {
			begins, ends := p.limit.quota.Period(time.Unix(0, wall))
			s.begins, s.ends = unixNano(begins), unixNano(ends)
		}
		if s.over = now + s.ends - wall; s.over < now {
			s.over = math.MaxInt64
		}
		if p.span.CompareAndSwap(old, s) {
			return s, time.Duration(s.ends - wall)
		}
	}
}

// spanAt is calendar for those who only need the period, and not to the second.
func (m *Memory) spanAt(p *policy, now int64) *span {
	s := p.span.Load()
	if s == nil || now >= s.over {
		s, _ = m.calendar(p, now)
	}
	return s
}

func unixNano(t time.Time) int64 {
	if t.Year() > 2200 {
		return math.MaxInt64
	}
	return t.UnixNano()
}

// samePeriod reports that what two limits counted means the same.
func samePeriod(a, b *Limit) bool {
	p, q := a.quota, b.quota
	return p.Unit == q.Unit && p.units() == q.units() && p.Rolling == q.Rolling && (p.Zone == q.Zone || p.Zone.String() == q.Zone.String())
}

// ring counts what was taken in each of the last parts of time, by the number of the part.
type ring [16]float64

// rings are the counts of a shard's rolling Windows. A bucket's ring is its index and 1.
type rings struct {
	list []ring
	free []uint32
}

// part is the number of the part of time that holds now. Fifteen parts are at least the whole length.
func (l *Limit) part(now int64) int64 { return now / l.partLength() }

func (l *Limit) partLength() int64 {
	const parts = int64(len(ring{})) - 1
	return (int64(l.quota.Length()) + parts - 1) / parts
}

// at gives a bucket's counts, with those that are too old removed.
func (r *rings) at(b *bucket, part int64) *ring {
	g := &r.list[b.ring-1]
	if part-b.last >= int64(len(g)) {
		*g, b.last = ring{}, part
	}
	for b.last < part {
		b.last++
		g[b.last%int64(len(g))] = 0
	}
	return g
}

func (g *ring) sum() (n float64) {
	for _, v := range g {
		n += v
	}
	return n
}

// wait is the time until enough parts are too old to count.
func (g *ring) wait(b *bucket, l *Limit, missing float64, now int64) time.Duration {
	size := int64(len(g))
	for part := b.last - size + 1; part < b.last; part++ {
		n := g[(part%size+size)%size]
		if missing -= n; n > 0 && missing <= 0 {
			return time.Duration((part+size)*l.partLength() - now)
		}
	}
	return time.Duration((b.last+size)*l.partLength() - now)
}

func (r *rings) add() uint32 {
	if n := len(r.free); n > 0 {
		i := r.free[n-1]
		r.free = r.free[:n-1]
		r.list[i-1] = ring{}
		return i
	}
	r.list = append(r.list, ring{})
	return uint32(len(r.list))
}

func (r *rings) remove(b *bucket) {
	if b.ring != 0 {
		r.free = append(r.free, b.ring)
		b.ring = 0
	}
}

// tidy gives back the memory of rings that nobody uses when they are most of it.
func (r *rings) tidy(slots []bucket) {
	used := len(r.list) - len(r.free)
	if len(r.list) <= 4*minSlots || used*4 > len(r.list) {
		return
	}
	list := make([]ring, 0, used)
	for i := range slots {
		if b := &slots[i]; b.ring != 0 {
			list = append(list, r.list[b.ring-1])
			b.ring = uint32(len(list))
		}
	}
	r.list, r.free = list, nil
}
