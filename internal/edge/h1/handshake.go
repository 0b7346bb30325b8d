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
