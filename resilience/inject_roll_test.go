package resilience

import (
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// restartable is an upstream that can be restarted as an orchestrator does: it stops accepting, finishes what it has, closes
// what is idle, and comes back at the same address.
type restartable struct {
	t       *testing.T
	address string
	url     string

	mu       sync.Mutex
	ln       net.Listener
	conns    []net.Conn
	stopping bool
	group    sync.WaitGroup
	served   atomic.Int64
}

func restarting(t *testing.T) *restartable {
	r := &restartable{t: t, address: freePort(t)}
	r.url = "http://" + r.address
	r.start()
	t.Cleanup(r.stop)
	return r
}

func (r *restartable) start() {
	ln, err := net.Listen("tcp", r.address)
	if err != nil {
		r.t.Error(err)
		return
	}
	r.mu.Lock()
	r.ln, r.conns, r.stopping = ln, nil, false
	r.mu.Unlock()
	o := &origin{ln: ln, script: func(p *peer) { r.serve(p) }, ended: make(chan struct{}, 1)}
	go o.accept()
}

func (r *restartable) serve(p *peer) {
	if !r.hello(p.Conn) {
		return
	}
	defer r.group.Done()
	for p.request() != nil {
		time.Sleep(2 * time.Millisecond) // its work
		r.served.Add(1)
		if r.stops() {
			p.say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
			return
		}
		p.say(fine)
	}
}

func (r *restartable) hello(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopping {
		return false
	}
	r.group.Add(1)
	r.conns = append(r.conns, c)
	return true
}

func (r *restartable) stops() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stopping
}

// stop takes no new connections, says close with each answer, and closes what stays idle for a while.
func (r *restartable) stop() {
	r.mu.Lock()
	if r.stopping {
		r.mu.Unlock()
		return
	}
	r.stopping = true
	_ = r.ln.Close()
	for _, c := range r.conns {
		_ = c.SetReadDeadline(time.Now().Add(150 * time.Millisecond))
	}
	r.mu.Unlock()
	ended := make(chan struct{})
	go func() { r.group.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		r.t.Error("the upstream does not end")
	}
}

// ready is what a balancer before the gateways does: it sends where readiness says yes.
type ready struct {
	mu    sync.Mutex
	all   []*gate
	alive []string
	next  int
	stop  chan struct{}
}

func balancer(t *testing.T, gates ...*gate) *ready {
	b := &ready{all: gates, stop: make(chan struct{})}
	b.look()
	go func() {
		for {
			select {
			case <-b.stop:
				return
			case <-time.After(50 * time.Millisecond):
				b.look()
			}
		}
	}()
	t.Cleanup(func() { close(b.stop) })
	return b
}

func (b *ready) look() {
	var alive []string
	for _, g := range b.all {
		if code, _ := g.ask("GET", "/readyz", ""); code == 200 {
			alive = append(alive, g.address)
		}
	}
	b.mu.Lock()
	b.alive = alive
	b.mu.Unlock()
}

func (b *ready) knows(g *gate) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Contains(b.alive, g.address)
}

func (b *ready) address() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.alive) == 0 {
		return "127.0.0.1:1"
	}
	b.next++
	return b.alive[b.next%len(b.alive)]
}

// mixed is load of GET and POST.
func mixed(n int64) (method, path, body string) {
	if n%2 == 0 {
		return "POST", "/x", "body"
	}
	return "GET", "/x", ""
}

func TestInjection19RollingRestarts(t *testing.T) {
	t.Parallel()
	in := inject(t, 19, "gateways and upstreams restarted one after the other under GET and POST on kept connections")
	ups := []*restartable{restarting(t), restarting(t)}
	var gates []*gate
	for range 2 {
		gates = append(gates, begin(t, "drain: { notice: 500ms, timeout: 5s },", up("up", "", ups[0].url, ups[1].url), route("all", "/**", "", "up")))
	}
	b := balancer(t, gates...)
	l := &load{workers: 10, every: 20 * time.Millisecond, next: mixed, address: b.address} // 500 a second
	l.begin(nil)
	for range soaking(1, 10) {
		for _, u := range ups {
			time.Sleep(300 * time.Millisecond) // steady
			u.stop()
			time.Sleep(200 * time.Millisecond) // the time of its restart
			u.start()
		}
		for _, g := range gates {
			time.Sleep(300 * time.Millisecond) // steady
			g.signal(syscall.SIGTERM)
			if code := g.exit(); code != 0 {
				in.Errorf("exit %d", code)
			}
			g.start()
			g.eventually("the balancer to know", func() bool { return b.knows(g) })
		}
	}
	for _, g := range gates {
		defer g.kill()
	}
	sent := l.flawless(t, "rolling restarts")
	in.found("%d requests, %d restarts, %d failed", sent, soaking(4, 40), sent-l.good.Load())
}

func TestInjection20Reloads(t *testing.T) {
	t.Parallel()
	in := inject(t, 20, "200 new configurations a minute under load (there are no WebSockets yet)")
	o, second := scripted(t, gives(fine)), scripted(t, gives(fine))
	documents := []string{
		up("up", ", retry: { attempts: 2 }, breaker: {}, bulkhead: {}", o.url, second.url) + up("other", "", second.url),
		up("up", ", retry: { attempts: 3 }, breaker: { minimum: 10 }, bulkhead: { in_flight: 500 }", second.url, o.url),
	}
	all := route("all", "/**", "", "up")
	routes := []string{all + route("other", "/other", "", "other"), all}
	g := begin(t, "", documents[0], routes[0])
	swap := func(n int) {
		before := g.metric(`gateway_config_reloads_total{result="success"}`)
		g.write(documents[n%2], routes[n%2])
		g.signal(syscall.SIGHUP)
		g.eventually("the reload", func() bool { return g.metric(`gateway_config_reloads_total{result="success"}`) > before })
	}
	l := &load{workers: 4, every: 4 * time.Millisecond, next: mixed}
	l.begin(g)
	for n := range 20 {
		swap(n + 1)
	}
	base, goroutines, files := g.process()
	count := soaking(20, 1000)
	for n := range count {
		start := time.Now()
		swap(n + 1)
		time.Sleep(soaking(100*time.Millisecond, 300*time.Millisecond) - time.Since(start)) // the pace
	}
	kib, after, filesAfter := g.process()
	sent := l.flawless(t, "reloads")
	if kib-base > 16<<10 || after > goroutines+20 || filesAfter > files+20 {
		in.Errorf("memory %d to %d KiB, goroutines %d to %d, files %d to %d", base, kib, goroutines, after, files, filesAfter)
	}
	if n := g.metric(`gateway_config_reloads_total{result="failure"}`); n > 0 || strings.Contains(g.log.String(), "panic") {
		in.Errorf("%v reloads failed", n)
	}
	in.found("%d requests, %d swaps, %d failed, memory %d to %d KiB", sent, count+20, sent-l.good.Load(), base, kib)
}
