package upstream

import (
	"crypto/tls"
	"sync/atomic"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/upstream/h1"
	"github.com/oncegate/oncegate/internal/upstream/h2"
)

// conns are the connections to one target: of one protocol, or of both when TLS handshakes decide.
type conns struct {
	h1  *h1.Pool
	h2  *h2.Pool
	old atomic.Int64 // until when HTTP/1.1 is used unasked, in Unix nanoseconds
}

// askAgain is how long the answer holds that a target has HTTP/1.1 only.
const askAgain = time.Minute

func newConns(where endpoint, id *tlsIdentity) *conns {
	dialer := func(speaks protocol) *h1.Dialer {
		d := &h1.Dialer{Addr: where.addr, HTTP2: speaks != overHTTP1}
		if encrypted(where.scheme) {
			d.TLS = func() *tls.Config { return id.config(where.name, speaks) }
		}
		return d
	}
	c := &conns{}
	if where.speaks != overHTTP1 {
		c.h2 = h2.NewPool(dialer(where.speaks))
	}
	if where.speaks != overHTTP2 {
		c.h1 = h1.NewPool(dialer(overHTTP1))
	}
	return c
}

// multiplexes tells that x goes over HTTP/2, or that the target has to be asked for it.
func (c *conns) multiplexes(x *pipeline.Exchange, now time.Time) bool {
	return c.h2 != nil && (c.h1 == nil || !x.Switch.Granted && now.UnixNano() >= c.old.Load())
}

// remember notes that the target chose HTTP/1.1.
func (c *conns) remember(now time.Time) { c.old.Store(now.Add(askAgain).UnixNano()) }

// pool is what both kinds of connections can do.
type pool interface {
	Stats() (open, idle int)
	Expire(now time.Time)
	CloseIdle()
	Close()
	Reopen()
}

func (c *conns) each(f func(pool)) {
	if c.h1 != nil {
		f(c.h1)
	}
	if c.h2 != nil {
		f(c.h2)
	}
}

// Stats tells how many connections there are and how many of them are unused.
func (c *conns) Stats() (open, idle int) {
	c.each(func(p pool) {
		o, i := p.Stats()
		open, idle = open+o, idle+i
	})
	return open, idle
}

// Expire closes the connections that were idle for too long.
func (c *conns) Expire(now time.Time) { c.each(func(p pool) { p.Expire(now) }) }

// CloseIdle closes what is unused now.
func (c *conns) CloseIdle() { c.each(pool.CloseIdle) }

// Close closes what is idle, now and from now on.
func (c *conns) Close() { c.each(pool.Close) }

// Reopen has closed pools keep connections again.
func (c *conns) Reopen() { c.each(pool.Reopen) }
