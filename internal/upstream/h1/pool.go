package h1

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Limits are the settings of a call. They travel with it: a pool outlives configurations.
type Limits struct {
	Connect, FirstByte, Try, IdleBody, Idle time.Duration // Try 0: not bounded by itself
	Max                                     int           // connections of the target at once
	Watch                                   Watch         // may be nil
}

// Watch is told why connections that should have been fine were closed, and what became of bodies that came as streams. It
// must not block.
type Watch interface {
	Stale()                         // the upstream had closed an idle connection; below its limit connections.idle is too long
	Unsolicited()                   // the upstream sent bytes that answer nothing
	Ended(status int, body BodyEnd) // the answer of an outcome with Streams is over; once for each
}

// BodyEnd is how an answer's body ended.
type BodyEnd uint8

// The ends.
const (
	BodyWhole  BodyEnd = iota
	BodyBroken         // by the upstream
	BodyLeft           // nobody wanted the rest
	BodyJudged         // whole, and the status is that of what followed it: a gRPC call's
)

func (l *Limits) note(f IdleFault) {
	switch {
	case l.Watch == nil:
	case f == IdleStale:
		l.Watch.Stale()
	case f == IdleUnsolicited:
		l.Watch.Unsolicited()
	}
}

// Pool holds the connections to one target, the most recently used first, so that surplus ones age out. A closed pool still
// serves running exchanges, but keeps nothing.
type Pool struct {
	dialer *Dialer

	mu      sync.Mutex
	idle    []*Conn
	open    int // idle, in use, and being dialled
	waiters []chan *Conn
	closed  bool
}

// NewPool makes an empty pool.
func NewPool(d *Dialer) *Pool { return &Pool{dialer: d} }

// Acquire gives a connection: an idle one unless fresh is asked for, else a new one, else the first that gets free within
// the connect limit. until bounds it all; zero: nothing else does. Any error means that nothing was sent.
func (p *Pool) Acquire(ctx context.Context, now time.Time, lim *Limits, until time.Time, fresh bool) (*Conn, error) {
	p.mu.Lock()
	if !fresh {
		if c := p.popLocked(now); c != nil {
			p.mu.Unlock()
			c.reused, c.waited = true, false
			return c, nil
		}
	}
	if p.open >= lim.Max {
		if c := p.oldestLocked(); c != nil { // fresh: an idle connection makes room
			p.mu.Unlock()
			_ = c.nc.Close()
			return p.dial(ctx, now, lim, until)
		}
		return p.waitLocked(ctx, now, lim, until)
	}
	p.open++
	p.mu.Unlock()
	return p.dial(ctx, now, lim, until)
}

func (p *Pool) dial(ctx context.Context, now time.Time, lim *Limits, until time.Time) (*Conn, error) {
	end := now.Add(lim.Connect)
	if !until.IsZero() && until.Before(end) {
		end = until
	}
	c, err := p.dialer.dial(ctx, p, end)
	if err != nil {
		p.giveUp()
		return nil, err
	}
	return c, nil
}

// waitLocked queues for a connection or for the right to dial one. As many may wait as may run.
func (p *Pool) waitLocked(ctx context.Context, now time.Time, lim *Limits, until time.Time) (*Conn, error) {
	if len(p.waiters) >= lim.Max {
		p.mu.Unlock()
		return nil, fmt.Errorf("%w: %d connections are in use and as many calls wait", pipeline.Overloaded, lim.Max)
	}
	turn := make(chan *Conn, 1)
	p.waiters = append(p.waiters, turn)
	p.mu.Unlock()

	limit := lim.Connect
	if !until.IsZero() {
		limit = min(limit, until.Sub(now))
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case c := <-turn:
		return p.served(ctx, c, lim, until)
	case <-timer.C:
	case <-ctx.Done():
	}
	p.mu.Lock()
	if i := slices.Index(p.waiters, turn); i >= 0 {
		p.waiters = slices.Delete(p.waiters, i, i+1)
		p.mu.Unlock()
		return nil, fmt.Errorf("%w: no connection got free within %v", pipeline.Overloaded, limit)
	}
	p.mu.Unlock()
	return p.served(ctx, <-turn, lim, until) // it came in the last moment
}

func (p *Pool) served(ctx context.Context, c *Conn, lim *Limits, until time.Time) (*Conn, error) {
	if c == nil {
		return p.dial(ctx, time.Now(), lim, until)
	}
	c.reused, c.waited = true, true
	return c, nil
}

func (p *Pool) popLocked(now time.Time) *Conn {
	for n := len(p.idle); n > 0; n = len(p.idle) {
		c := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		if now.Before(c.idleUntil) {
			return c
		}
		p.open--
		_ = c.nc.Close()
	}
	return nil
}

func (p *Pool) oldestLocked() *Conn {
	if len(p.idle) == 0 {
		return nil
	}
	c := p.idle[0]
	p.idle = slices.Delete(p.idle, 0, 1)
	return c
}

// put takes a connection back whose exchange ended clean.
func (p *Pool) put(c *Conn, now time.Time, idle time.Duration) {
	rest := time.Duration(float64(idle) * c.jitter)
	if c.keep > 0 {
		rest = min(rest, c.keep)
	}
	c.idleUntil = now.Add(rest)
	if c.retire.Before(c.idleUntil) {
		c.idleUntil = c.retire
	}
	if !now.Before(c.idleUntil) {
		p.drop(c)
		return
	}
	c.clear()
	p.mu.Lock()
	switch {
	case p.closed && len(p.waiters) == 0:
		p.mu.Unlock()
		p.drop(c)
		return
	case len(p.waiters) > 0:
		p.nextLocked() <- c
	default:
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
}

// drop closes a connection.
func (p *Pool) drop(c *Conn) {
	_ = c.nc.Close()
	p.giveUp()
}

// giveUp frees the place of a connection; the first waiter gets it.
func (p *Pool) giveUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiters) > 0 {
		p.nextLocked() <- nil
		return
	}
	p.open--
}

func (p *Pool) nextLocked() chan *Conn {
	turn := p.waiters[0]
	p.waiters = slices.Delete(p.waiters, 0, 1)
	return turn
}

// Expire closes the connections that were idle for too long.
func (p *Pool) Expire(now time.Time) {
	p.mu.Lock()
	var old []*Conn
	p.idle = slices.DeleteFunc(p.idle, func(c *Conn) bool {
		if now.Before(c.idleUntil) {
			return false
		}
		old = append(old, c)
		return true
	})
	p.open -= len(old)
	p.mu.Unlock()
	for _, c := range old {
		_ = c.nc.Close()
	}
}

// Close closes what is idle; connections in use are closed when their exchange ends.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.CloseIdle()
}

// CloseIdle closes what is unused now.
func (p *Pool) CloseIdle() {
	p.mu.Lock()
	old := p.idle
	p.idle = nil
	p.open -= len(old)
	p.mu.Unlock()
	for _, c := range old {
		_ = c.nc.Close()
	}
}

// Reopen has a closed pool keep connections again.
func (p *Pool) Reopen() {
	p.mu.Lock()
	p.closed = false
	p.mu.Unlock()
}

// Stats tells how many connections there are and how many of them are unused.
func (p *Pool) Stats() (open, idle int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open, len(p.idle)
}
