package h2

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/upstream/h1"
)

// dialing is a connection on its way, for all that wait for it.
type dialing struct {
	done    chan struct{}
	err     error
	waiting int
}

// await waits for a place on a connection that there is, or on a new one.
func (p *Pool) await(ctx context.Context, now time.Time, lim *h1.Limits, until time.Time) (*Conn, bool, error) {
	end := now.Add(lim.Connect)
	if !until.IsZero() && until.Before(end) {
		end = until
	}
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	for {
		freed := p.freed.next() // before the look: what gets free after it rings
		now := time.Now()
		p.mu.Lock()
		p.pruneLocked(now)
		if c, reused := p.takeLocked(now); c != nil {
			p.unlock()
			return c, reused, nil
		}
		var err error
		if open := p.openLocked(now); open >= lim.Max || len(p.conns) >= 2*lim.Max {
			err = p.queueLocked(ctx, freed, lim.Max)
		} else {
			err = p.joinLocked(ctx, lim.Connect)
		}
		if err != nil {
			return nil, false, err
		}
	}
}

// queueLocked waits until a place may be free; it unlocks. As many may wait as there may be connections.
func (p *Pool) queueLocked(ctx context.Context, freed <-chan struct{}, most int) (err error) {
	if p.waiting >= most {
		p.unlock()
		return fmt.Errorf("%w: %d connections are full and as many calls wait", pipeline.Overloaded, most)
	}
	p.waiting++
	p.unlock()
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

// joinLocked waits for the dial that runs, or begins one; it unlocks. The dial may outlive the call that wanted it, not the
// connect limit: others wait for it, too.
func (p *Pool) joinLocked(ctx context.Context, limit time.Duration) error {
	d := p.dialing
	if d == nil {
		d = &dialing{done: make(chan struct{})}
		p.dialing = d
		go p.arrive(d, limit)
	}
	d.waiting++
	p.unlock()
	select {
	case <-d.done:
		return d.err
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.unlock()
	if d.waiting--; d.waiting == 0 && p.closed { // it may have come in the last moment, for nobody
		p.dropLocked(unused)
	}
	return lost(ctx.Err())
}

// arrive brings a new connection to those who wait for it.
func (p *Pool) arrive(d *dialing, limit time.Duration) {
	c, err := p.dial(context.Background(), limit)
	p.mu.Lock()
	defer p.unlock()
	p.dialing = nil
	switch d.err = err; {
	case err != nil:
	case p.closed && d.waiting == 0:
		p.done = append(p.done, c)
	default:
		p.conns = append(p.conns, c)
	}
	close(d.done)
	p.freed.ring()
}

// lost is the error of calls that found no connection in time.
func lost(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return h1.ConnectError("waiting for a connection", err)
	}
	return pipeline.Draining
}

// bell wakes all that wait. It has a lock of its own: net/http rings it while it is called below the pool's.
type bell struct {
	mu   sync.Mutex
	rung chan struct{} // nil: nobody waits
}

// next is closed when the bell is rung after this call.
func (b *bell) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung == nil {
		b.rung = make(chan struct{})
	}
	return b.rung
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung != nil {
		close(b.rung)
		b.rung = nil
	}
}
