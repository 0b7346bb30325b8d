package upstream

import (
	"crypto/tls"
	"time"

	"github.com/oncegate/oncegate/internal/upstream/h1"
	"github.com/oncegate/oncegate/internal/upstream/h2"
)

// conns are the connections to one target: of the one protocol or of the other.
type conns struct {
	h1 *h1.Pool
	h2 *h2.Pool
}

func newConns(where endpoint, id *tlsIdentity) *conns {
	dialer := &h1.Dialer{Addr: where.addr, HTTP2: where.http2}
	if encrypted(where.scheme) {
		dialer.TLS = func() *tls.Config { return id.config(where.name, where.http2) }
	}
	if where.http2 {
		return &conns{h2: h2.NewPool(dialer)}
	}
	return &conns{h1: h1.NewPool(dialer)}
}

// Stats tells how many connections there are and how many of them are unused.
func (c *conns) Stats() (open, idle int) {
	if c.h2 != nil {
		return c.h2.Stats()
	}
	return c.h1.Stats()
}

// Expire closes the connections that were idle for too long.
func (c *conns) Expire(now time.Time) {
	if c.h2 != nil {
		c.h2.Expire(now)
		return
	}
	c.h1.Expire(now)
}

// CloseIdle closes what is unused now.
func (c *conns) CloseIdle() {
	if c.h2 != nil {
		c.h2.CloseIdle()
		return
	}
	c.h1.CloseIdle()
}

// Close closes what is idle, now and from now on.
func (c *conns) Close() {
	if c.h2 != nil {
		c.h2.Close()
		return
	}
	c.h1.Close()
}

// Reopen has closed pools keep connections again.
func (c *conns) Reopen() {
	if c.h2 != nil {
		c.h2.Reopen()
		return
	}
	c.h1.Reopen()
}
