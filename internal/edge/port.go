package edge

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// preface is how an HTTP/2 client begins (RFC 9113 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Port is the one port of both protocols. It accepts connections and gives each to the listener of its protocol: what ALPN
// chose, or on clear text whether the client begins with the preface of HTTP/2. Finding that out is a goroutine's of each
// connection under read_timeout, so a slow client blocks nobody. Connections are counted here.
type Port struct {
	ln         net.Listener
	tls        *tls.Config  // nil: clear text
	roots      *clientRoots // nil: clients are not asked for certificates
	log        *slog.Logger
	wait       time.Duration // for a handshake, or for the first bytes
	seats      seats
	handshakes Handshakes
	faults     Faults
	h1, h2     *queue

	mu      sync.Mutex
	sorting map[*Socket]struct{}
	sorters sync.WaitGroup
	stopped chan struct{}
}

// Open opens the port for both protocols. Errors name the address or the file.
func Open(cfg Config, log *slog.Logger) (*Port, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p := &Port{log: log, wait: cfg.Limits.ReadTimeout.Std(), sorting: map[*Socket]struct{}{}, stopped: make(chan struct{})}
	p.seats = seats{max: cfg.Limits.Connections, maxPer: cfg.Limits.ConnectionsPerIP, per: map[netip.Addr]int{}}
	var err error
	if cfg.TLS != nil {
		if p.tls, p.roots, err = tlsConfig(cfg.TLS, log, "h2", "http/1.1"); err != nil {
			return nil, err
		}
	}
	if p.ln, err = bind(cfg.Address); err != nil {
		return nil, err
	}
	p.h1, p.h2 = newQueue(p.ln.Addr()), newQueue(p.ln.Addr())
	return p, nil
}

// Addr is where the port listens.
func (p *Port) Addr() net.Addr { return p.ln.Addr() }

// H1 gives the connections that speak HTTP/1.1, or nothing that is known: *tls.Conn over *Socket, or *Socket.
func (p *Port) H1() net.Listener { return p.asking(p.h1) }

// H2 gives those that speak HTTP/2.
func (p *Port) H2() net.Listener { return p.asking(p.h2) }

// asking lets an edge find out whether the CAs of this moment still vouch for a connection's certificate.
func (p *Port) asking(q *queue) net.Listener {
	if p.roots == nil {
		return q
	}
	return &asking{q, p.roots}
}

// Faults are those of the port and of TLS.
func (p *Port) Faults() *Faults { return &p.faults }

// Serve accepts until Stop, then returns nil.
func (p *Port) Serve() error {
	for {
		nc, err := p.ln.Accept()
		if err != nil {
			if p.isStopped() {
				return nil
			}
			if !transient(err) {
				return err
			}
			p.log.Error("accept failed", "error", err)
			if !p.pause(50 * time.Millisecond) {
				return nil
			}
			continue
		}
		if !p.seat(p.socket(nc)) {
			_ = nc.Close()
		}
	}
}

func (p *Port) isStopped() bool {
	select {
	case <-p.stopped:
		return true
	default:
		return false
	}
}

// transient errors of accept: no descriptors left, or the client left first.
func transient(err error) bool {
	ne, ok := err.(interface{ Temporary() bool })
	return ok && ne.Temporary()
}

func (p *Port) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.stopped:
		return false
	}
}

// seat has a connection sorted; false: it has to be closed.
func (p *Port) seat(s *Socket) bool {
	ok, told := p.seats.take(s.Peer.Addr(), s.Accepted)
	if told > 0 {
		p.log.Warn("connections refused: listen.limits.connections or connections_per_ip is reached", "since_last", told)
	}
	if !ok {
		p.faults.Add(Full)
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isStopped() {
		s.Release()
		return false
	}
	p.sorting[s] = struct{}{}
	p.sorters.Add(1)
	_ = s.SetDeadline(s.Accepted.Add(p.wait))
	go p.sort(s)
	return true
}

// sort finds out what a connection speaks and hands it on.
func (p *Port) sort(s *Socket) {
	defer p.sorters.Done()
	c, to := p.sorted(s)
	p.mu.Lock()
	delete(p.sorting, s) // from here on Stop leaves its deadlines alone
	p.mu.Unlock()
	if c == nil {
		_ = s.Close()
		return
	}
	_ = s.SetDeadline(time.Time{})
	if !to.give(c) {
		_ = s.Close()
	}
}

// sorted is nil for a connection that came to nothing.
func (p *Port) sorted(s *Socket) (net.Conn, *queue) {
	if p.tls == nil {
		return p.peek(s)
	}
	c := tls.Server(s, p.tls)
	if err := c.Handshake(); err != nil {
		if !p.isStopped() {
			p.handshakes.Failed(p.log, &p.faults, err)
		}
		return nil, nil
	}
	if c.ConnectionState().NegotiatedProtocol == "h2" {
		return c, p.h2
	}
	return c, p.h1
}

// peekSize has a usual head come with the first read.
const peekSize = 2 << 10

// peek reads until it is clear that the bytes are the preface or are not. Who is too slow, and whom Stop wakes, goes to the
// HTTP/1.1 edge, which knows how to part from it.
func (p *Port) peek(s *Socket) (net.Conn, *queue) {
	b := make([]byte, 0, peekSize)
	for {
		n, err := s.Conn.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		begin := min(len(b), len(preface))
		switch {
		case begin == len(preface) && string(b[:begin]) == preface:
			s.peeked = b
			return s, p.h2
		case string(b[:begin]) != preface[:begin], errors.Is(err, os.ErrDeadlineExceeded), err != nil && begin > 0:
			s.peeked = b
			return s, p.h1
		case err != nil:
			return nil, nil
		}
	}
}

// Stop ends accepting and sorting; the listeners stay open for what was sorted. It is called before the edges shut down, once.
func (p *Port) Stop() {
	p.mu.Lock()
	close(p.stopped)
	for s := range p.sorting {
		_ = s.SetDeadline(time.Unix(1, 0))
	}
	p.mu.Unlock()
	_ = p.ln.Close()
	p.sorters.Wait()
}
