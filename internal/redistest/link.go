package redistest

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

type way int

const (
	requests way = iota
	replies
)

// chunk is what one read gave, to be passed on when due. An empty one is the end of the stream.
type chunk struct {
	bytes []byte
	due   time.Time
}

// link is one connection through the proxy. Each way has a reader and a writer with a bounded queue between, so that a delay
// shifts a stream in time and doesn't slow it.
type link struct {
	proxy   *Proxy
	lossy   [2]bool // by way; guarded by the proxy's lock
	client  net.Conn
	replied atomic.Bool // nothing came from the client since
	done    chan struct{}

	mu     sync.Mutex
	target net.Conn // nil until dialled
	closed bool
}

func (l *link) run() {
	defer l.proxy.forget(l)
	defer l.close()
	if !l.proxy.flowing(l) {
		return
	}
	target, err := net.DialTimeout("tcp", l.proxy.target, answerBound)
	if err != nil || !l.own(target) {
		return
	}
	l.replied.Store(true) // so the first bytes are a burst
	var ways sync.WaitGroup
	forward := func(w way, from, to net.Conn) {
		queue := make(chan chunk, 1024)
		ways.Go(func() { l.read(w, from, queue) })
		ways.Go(func() { l.write(w, queue, to) })
	}
	forward(requests, l.client, target)
	forward(replies, target, l.client)
	ways.Wait()
}

// own takes the dialled connection, or closes it when the link was closed meanwhile.
func (l *link) own(target net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		target.Close()
		return false
	}
	l.target = target
	return true
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	close(l.done)
	l.client.Close()
	if l.target != nil {
		l.target.Close()
	}
}

func (l *link) read(w way, from net.Conn, queue chan<- chunk) {
	for {
		buf := make([]byte, 32<<10)
		n, err := from.Read(buf)
		if n > 0 && w == requests && l.replied.Swap(false) {
			l.proxy.burst()
		}
		due := time.Now().Add(l.proxy.lag())
		if n > 0 && !l.enqueue(queue, chunk{buf[:n], due}) {
			return
		}
		if err != nil {
			l.enqueue(queue, chunk{due: due})
			return
		}
	}
}

func (l *link) enqueue(queue chan<- chunk, c chunk) bool {
	select {
	case queue <- c:
		return true
	case <-l.done:
		return false
	}
}

// write passes chunks on until the stream ends, which ends the link: no client of Redis closes one way only.
func (l *link) write(w way, queue <-chan chunk, to net.Conn) {
	defer l.close()
	for {
		var c chunk
		select {
		case c = <-queue:
		case <-l.done:
			return
		}
		if !l.wait(time.Until(c.due)) {
			return
		}
		if !l.proxy.admit(l, w) {
			continue // lost, its end too
		}
		if len(c.bytes) == 0 {
			return
		}
		if w == replies {
			l.replied.Store(true) // before the client can answer to it
		}
		if _, err := to.Write(c.bytes); err != nil {
			return
		}
	}
}

// wait is false when the link was closed meanwhile.
func (l *link) wait(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	due := time.NewTimer(d)
	defer due.Stop()
	select {
	case <-due.C:
		return true
	case <-l.done:
		return false
	}
}
