package redis

import (
	"bytes"
	"context"
	"net"
	"sync/atomic"

	"github.com/oncegate/oncegate/internal/failpoint"
)

// cutter ends the process between sending a step and reading its reply. It does something in failpoint builds only.
type cutter struct{ mark atomic.Pointer[[]byte] }

// arm has the process end as soon as bytes with this token were written.
func (c *cutter) arm(place string, token []byte) {
	if failpoint.Enabled && place != "" && failpoint.Due(place) {
		mark := bytes.Clone(token)
		c.mark.Store(&mark)
	}
}

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

func (c *cutter) wrap(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &cutConn{Conn: conn, cutter: c}, nil
	}
}

type cutConn struct {
	net.Conn
	cutter *cutter
}

func (c *cutConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if mark := c.cutter.mark.Load(); mark != nil && err == nil && bytes.Contains(p, *mark) {
		failpoint.Kill()
	}
	return n, err
}
