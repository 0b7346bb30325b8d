package resilience

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestInjection11Breaker(t *testing.T) {
	t.Parallel()
	in := inject(t, 11, "breaker: 19 failures do nothing, the 20th opens, open answers cost nothing, exactly as many probes as set")
	const probes = 5
	var hang atomic.Bool
	o := scripted(t, func(p *peer) {
		for p.request() != nil {
			if hang.Load() {
				p.hang()
				return
			}
			p.say(status("500 Bug", "", ""))
		}
	})
	g := before(t, o.url, ", breaker: { minimum: 20, open: 1s, probes: 5 }, timeout: { first_byte: 30s }")
	for n := 1; n <= 20; n++ {
		if state := g.upstreams()["up"].Breaker.State; state != "closed" {
			in.Fatalf("%s before failure %d", state, n)
		}
		g.want(500, "", "GET", "/x", "")
	}
	if state := g.upstreams()["up"].Breaker.State; state != "open" {
		in.Fatalf("%s after 20 failures", state)
	}
	opened := time.Now()
	d, took := g.dialog(), []time.Duration{}
	for end := time.Now().Add(700 * time.Millisecond); time.Now().Before(end) && len(took) < 500; {
		start := time.Now()
		a, err := d.say("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").hear("GET")
		if err != nil || a.status != 503 {
			in.Fatalf("%d, %v", a.status, err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	if m := took[len(took)/2]; m > soaking(5*time.Millisecond, time.Millisecond) {
		in.Errorf("half of the open answers take longer than %v", m)
	}
	if o.count() != 20 {
		in.Errorf("the upstream saw %d requests", o.count())
	}
	hang.Store(true)
	time.Sleep(1100*time.Millisecond - time.Since(opened)) // the rest of the opening
	var refused atomic.Int64
	for range 20 {
		go func() {
			if a, err := g.call("GET", "/x", ""); err == nil && a.status == 503 {
				refused.Add(1)
			}
		}()
	}
	g.eventually("the probes", func() bool { return o.count() == 20+probes && refused.Load() == 20-probes })
	in.found("open answers took %v (median of %d, seen by the client), %d probes of 20 calls; a hung one is TestU14HungProbeGivesItsPlaceBack", took[len(took)/2].Round(time.Microsecond), len(took), o.count()-20)
}

func TestInjection14RetryStorm(t *testing.T) {
	t.Parallel()
	in := inject(t, 14, "an upstream that always fails, every request due for two retries")
	var seen atomic.Int64
	o := scripted(t, func(p *peer) {
		for p.request() != nil {
			seen.Add(1)
			if !p.say("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n") {
				return
			}
		}
	})
	g := before(t, o.url, ", retry: { attempts: 3, backoff: { base: 1ms, max: 5ms } }")
	began := time.Now()
	l := g.gets(20, 20*time.Millisecond, "/x") // 1,000 a second
	time.Sleep(soaking(4*time.Second, 30*time.Second))
	_, sent := l.end()
	took := time.Since(began)
	most := 1.2*float64(sent) + 10*(took.Seconds()+1)
	if float64(seen.Load()) > most {
		in.Errorf("the upstream saw %d requests of %d, more than %.0f", seen.Load(), sent, most)
	}
	if seen.Load() <= sent {
		in.Error("nothing was retried at all")
	}
	in.found("%.0f requests a second offered, the upstream saw %.2f times as many (without a budget: 3)", float64(sent)/took.Seconds(), float64(seen.Load())/float64(sent))
}

func TestInjection15Bulkhead(t *testing.T) {
	t.Parallel()
	in := inject(t, 15, "bulkhead: the call over the bound is refused at once, other upstreams notice nothing")
	o, other := scripted(t, turns("...")), scripted(t, gives(fine))
	g := begin(t, "", up("slow", ", bulkhead: { in_flight: 8 }, timeout: { first_byte: 20s }", o.url)+up("other", "", other.url), route("slow", "/slow", "", "slow")+route("other", "/other", "", "other"))
	for range 8 {
		g.dialog().say("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	g.eventually("eight calls", func() bool { return o.count() == 8 })
	start := time.Now()
	g.want(503, "overloaded", "GET", "/slow", "")
	took := time.Since(start)
	if took > 200*time.Millisecond || o.count() != 8 {
		in.Errorf("after %v, %d calls at the upstream", took, o.count())
	}
	for range 50 {
		g.want(200, "", "GET", "/other", "")
	}
	in.found("the ninth of eight was refused after %v", took.Round(100*time.Microsecond))
}

func TestInjection16Adaptive(t *testing.T) {
	t.Parallel()
	in := inject(t, 16, "adaptive: an upstream that takes twice as long above 100 calls at once")
	const base = 200 * time.Millisecond
	var running, most atomic.Int64
	o := scripted(t, func(p *peer) {
		for p.request() != nil {
			n := running.Add(1)
			if n > most.Load() {
				most.Store(n)
			}
			pause := base
			if n > 100 {
				pause = time.Duration(float64(base) * 2 * float64(n) / 100)
			}
			time.Sleep(pause) // its latency
			running.Add(-1)
			if !p.say(fine) {
				return
			}
		}
	})
	g := before(t, o.url, ", bulkhead: { in_flight: 1024, adaptive: true, least: 20 }")
	var mu sync.Mutex
	var took []time.Duration
	crowd := func(clients int, length time.Duration) (refused, answered int) {
		var group sync.WaitGroup
		end := time.Now().Add(length)
		for range clients {
			group.Go(func() {
				d := g.dialog()
				_ = d.SetDeadline(end.Add(10 * time.Second))
				for time.Now().Before(end) {
					start := time.Now()
					a, err := d.say("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").hear("GET")
					if err != nil {
						in.Errorf("%v", err)
						return
					}
					mu.Lock()
					if a.status == 200 {
						answered++
						took = append(took, time.Since(start))
					} else {
						refused++
					}
					mu.Unlock()
					time.Sleep(base - time.Since(start)) // who is refused comes again later
				}
			})
		}
		group.Wait()
		return refused, answered
	}
	crowd(200, soaking(8*time.Second, 45*time.Second)) // it learns
	most.Store(0)
	took = nil
	crowd(200, soaking(8*time.Second, 45*time.Second))
	mu.Lock()
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	took = nil
	mu.Unlock()
	learned := g.upstreams()["up"].Bulkhead.Learned
	if learned > 150 || learned < 40 {
		in.Errorf("it settled at %d", learned)
	}
	if most.Load() > 150 {
		in.Errorf("%d calls at once", most.Load())
	}
	if p99 > soaking(10*base, 5*base/2) { // the short form runs beside others
		in.Errorf("p99 is %v with a base of %v", p99, base)
	}
	refused, answered := crowd(15, soaking(3*time.Second, 30*time.Second))
	if refused > 0 || answered == 0 {
		in.Errorf("afterwards, with 15 clients: %d answered, %d refused", answered, refused)
	}
	in.found("200 clients: settled at %d, p99 %v, base %v, at most %d at once; 15 clients afterwards: none of %d refused", learned, p99.Round(time.Millisecond), base, most.Load(), answered)
}

func TestInjection17Deadlines(t *testing.T) {
	t.Parallel()
	in := inject(t, 17, "a client's deadline of 300 ms through three tries: the upstream sees it fall")
	for _, headers := range [][]string{{"X-Request-Timeout", "300"}, {"Content-Type", "application/grpc", "grpc-timeout", "300m"}} {
		left, attempts := triesOf(t, headers)
		if len(left) != 3 || left[0] > 300 || left[1] > left[0]-20 || left[2] > left[1]-20 || left[2] <= 0 || attempts != "1 2 3" {
			in.Errorf("%v: %v ms left at tries %s", headers, left, attempts)
		}
		in.found("%s: %s ms", headers[len(headers)-2], strings.Trim(fmt.Sprint(left), "[]"))
	}
}
