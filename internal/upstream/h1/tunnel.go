package h1

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // the handshake of RFC 6455 is made of it; nothing rests on its strength
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

const websocketGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455, 1.3

// switched judges a 101: nil when it is what was asked for, in the form of RFC 6455, 4.2.2.
func (k *call) switched(h *head) error {
	why := ""
	switch {
	case !k.x.Switch.Granted:
		why = "protocol was switched without being asked for"
	case h.upgrades != 1 || !h.websocket || !h.switches:
		why = "protocol was switched to another than websocket"
	case h.length >= 0 || h.chunked || h.old:
		why = "a 101 with a body"
	case !accepted(h.fields, k.x.Request.Header("Sec-WebSocket-Key")):
		why = "Sec-WebSocket-Accept is not the answer to the key"
	default:
		return nil
	}
	return fmt.Errorf("%w: %s", pipeline.UpstreamFailed, why)
}

// accepted looks for the one Sec-WebSocket-Accept that fits the key.
func accepted(fields, key []byte) bool {
	sum := sha1.Sum(append(bytes.Clone(key), websocketGUID...)) //nolint:gosec // see above
	want := base64.StdEncoding.EncodeToString(sum[:])
	seen, right := 0, false
	for len(fields) > 0 {
		n := bytes.IndexByte(fields, '\n')
		if name, value, _ := splitField(fields[:n-1]); wire.EqualFold(name, "sec-websocket-accept") {
			seen++
			right = string(value) == want
		}
		fields = fields[n+1:]
	}
	return seen == 1 && right
}

// deliverTunnel hands the connection over. It never goes back to the pool, but counts as one of its connections.
func (k *call) deliverTunnel(h *head) {
	k.out.Status = 101
	k.fill(h)
	k.x.Effect = pipeline.EffectDone
	c := k.c
	t := &tunnel{Conn: c.nc, c: c, first: bytes.Clone(c.buffered()), watch: k.lim.Watch}
	c.buf, c.out, c.r, c.w = nil, nil, 0, 0
	k.held, k.out.Streams = false, true
	k.x.Switch.Tunnel = t
}

// tunnel is a connection that speaks HTTP no more.
type tunnel struct {
	net.Conn
	c     *Conn
	first []byte // what came behind the 101
	watch Watch
	once  sync.Once
}

// Read gives what came behind the 101 first.
func (t *tunnel) Read(p []byte) (int, error) {
	if len(t.first) > 0 {
		n := copy(p, t.first)
		if t.first = t.first[n:]; len(t.first) == 0 {
			t.first = nil
		}
		return n, nil
	}
	return t.Conn.Read(p)
}

// CloseWrite implements pipeline.Tunnel.
func (t *tunnel) CloseWrite() error {
	if half, ok := t.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close implements pipeline.Tunnel.
func (t *tunnel) Close() error {
	t.once.Do(func() {
		t.c.pool.drop(t.c)
		if t.watch != nil {
			t.watch.Ended(101, BodyWhole)
		}
	})
	return nil
}
