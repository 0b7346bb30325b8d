package h1

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/edge"
)

// listener hands connections to fasthttp: counted, and as our own type. What is above a limit is closed at once, without an
// answer: under an attack an answer costs more than it helps, and in TLS it would need a handshake.
type listener struct {
	net.Listener
	edge *Edge
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		switch {
		case err != nil && l.edge.stopping.Load():
			return nil, io.EOF
		case err != nil && transient(err):
			l.edge.log.Error("accept failed", "error", err)
			if !l.edge.pause(50 * time.Millisecond) {
				return nil, io.EOF
			}
			continue
		case err != nil:
			return nil, err
		}
		if c := l.edge.adopt(nc); c != nil {
			return c, nil
		}
		_ = nc.Close()
	}
}

// transient errors of accept: no descriptors left, or the client left first.
func transient(err error) bool {
	ne, ok := err.(interface{ Temporary() bool })
	return ok && ne.Temporary()
}

// adopt makes a connection ours; nil when a limit or Shutdown stands against it.
func (e *Edge) adopt(nc net.Conn) *conn {
	c := &conn{Conn: nc, socket: nc, edge: e, now: time.Now()}
	if t, ok := nc.(*tls.Conn); ok {
		c.socket, c.secure = t.NetConn(), true
	}
	if s, ok := c.socket.(*edge.Socket); ok {
		c.sit(s)
	}
	c.retires = edge.Retires(c.now, e.limits.age)
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		p := a.AddrPort()
		c.peer = netip.AddrPortFrom(p.Addr().Unmap().WithZone(""), p.Port())
		c.peerIP = c.peer.Addr().AppendTo(nil)
	}
	c.live.init(c.socket)
	if !c.secure {
		c.plain.Of(c.socket)
	}
	if !e.conns.add(c, e.stopping.Load) {
		if !e.stopping.Load() {
			e.faults.Add(edge.Full)
		}
		c.leave()
		return nil
	}
	return c
}

// sit takes a connection over from the port: what was read to find out its protocol is the beginning of its first head.
func (c *conn) sit(s *edge.Socket) {
	c.seat, c.socket, c.now = s, s.Conn, s.Accepted
	if !c.secure {
		c.Conn = s.Conn
		c.spare = c.spare.putBack(s.Take())
		c.headBy = s.Accepted.Add(c.edge.limits.read)
	}
}

// leave gives the connection's seat back.
func (c *conn) leave() {
	if c.seat != nil {
		c.seat.Release()
	}
}

// registry knows all open connections.
type registry struct {
	mu       sync.Mutex
	open     map[*conn]struct{}
	per      map[netip.Addr]int
	max      int
	maxPer   int // 0: no limit
	refused  int // since the last time somebody was told
	toldAt   time.Time
	onRefuse func(refused int)
	empty    chan struct{} // closed when Shutdown waits and nothing is open
}

func (r *registry) init(max, maxPer int, onRefuse func(int)) {
	r.open, r.per = map[*conn]struct{}{}, map[netip.Addr]int{}
	r.max, r.maxPer, r.onRefuse = max, maxPer, onRefuse
}

func (r *registry) add(c *conn, stopping func() bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if stopping() {
		return false
	}
	addr := c.peer.Addr()
	if len(r.open) >= r.max || r.maxPer > 0 && r.per[addr] >= r.maxPer {
		r.refused++
		if c.now.Sub(r.toldAt) > time.Minute {
			r.onRefuse(r.refused)
			r.refused, r.toldAt = 0, c.now
		}
		return false
	}
	r.open[c] = struct{}{}
	if r.maxPer > 0 {
		r.per[addr]++
	}
	return true
}

// remove may be called more than once.
func (r *registry) remove(c *conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.open[c]; !ok {
		return
	}
	delete(r.open, c)
	if addr := c.peer.Addr(); r.maxPer > 0 {
		if r.per[addr]--; r.per[addr] <= 0 {
			delete(r.per, addr)
		}
	}
	if len(r.open) == 0 && r.empty != nil {
		close(r.empty)
		r.empty = nil
	}
}

// drained is closed when no connection is left.
func (r *registry) drained() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	done := make(chan struct{})
	if len(r.open) == 0 {
		close(done)
		return done
	}
	r.empty = done
	return done
}

// each calls f with every connection, outside the lock.
func (r *registry) each(f func(*conn)) {
	r.mu.Lock()
	all := make([]*conn, 0, len(r.open))
	for c := range r.open {
		all = append(all, c)
	}
	r.mu.Unlock()
	for _, c := range all {
		f(c)
	}
}
