package redistest

import (
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

type mode int

const (
	open mode = iota
	cut
	stalled
	droppingRequests
	droppingReplies
)

// Proxy is a TCP proxy on loopback that disturbs the way to its target. The last call of Cut, Stall, DropRequests, DropReplies and
// Heal counts, for open connections and for new ones. Safe for concurrent use.
type Proxy struct {
	Addr string

	t      testing.TB
	target string
	tasks  sync.WaitGroup

	mu       sync.Mutex
	mode     mode
	delay    time.Duration
	changed  chan struct{} // closed and replaced with every change of mode
	closed   bool
	listener net.Listener // nil while cut
	links    map[*link]struct{}
	accepted int
	bursts   int
}

// NewProxy listens on a port of its own and forwards to target (host:port) until the test ends.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	p := &Proxy{
		Addr: address(reservePort(t)), t: t, target: target,
		changed: make(chan struct{}), links: map[*link]struct{}{},
	}
	p.mu.Lock()
	p.listen()
	p.mu.Unlock()
	t.Cleanup(p.end)
	return p
}

// Cut closes all connections and refuses new ones. What is under way is lost.
func (p *Proxy) Cut() { p.turn(cut) }

// Stall accepts connections and keeps them, but forwards nothing either way, not even their end: a partition. Heal forwards what was
// held, so an old request may still reach the target then, even when its client has given up.
func (p *Proxy) Stall() { p.turn(stalled) }

// DropRequests loses what clients send; replies under way still arrive. Heal closes the connections that lost something: the rest
// of a stream would be misread.
func (p *Proxy) DropRequests() { p.turn(droppingRequests) }

// DropReplies has the target execute what clients send, and loses its replies and the end of its connections. Heal closes the
// connections that lost something.
func (p *Proxy) DropReplies() { p.turn(droppingReplies) }

// Delay has everything arrive later by d, each way: a round trip takes 2d more. It adds to the other modes; Heal ends it.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Heal forwards everything again, without delay.
func (p *Proxy) Heal() {
	p.t.Helper()
	p.Delay(0)
	p.turn(open)
}

// Bursts counts round trips that clients began, over all connections: reads of a client's bytes that are the first of their connection or
// follow a reply. The commands of a pipeline are one burst; those that open a connection count too, so compare on a warm one.
func (p *Proxy) Bursts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bursts
}

// Connections counts the connections open now.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Accepted counts the connections there ever were.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

func (p *Proxy) turn(to mode) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.mode = to
	close(p.changed)
	p.changed = make(chan struct{})
	if to == cut && p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
	if to != cut && p.listener == nil {
		p.listen()
	}
	for l := range p.links {
		if to == cut || to == open && slices.Contains(l.lossy[:], true) {
			l.close()
		}
	}
}

// listen begins to accept. The caller holds p.mu.
func (p *Proxy) listen() {
	p.t.Helper()
	listener, err := net.Listen("tcp4", p.Addr)
	if err != nil {
		p.t.Errorf("redistest: proxy: %v", err)
		return
	}
	p.listener = listener
	p.tasks.Go(func() { p.accept(listener) })
}

func (p *Proxy) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return // cut, or the end
		}
		p.mu.Lock()
		if p.closed || p.mode == cut {
			conn.Close()
		} else {
			l := &link{proxy: p, client: conn, done: make(chan struct{})}
			p.links[l] = struct{}{}
			p.accepted++
			p.tasks.Go(l.run)
		}
		p.mu.Unlock()
	}
}

// flowing waits while the proxy stalls; false means that the link was closed meanwhile.
func (p *Proxy) flowing(l *link) bool {
	for {
		p.mu.Lock()
		mode, changed := p.mode, p.changed
		p.mu.Unlock()
		if mode != stalled {
			return true
		}
		select {
		case <-changed:
		case <-l.done:
			return false
		}
	}
}

// admit waits while the proxy stalls and tells whether bytes of that way may pass; false when they are lost or the link is closed.
func (p *Proxy) admit(l *link, w way) bool {
	for p.flowing(l) {
		if pass, again := p.judge(l, w); !again {
			return pass
		}
	}
	return false
}

// judge notes a loss under the same lock as the mode: Heal must find every connection that lost something.
func (p *Proxy) judge(l *link, w way) (pass, again bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode == droppingRequests && w == requests || p.mode == droppingReplies && w == replies {
		l.lossy[w] = true
	}
	return !l.lossy[w], p.mode == stalled
}

func (p *Proxy) lag() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.delay
}

func (p *Proxy) burst() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bursts++
}

func (p *Proxy) forget(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// end waits for every goroutine of the proxy.
func (p *Proxy) end() {
	p.turn(cut)
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.tasks.Wait()
}
