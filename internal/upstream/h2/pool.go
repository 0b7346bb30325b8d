package h2

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/upstream/h1"
)

// Pool holds the connections to one target. Each carries as many calls at once as the target lets; another one is dialled
// when all are full. A closed pool still serves running calls, but keeps no connection that has none.
type Pool struct {
	dialer    *h1.Dialer
	transport *http.Transport

	freed bell // rung when a place may have got free

	mu      sync.Mutex
	conns   []*Conn
	done    []*Conn  // to be closed when the lock is free: TLS may take its time for a farewell
	dialing *dialing // nil: none
	waiting int
	closed  bool
}

// Conn is one connection to a target. What the pool says of it is below its lock.
type Conn struct {
	cc   *http.ClientConn
	wire *greeting
	pool *Pool

	calls     int
	places    int // calls at once that it was last seen to carry
	used      bool
	retire    time.Time // no new calls from then on
	idleUntil time.Time // while there are no calls
}

// NewPool makes an empty pool.
func NewPool(d *h1.Dialer) *Pool {
	return &Pool{dialer: d, transport: newTransport()}
}

// Acquire reserves a place for a call. until bounds it beside the connect limit; zero: nothing else does. Any error means that
// nothing was sent. reused: the connection has carried calls before.
func (p *Pool) Acquire(ctx context.Context, now time.Time, lim *h1.Limits, until time.Time) (c *Conn, reused bool, err error) {
	p.mu.Lock()
	c, reused = p.takeLocked(now)
	p.mu.Unlock()
	if c != nil {
		return c, reused, nil
	}
	return p.await(ctx, now, lim, until)
}

// takeLocked reserves a place on the connection with the fewest calls.
func (p *Pool) takeLocked(now time.Time) (_ *Conn, reused bool) {
	for {
		var best *Conn
		for _, c := range p.conns {
			if c.takesLocked(now) && (best == nil || c.calls < best.calls) {
				best = c
			}
		}
		if best == nil {
			return nil, false
		}
		if best.cc.Reserve() == nil {
			best.calls++
			reused, best.used = best.used, true
			return best, reused
		}
		best.retire = now // it takes no calls any more
	}
}

// takesLocked tells whether c has a place. One that has none though fewer calls than before run on it was told to end: net/http
// tells of GOAWAY in no other way.
func (c *Conn) takesLocked(now time.Time) bool {
	if !now.Before(c.retire) {
		return false
	}
	running := c.cc.InFlight() // before Available: it grows below our lock only
	free := c.cc.Available()
	if free == 0 {
		if running < c.places {
			c.retire = now
		}
		return false
	}
	c.places = running + free
	return true
}

// openLocked counts the connections that take calls, or will when one ends.
func (p *Pool) openLocked(now time.Time) (n int) {
	for _, c := range p.conns {
		if now.Before(c.retire) {
			n++
		}
	}
	return n
}

// release ends a call's use of a connection. mute: nothing was heard on it while the call waited in vain, so it gets no further
// calls: a host that is gone does not say so.
func (c *Conn) release(idle time.Duration, mute bool) {
	p := c.pool
	p.mu.Lock()
	defer p.unlock()
	now := time.Now()
	c.calls--
	c.idleUntil = now.Add(idle)
	if mute {
		c.retire = now
	}
	if c.calls == 0 && (p.closed || !now.Before(c.retire) || c.cc.Err() != nil) {
		p.conns = slices.DeleteFunc(p.conns, func(other *Conn) bool { return other == c })
		p.done = append(p.done, c)
	}
	p.freed.ring()
}

// unlock frees the lock and closes what was given up below it.
func (p *Pool) unlock() {
	done := p.done
	p.done = nil
	p.mu.Unlock()
	for _, c := range done {
		_ = c.cc.Close()
	}
}

// dropLocked gives up the connections that gone says.
func (p *Pool) dropLocked(gone func(*Conn) bool) {
	p.conns = slices.DeleteFunc(p.conns, func(c *Conn) bool {
		if !gone(c) {
			return false
		}
		p.done = append(p.done, c)
		return true
	})
}

// pruneLocked gives up what broke, what is too old, and what has had no calls for too long.
func (p *Pool) pruneLocked(now time.Time) {
	p.dropLocked(func(c *Conn) bool {
		return c.cc.Err() != nil || c.calls == 0 && (!now.Before(c.idleUntil) || !now.Before(c.retire))
	})
}

func unused(c *Conn) bool { return c.calls == 0 }

// Expire closes the connections that were idle for too long.
func (p *Pool) Expire(now time.Time) {
	p.mu.Lock()
	defer p.unlock()
	p.pruneLocked(now)
}

// Close closes what is idle; connections with calls are closed when these end.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.unlock()
	p.closed = true
	p.dropLocked(unused)
}

// CloseIdle closes what has no calls now.
func (p *Pool) CloseIdle() {
	p.mu.Lock()
	defer p.unlock()
	p.dropLocked(unused)
}

// Reopen has a closed pool keep connections again.
func (p *Pool) Reopen() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = false
}

// Stats tells how many connections there are and how many of them are unused.
func (p *Pool) Stats() (open, idle int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		if c.calls == 0 {
			idle++
		}
	}
	return len(p.conns), idle
}
