package h2

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/upstream/h1"
)

// Pool holds the connections to one target. Each carries as many calls at once as the target lets; another one is dialled
// when all are full. A closed pool still serves running calls, but keeps no connection that has none.
type Pool struct {
	dialer    *h1.Dialer
	transport *http.Transport

	mu      sync.Mutex
	conns   []*Conn
	dialing *dialing      // nil: none
	freed   chan struct{} // closed when a place gets free; nil: nobody waits
	waiting int
	closed  bool
}

// Conn is one connection to a target. What the pool says of it is below its lock.
type Conn struct {
	cc   *http.ClientConn
	pool *Pool

	calls     int
	used      bool
	retire    time.Time // no new calls from then on
	idleUntil time.Time // while there are no calls
}

// dialing is a connection on its way, for all that wait for it.
type dialing struct {
	done    chan struct{}
	err     error
	waiting int
}

// NewPool makes an empty pool.
func NewPool(d *h1.Dialer) *Pool {
	return &Pool{dialer: d, transport: newTransport()}
}

// Acquire reserves a place for a call. until bounds it beside the connect limit; zero: nothing else does. Any error means that
// nothing was sent. reused: the connection has carried calls before.
func (p *Pool) Acquire(ctx context.Context, now time.Time, lim *h1.Limits, until time.Time) (c *Conn, reused bool, err error) {
	p.mu.Lock()
	if c := p.takeLocked(now); c != nil {
		reused = c.used
		c.used = true
		p.mu.Unlock()
		return c, reused, nil
	}
	p.mu.Unlock()
	return p.await(ctx, now, lim, until)
}

// takeLocked reserves a place on the connection with the fewest calls.
func (p *Pool) takeLocked(now time.Time) *Conn {
	for {
		var best *Conn
		for _, c := range p.conns {
			if now.Before(c.retire) && (best == nil || c.calls < best.calls) && c.cc.Available() > 0 {
				best = c
			}
		}
		if best == nil {
			return nil
		}
		if best.cc.Reserve() == nil {
			best.calls++
			return best
		}
		best.retire = now // it takes no calls any more
	}
}

func (p *Pool) await(ctx context.Context, now time.Time, lim *h1.Limits, until time.Time) (*Conn, bool, error) {
	end := now.Add(lim.Connect)
	if !until.IsZero() && until.Before(end) {
		end = until
	}
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	for {
		p.mu.Lock()
		p.pruneLocked(time.Now())
		if c := p.takeLocked(time.Now()); c != nil {
			reused := c.used
			c.used = true
			p.mu.Unlock()
			return c, reused, nil
		}
		if len(p.conns) >= lim.Max {
			if err := p.queueLocked(ctx, lim.Max); err != nil {
				return nil, false, err
			}
			continue
		}
		d := p.dialLocked(lim.Connect)
		d.waiting++
		p.mu.Unlock()
		select {
		case <-d.done:
			if d.err != nil {
				return nil, false, d.err
			}
		case <-ctx.Done():
			p.mu.Lock()
			d.waiting--
			p.mu.Unlock()
			return nil, false, lost(ctx.Err())
		}
	}
}

// queueLocked waits for a place; it unlocks. As many may wait as there may be connections.
func (p *Pool) queueLocked(ctx context.Context, most int) error {
	if p.waiting >= most {
		p.mu.Unlock()
		return fmt.Errorf("%w: %d connections are full and as many calls wait", pipeline.Overloaded, most)
	}
	p.waiting++
	if p.freed == nil {
		p.freed = make(chan struct{})
	}
	freed := p.freed
	p.mu.Unlock()
	var err error
	select {
	case <-freed:
	case <-ctx.Done():
		err = fmt.Errorf("%w: no connection got free in time", pipeline.Overloaded)
	}
	p.mu.Lock()
	p.waiting--
	p.mu.Unlock()
	return err
}

// dialLocked joins the dial that runs, or begins one. It may outlive the call that wanted it, not the connect limit: others
// wait for it, too.
func (p *Pool) dialLocked(limit time.Duration) *dialing {
	if p.dialing != nil {
		return p.dialing
	}
	d := &dialing{done: make(chan struct{})}
	p.dialing = d
	go func() {
		c, err := p.dial(context.Background(), limit)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.dialing = nil
		switch d.err = err; {
		case err != nil:
		case p.closed && d.waiting == 0:
			_ = c.cc.Close()
		default:
			p.conns = append(p.conns, c)
		}
		close(d.done)
	}()
	return d
}

// release ends a call's use of a connection.
func (c *Conn) release(idle time.Duration) {
	p := c.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	c.calls--
	c.idleUntil = now.Add(idle)
	if c.calls == 0 && (p.closed || !now.Before(c.retire) || c.cc.Err() != nil) {
		p.dropLocked(c)
	}
	if p.freed != nil {
		close(p.freed)
		p.freed = nil
	}
}

func (p *Pool) dropLocked(c *Conn) {
	if i := slices.Index(p.conns, c); i >= 0 {
		p.conns = slices.Delete(p.conns, i, i+1)
	}
	_ = c.cc.Close()
}

// pruneLocked closes what broke, what is too old, and what has had no calls for too long.
func (p *Pool) pruneLocked(now time.Time) {
	p.conns = slices.DeleteFunc(p.conns, func(c *Conn) bool {
		broken := c.cc.Err() != nil
		if !broken && (c.calls > 0 || now.Before(c.idleUntil) && now.Before(c.retire)) {
			return false
		}
		_ = c.cc.Close()
		return true
	})
}

// Expire closes the connections that were idle for too long.
func (p *Pool) Expire(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pruneLocked(now)
}

// Close closes what is idle; connections with calls are closed when these end.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.CloseIdle()
}

// CloseIdle closes what has no calls now.
func (p *Pool) CloseIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = slices.DeleteFunc(p.conns, func(c *Conn) bool {
		if c.calls > 0 {
			return false
		}
		_ = c.cc.Close()
		return true
	})
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
