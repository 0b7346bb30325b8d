package edge

import (
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// Socket is a connection as the port accepted it. What was read to find out its protocol is read again from it, or taken. It
// holds a seat of the port until it is closed.
type Socket struct {
	net.Conn // TCP
	Peer     netip.AddrPort
	Accepted time.Time

	port   *Port
	peeked []byte
	gone   atomic.Bool
}

func (p *Port) socket(nc net.Conn) *Socket {
	s := &Socket{Conn: nc, Accepted: time.Now(), port: p}
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		at := a.AddrPort()
		s.Peer = netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port())
	}
	return s
}

// Read implements net.Conn.
func (s *Socket) Read(b []byte) (int, error) {
	if len(s.peeked) > 0 {
		n := copy(b, s.peeked)
		if s.peeked = s.peeked[n:]; len(s.peeked) == 0 {
			s.peeked = nil
		}
		return n, nil
	}
	return s.Conn.Read(b)
}

// Take gives what was read so far. Who calls it reads on from Conn.
func (s *Socket) Take() []byte {
	b := s.peeked
	s.peeked = nil
	return b
}

// Close implements net.Conn.
func (s *Socket) Close() error {
	s.Release()
	return s.Conn.Close()
}

// Release gives the seat back. Who closes Conn by itself calls it; more than once does nothing.
func (s *Socket) Release() {
	if !s.gone.Swap(true) {
		s.port.seats.give(s.Peer.Addr())
	}
}
