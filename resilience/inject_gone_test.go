package resilience

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// closing answers, and closes a connection on which nothing came for the time. late counts closings that came so late, the
// machine being busy, that the next request may have been on its way: nobody can tell then whether it was executed.
func closing(idle, next time.Duration, late *atomic.Int64) func(*peer) {
	return func(p *peer) {
		for {
			if p.request() == nil || !p.say(fine) {
				return
			}
			answered := time.Now()
			_ = p.SetReadDeadline(answered.Add(idle))
			if _, err := p.r.Peek(1); err != nil {
				if time.Since(answered) > next-5*time.Millisecond {
					late.Add(1)
				}
				return
			}
			_ = p.SetReadDeadline(time.Time{})
		}
	}
}

func TestInjection04IdleClose(t *testing.T) {
	in := inject(t, 4, "an upstream that closes idle connections after 20 ms: POST every 40 ms, GET at random times")
	lanes, posts := soaking(10, 4), soaking(100, 1000) // lanes side by side, each with an upstream of its own
	origins := make([]*origin, lanes)
	var late atomic.Int64
	var upstreams, routes strings.Builder
	for i := range lanes {
		origins[i] = scripted(t, closing(20*time.Millisecond, 40*time.Millisecond, &late))
		name := fmt.Sprintf("u%d", i)
		upstreams.WriteString(up(name, "", origins[i].url))
		routes.WriteString(route(name, "/"+name, "", name))
	}
	g := begin(t, "", upstreams.String(), routes.String())
	var group sync.WaitGroup
	var mu sync.Mutex
	failed, sent := 0, 0
	for i := range lanes {
		group.Go(func() {
			d := g.dialog()
			_ = d.SetDeadline(time.Now().Add(5 * time.Minute))
			for n := range posts {
				method, wait := "POST", 40*time.Millisecond
				if i%2 == 1 {
					method, wait = "GET", rand.N(45*time.Millisecond)
				}
				began := time.Now()
				a, err := d.say(fmt.Sprintf("%s /u%d HTTP/1.1\r\nHost: a\r\nX-Request-Id: %d-%d\r\nContent-Length: 0\r\n\r\n", method, i, i, n)).hear(method)
				mu.Lock()
				if sent++; err != nil || a.status != 200 {
					failed++
					t.Logf("%s %d of lane %d: %d %s, %v", method, n, i, a.status, a.body, err)
				}
				mu.Unlock()
				if err != nil {
					return
				}
				time.Sleep(wait - time.Since(began)) // the pace
			}
		})
	}
	group.Wait()
	if int64(failed) > late.Load() {
		in.Errorf("%d failed, %d closings were late", failed, late.Load())
	}
	for _, o := range origins {
		for _, id := range o.repeated() {
			if o.method(id) == "POST" {
				in.Errorf("%s came twice", id)
			}
		}
	}
	in.found("%d requests, %d failed (%d closings late), no POST came twice", sent, failed, late.Load())
}

// method is that of the request with an id.
func (o *origin) method(id string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range slices.Backward(o.seen) {
		if a.id == id {
			return a.method
		}
	}
	return ""
}

// phases are the moments at which a client leaves, and whether a call is running at the upstream then.
var phases = []struct {
	name, path, text string
	calls            bool
}{
	{"in the head", "/hang", "GET /hang HTTP/1.1\r\nHo", false},
	{"in a short body", "/hang", "POST /hang HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc", false},
	{"in a chunked body", "/hang", "POST /hang HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", true},
	{"before the answer", "/hang", "GET /hang HTTP/1.1\r\nHost: a\r\n\r\n", true},
	{"in the answer", "/events", "GET /events HTTP/1.1\r\nHost: a\r\n\r\n", true},
}

func TestInjection10ClientGone(t *testing.T) {
	t.Parallel()
	in := inject(t, 10, "a client that leaves, at each phase: the call ends within a second, nothing is left behind")
	o := scripted(t, func(p *peer) {
		for s, body := p.head(); s != nil; s, body = p.head() {
			switch s.path {
			case "/events":
				p.say(events)
				p.hang()
				return
			case "/hang":
				p.hang()
				return
			}
			_ = body
			p.say(fine)
		}
	})
	g := before(t, o.url, ", timeout: { first_byte: 30s, idle_body: 30s }")
	const spare = 25          // fasthttp keeps idle workers for ten seconds; what leaks would be hundreds
	runs := soaking(40, 2000) // of each phase
	rush := func(n int) {
		for _, phase := range phases {
			var group sync.WaitGroup
			places := make(chan struct{}, 20)
			for range n {
				places <- struct{}{}
				group.Go(func() {
					defer func() { <-places }()
					in.leave(g, o, phase.text, phase.calls)
				})
			}
			group.Wait()
		}
	}
	rush(10)
	g.want(200, "", "GET", "/x", "")
	_, goroutines, files := g.process()
	rush(runs)
	after, filesAfter := 0, 0
	for end := time.Now().Add(25 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if _, after, filesAfter = g.process(); after <= goroutines+spare && filesAfter <= files+spare {
			break
		}
	}
	if after > goroutines+spare || filesAfter > files+spare {
		in.Error("goroutines or files grow")
	}
	in.found("%d runs, goroutines %d to %d, files %d to %d", runs*len(phases), goroutines, after, files, filesAfter)
}

// leave sends a part of a request, waits until a call runs, and closes.
func (in *injection) leave(g *gate, o *origin, text string, calls bool) {
	id := itoa(rand.Int())
	d := g.dialog().say(strings.Replace(text, "Host: a\r\n", "Host: a\r\nX-Request-Id: "+id+"\r\n", 1))
	if !calls {
		time.Sleep(5 * time.Millisecond) // the bytes have arrived
		_ = d.Close()
		return
	}
	if strings.HasPrefix(text, "GET /events") {
		_, _ = head(d.in)
	} else {
		g.eventually("the call", func() bool { return o.method(id) != "" }) // its upstream says nothing
	}
	_ = d.Close()
	o.closedWithin(in.T, text[:12], 1500*time.Millisecond)
}
