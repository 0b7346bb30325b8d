// Package dnstest is a DNS server for tests, on loopback, over UDP and TCP. It answers A and AAAA questions for any name with
// what it was told last.
package dnstest

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
)

// What a server answers besides addresses.
const (
	NoError  = 0
	ServFail = 2
	NXDomain = 3
	Silent   = -1
)

// Server is a running server.
type Server struct {
	Addr string // host:port

	udp net.PacketConn
	tcp net.Listener

	mu    sync.Mutex
	code  int
	addrs []netip.Addr
	asked int
	conns []net.Conn
	wait  sync.WaitGroup
}

// New starts a server that ends with the test.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{}
	var err error
	for range 50 { // the port must be free for both
		if s.tcp, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			continue
		}
		if s.udp, err = net.ListenPacket("udp", s.tcp.Addr().String()); err == nil {
			break
		}
		_ = s.tcp.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	s.Addr = s.tcp.Addr().String()
	s.wait.Add(2)
	go s.serveUDP()
	go s.serveTCP()
	t.Cleanup(func() {
		_ = s.udp.Close()
		_ = s.tcp.Close()
		s.mu.Lock()
		for _, c := range s.conns {
			_ = c.Close()
		}
		s.mu.Unlock()
		s.wait.Wait()
	})
	return s
}

// Says sets the answer: a code, and addresses with NoError.
func (s *Server) Says(code int, addrs ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.code, s.addrs = code, nil
	for _, a := range addrs {
		s.addrs = append(s.addrs, netip.MustParseAddr(a))
	}
}

// Asked counts the questions for A records.
func (s *Server) Asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *Server) serveUDP() {
	defer s.wait.Done()
	buf := make([]byte, 4096)
	for {
		n, from, err := s.udp.ReadFrom(buf)
		if err != nil {
			return
		}
		answer := s.answer(buf[:n])
		if len(answer) > 1232 { // Go's buffer: come again by TCP
			answer = answer[:questionEnd(buf[:n])]
			answer[2] |= 2
			clear(answer[6:12])
		}
		if answer != nil {
			_, _ = s.udp.WriteTo(answer, from)
		}
	}
}

func (s *Server) serveTCP() {
	defer s.wait.Done()
	for {
		c, err := s.tcp.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns = append(s.conns, c)
		s.mu.Unlock()
		s.wait.Add(1)
		go func() {
			defer s.wait.Done()
			defer c.Close()
			var size [2]byte
			for {
				if _, err := io.ReadFull(c, size[:]); err != nil {
					return
				}
				q := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(c, q); err != nil {
					return
				}
				answer := s.answer(q)
				_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
			}
		}()
	}
}

// questionEnd is the length of header and question.
func questionEnd(q []byte) int {
	i := 12
	for i < len(q) && q[i] != 0 {
		i += int(q[i]) + 1
	}
	return i + 5
}

// answer makes the reply to one question; nil: none.
func (s *Server) answer(q []byte) []byte {
	end := questionEnd(q)
	if len(q) < end {
		return nil
	}
	kind := binary.BigEndian.Uint16(q[end-4:])
	s.mu.Lock()
	defer s.mu.Unlock()
	if kind == 1 {
		s.asked++
	}
	if s.code == Silent {
		return nil
	}
	a := append([]byte(nil), q[:end]...)
	a[2], a[3] = 0x85, 0x80|byte(s.code) // answer, authoritative, recursion
	clear(a[6:12])
	n := 0
	for _, addr := range s.addrs {
		if addr.Is4() != (kind == 1) || kind != 1 && kind != 28 {
			continue
		}
		raw := addr.AsSlice()
		a = append(a, 0xc0, 12) // the question's name
		a = binary.BigEndian.AppendUint16(a, kind)
		a = append(a, 0, 1, 0, 0, 0, 1) // IN, for a second
		a = binary.BigEndian.AppendUint16(a, uint16(len(raw)))
		a = append(a, raw...)
		n++
	}
	binary.BigEndian.PutUint16(a[6:], uint16(n))
	return a
}
