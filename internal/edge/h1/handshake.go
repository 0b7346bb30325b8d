package h1

import (
	"crypto/tls"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// handshake is what the connection's handshake said: made once, with the first request; nil without TLS.
func (c *conn) handshake() *pipeline.TLS {
	if c.tls != nil || !c.secure {
		return c.tls
	}
	t, ok := c.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	state := t.ConnectionState()
	if !state.HandshakeComplete {
		return nil // a handshake that failed: there is no request
	}
	c.tls = edge.Said(&state)
	return c.tls
}

// handshakeFailed takes the error of a first read. On a port of both protocols the handshake was made before.
func (c *conn) handshakeFailed(err error) {
	if t, ok := c.Conn.(*tls.Conn); ok && !t.ConnectionState().HandshakeComplete && !c.edge.stopping.Load() {
		c.edge.handshakes.Failed(c.edge.log, &c.edge.faults, err)
	}
}

// voucher is a port whose CAs can change while connections live, see edge.Listen.
type voucher interface {
	Generation() uint64 // of the CAs, from 1 on
	Trusts(state *tls.ConnectionState) bool
}

// vouched reports that the CAs of this moment stand for the connection's certificate, as those of its handshake did.
func (c *conn) vouched() bool {
	if c.edge.voucher == nil || c.tls == nil || c.tls.Certificate == nil {
		return true
	}
	present := c.edge.voucher.Generation()
	if present == max(c.cas, 1) {
		return true
	}
	c.cas = present
	t, ok := c.Conn.(*tls.Conn)
	if !ok {
		return false
	}
	state := t.ConnectionState()
	return c.edge.voucher.Trusts(&state)
}
