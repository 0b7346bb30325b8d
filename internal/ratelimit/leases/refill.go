package leases

import (
	"math/rand/v2"
	"time"

	"github.com/oncegate/oncegate/internal/ratelimit"
)

// flight is a draw under way.
type flight struct {
	done  chan struct{} // closed when the answer is booked
	began int64
	want  int64
	cost  int64 // of the request that began it
	debt  int64 // taken along of the entry's debt
	local int64 // taken along of what was admitted in an outage
}

// call is a draw to be sent once the locks are free: a source may answer at once. flight is nil when tokens are given back.
type call struct {
	entry  *entry
	flight *flight
	draw   Draw
}

// begin prepares the refill of an entry that has none under way; nil when nothing is to be drawn. The shard is locked.
func (s *Store) begin(e *entry, cost, now int64) *call {
	want := e.lease(s.fleet.size(), now) - e.held
	if want <= 0 || s.closed.Load() {
		return nil
	}
	return s.take(e, s.drawOf(e, want, now), cost, now)
}

// take makes a draw the one that is under way, and lets it bring what the store must be told.
func (s *Store) take(e *entry, d Draw, cost, now int64) *call {
	f := &flight{done: make(chan struct{}), began: now, want: max(0, d.Want), cost: cost}
	f.debt, f.local = s.takeDebt(e, now)
	d.Debt = min(f.debt+f.local, mostDebt(e.limit))
	e.flight = f
	s.watch(e)
	return &call{entry: e, flight: f, draw: d}
}

// giveBack prepares the return of n tokens of an entry, and of its debt; n may be 0. The shard is locked.
func (s *Store) giveBack(e *entry, n, now int64) *call {
	d := s.drawOf(e, -n, now)
	e.held -= n
	if p := e.past; p != nil && e.limit.Kind() == ratelimit.Window {
		p.drawn = max(0, p.drawn-n)
	}
	if e.known {
		e.left += float64(n)
	}
	if e.debt > 0 && e.flight == nil {
		return s.take(e, d, 0, now)
	}
	return &call{entry: e, draw: d}
}

// excess prepares the return of what no waiting request wants of a limit that keeps nothing. The shard is locked.
func (s *Store) excess(e *entry, now int64) *call {
	n := e.held - e.pending
	if n <= 0 || e.flight != nil || !exact(e.share(s.fleet.size())) {
		return nil
	}
	e.denied = n + 1 // a smaller request finds these in the store
	return s.giveBack(e, n, now)
}

func (s *Store) drawOf(e *entry, want, now int64) Draw {
	d := Draw{Name: e.name, Limit: e.limit, Want: want, First: want > 0 && !e.known && e.leftAt == 0}
	if e.limit.Kind() == ratelimit.Window {
		s.describePeriod(&d, e, now)
	}
	return d
}

// send hands a call to the source. No lock is held.
func (s *Store) send(c *call) {
	if c == nil {
		return
	}
	s.calls.Add(1)
	if c.draw.Want < 0 {
		s.recorder.Lease(EventReturned, -c.draw.Want)
	}
	s.src.Draw(c.draw, func(g Grant) {
		if c.flight != nil {
			s.send(s.finish(c, g))
		}
		s.answered()
	})
}

func (s *Store) answered() {
	if s.calls.Add(-1) == 0 {
		select {
		case s.quiet <- struct{}{}:
		default:
		}
	}
}

// finish books an answer and wakes who waits for it. It gives the call that returns what came too late.
func (s *Store) finish(c *call, g Grant) *call {
	e, f := c.entry, c.flight
	now := s.now()
	sh := s.shard(e.hash)
	sh.Lock()
	defer sh.Unlock()
	defer close(f.done)
	stale := e.flight != f // it was given up
	if !stale {
		e.flight = nil
	}
	if g.Err != nil {
		s.recorder.Lease(EventFailed, 0)
		if !stale {
			s.fail(e, f, now)
		}
		return nil
	}
	s.met.Store(true)
	s.heard.Store(now)
	s.latency.learn(f.began, now, s.began, g.Now)
	s.recorder.Lease(EventDrawn, g.Tokens)
	if c.draw.Debt > 0 {
		s.recorder.Lease(EventDebt, c.draw.Debt)
	}
	if stale {
		return s.refuseLate(c, g)
	}
	return s.book(c, g, now)
}

// book adds a grant to an entry.
func (s *Store) book(c *call, g Grant, now int64) *call {
	e, f := c.entry, c.flight
	e.fails, e.down = 0, 0
	e.left, e.leftAt, e.known = g.Left, now, true
	if f.local > 0 && e.past != nil { // it may have been reset since
		e.past.settled()
	}
	if e.limit.Kind() == ratelimit.Window && !s.bookPeriod(c, &g, now) {
		return nil // another period: the next look asks for that
	}
	e.held += g.Tokens
	e.used = now
	if g.Tokens < c.draw.Want {
		s.recorder.Lease(EventShort, c.draw.Want-g.Tokens)
		s.postpone(e, f, g, now)
		if g.Next < ratelimit.Never {
			e.next = now + int64(g.Next)
		}
	}
	if s.closed.Load() && e.held > 0 {
		return s.giveBack(e, e.held, now)
	}
	return s.excess(e, now)
}

// postpone sets until when the store isn't asked again. Tokens pile up there meanwhile, so nothing is lost.
func (s *Store) postpone(e *entry, f *flight, g Grant, now int64) {
	base := min(max(g.Next, 0), longestDeny)
	if lack := f.cost - e.held; lack > 1 && exact(e.share(s.fleet.size())) {
		more := float64(lack-1) / e.limit.Rate() * float64(time.Second)
		base = min(base+time.Duration(min(more, float64(longestDeny))), longestDeny)
	}
	if base <= pause {
		base = pause/2 + rand.N(pause)
	} else {
		base += rand.N(pause)
	}
	e.deny, e.denied = now+int64(base), 1
}

// fail notes that nothing is known of a draw. Its tokens are lost, its debt is not.
func (s *Store) fail(e *entry, f *flight, now int64) {
	e.debt = min(e.debt+f.debt, mostDebt(e.limit))
	most := min(rejoin, 25*time.Millisecond<<min(e.fails, 8))
	e.down = now + int64(time.Millisecond) + rand.Int64N(int64(most))
	e.fails = min(e.fails+1, 100)
}

// refuseLate gives back what an abandoned draw brought after all.
func (s *Store) refuseLate(c *call, g Grant) *call {
	c.entry.debt = max(0, c.entry.debt-c.flight.debt) // it was brought after all
	if g.Tokens <= 0 {
		return nil
	}
	d := c.draw
	d.Want, d.Debt, d.Drawn = -g.Tokens, 0, 0
	return &call{entry: c.entry, draw: d}
}
