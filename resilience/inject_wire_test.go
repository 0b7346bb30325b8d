package resilience

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// injection is one fault of docs/reliability.md, and prints its line at the end: yes when everything that was wanted held.
type injection struct {
	*testing.T
	mu    sync.Mutex
	facts []string
}

func inject(t *testing.T, n int, what string) *injection {
	t.Helper()
	in := &injection{T: t}
	t.Cleanup(func() {
		verdict := "yes"
		switch {
		case t.Failed():
			verdict = "NO"
		case t.Skipped():
			verdict = "skipped"
		}
		in.mu.Lock()
		defer in.mu.Unlock()
		fmt.Printf("injection %d: %s: %s\n", n, verdict, strings.Join(append([]string{what}, in.facts...), "; "))
	})
	return in
}

// found adds a figure to the line.
func (in *injection) found(format string, args ...any) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.facts = append(in.facts, fmt.Sprintf(format, args...))
}

func TestInjection01SplitBytes(t *testing.T) {
	t.Parallel()
	in := inject(t, 1, "an upstream that writes byte by byte, one that reads nothing, a client that reads nothing")
	bytewise := scripted(t, func(p *peer) {
		for s := p.request(); s != nil; s = p.request() {
			text := status("200 OK", "A: b\r\n", "sized")
			if s.path == "/chunked" {
				text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nchu\r\n4;e=1\r\nnked\r\n0\r\n\r\n"
			}
			for i := range text {
				if !p.say(text[i : i+1]) {
					return
				}
				time.Sleep(time.Millisecond) // a segment of its own
			}
		}
	})
	deaf := scripted(t, func(p *peer) {
		_ = p.Conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		time.Sleep(5 * time.Second) // its window stays closed
	})
	g := begin(t, "limits: { body: 32MiB, write_timeout: 400ms },", up("bytewise", "", bytewise.url)+up("deaf", ", timeout: { idle_body: 400ms, first_byte: 400ms }", deaf.url),
		route("bytewise", "/**", "", "bytewise")+route("deaf", "/deaf", "", "deaf"))
	for range 3 {
		for _, path := range []string{"/sized", "/chunked"} {
			if a := g.want(200, "", "GET", path, ""); a.body != path[1:] {
				in.Errorf("%s: %q", path, a.body)
			}
		}
	}
	start := time.Now()
	g.want(504, "upstream-timeout", "POST", "/deaf", strings.Repeat("x", 16<<20))
	if took := time.Since(start); took > 3*time.Second {
		in.Errorf("a closed window holds a client for %v", took)
	}
	in.found("closed window given up after %v, limit 400 ms", time.Since(start).Round(10*time.Millisecond))
}

func TestInjection02Silence(t *testing.T) {
	t.Parallel()
	in := inject(t, 2, "accept, then silence: 504 at the limit, 10 % more or less")
	o := scripted(t, func(p *peer) { p.request(); p.hang() })
	g := before(t, o.url, ", timeout: { first_byte: 1s }")
	const calls = 9
	took := make(chan time.Duration, calls)
	for range calls {
		go func() {
			start := time.Now()
			a, err := g.call("GET", "/x", "")
			if err != nil || a.status != 504 || a.kind() != "upstream-timeout" {
				in.Errorf("%d %s, %v", a.status, a.kind(), err)
			}
			took <- time.Since(start)
		}()
	}
	var all []time.Duration
	for range calls {
		all = append(all, <-took)
	}
	slices.Sort(all)
	if m := all[calls/2]; all[0] < 900*time.Millisecond || m > 1100*time.Millisecond {
		in.Errorf("%v", all)
	}
	in.found("limit 1 s, %v to %v", all[0].Round(time.Millisecond), all[calls-1].Round(time.Millisecond))
}

func TestInjection03Resets(t *testing.T) {
	t.Parallel()
	in := inject(t, 3, "RST after 0, 1 and all bytes of a request: nothing unsafe is sent twice")
	methods := []string{"GET", "HEAD", "PUT", "DELETE", "POST", "PATCH"}
	for _, after := range []int{0, 1, -1} {
		o := scripted(t, func(p *peer) {
			switch after {
			case 1:
				_, _ = p.Read(make([]byte, 1))
			case -1:
				p.request()
			}
			p.reset()
		})
		g := before(t, o.url, "")
		for _, method := range methods {
			body := ""
			if method != "GET" && method != "HEAD" {
				body = "body"
			}
			if a, err := g.call(method, "/x", body); err != nil || a.status != 502 {
				in.Errorf("after %d, %s: %d, %v", after, method, a.status, err)
			}
		}
		counts := make([]string, len(methods))
		for i, method := range methods {
			n := o.count(method)
			counts[i] = fmt.Sprintf("%s %d", method, n)
			if after == -1 && n != 1 {
				in.Errorf("the upstream saw %d of one %s", n, method)
			}
		}
		if after == -1 {
			in.found("after all: %s", strings.Join(counts, ", "))
		}
	}
}

func TestInjection05UnsolicitedAnswers(t *testing.T) {
	t.Parallel()
	in := inject(t, 5, "a second answer that nobody asked for is never delivered")
	const stray = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray"
	said := make(chan struct{}, 1)
	for name, script := range map[string]func(*peer){
		"in the same segment": func(p *peer) {
			for p.request() != nil {
				p.say(fine + stray)
				said <- struct{}{}
			}
		},
		"40 ms later": func(p *peer) {
			for p.request() != nil && p.say(fine) {
				time.Sleep(40 * time.Millisecond) // the gateway has put the connection back
				p.say(stray)
				said <- struct{}{}
			}
		},
	} {
		o := scripted(t, script)
		g := before(t, o.url, "")
		for range soaking(10, 100) {
			if a := g.want(200, "", "GET", "/x", ""); a.body != "ok" {
				in.Errorf("%s: %q", name, a.body)
			}
			<-said // it came over loopback: it is there
		}
		if n := g.metric(`gateway_upstream_connections_discarded_total{reason="unsolicited",upstream="up"}`); n == 0 {
			in.Errorf("%s: no such connection is counted", name)
		}
	}
}

func TestInjection06UnreadBody(t *testing.T) {
	t.Parallel()
	in := inject(t, 6, "a request in the body of a refused request is not served")
	o := scripted(t, gives(fine))
	g := begin(t, "", up("up", "", o.url), route("open", "/open", "", "up")+"  - { id: shut, match: { path: /shut }, auth: { issuers: [main] }, to: up }\n")
	inner := "GET /open HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, size := range []int{100, 8 << 10, 9000, 100 << 10} {
		body := strings.Repeat(inner, size/len(inner)+1)
		d := g.dialog().say("POST /shut HTTP/1.1\r\nHost: a\r\nContent-Length: " + itoa(len(body)) + "\r\n\r\n" + body)
		_ = d.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		text, _ := d.rest()
		if n := strings.Count(text, "HTTP/1.1 "); n != 1 || !strings.HasPrefix(text, "HTTP/1.1 401") {
			in.Errorf("%d bytes: %d answers: %.300q", len(body), n, text)
		}
	}
	if o.count() != 0 || g.metric(`gateway_requests_total{method="GET",route="open",status="200"}`) != 0 {
		in.Errorf("%d smuggled requests arrived", o.count())
	}
}

func TestInjection07EarlyAnswers(t *testing.T) {
	t.Parallel()
	in := inject(t, 7, "an answer before the upload's end arrives")
	o := scripted(t, earlyAnswer())
	g := begin(t, "limits: { body: 16MiB },", up("up", "", o.url), route("all", "/**", "", "up"))
	runs, got := soaking(40, 400), 0
	body := strings.Repeat("x", 4<<20)
	for range runs {
		if a, err := g.call("POST", "/x", body); err == nil && a.status == 413 {
			got++
		}
	}
	if got != runs {
		in.Errorf("%d of %d", got, runs)
	}
	in.found("413 in %d of %d", got, runs)
}

func TestInjection08Truncation(t *testing.T) {
	t.Parallel()
	in := inject(t, 8, "what breaks off never looks complete")
	answers := map[string]string{
		"sized": "Content-Length: 10\r\n\r\n12345", "no byte of it": "Content-Length: 10\r\n\r\n", "between chunks": "Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
		"in a chunk": "Transfer-Encoding: chunked\r\n\r\n5\r\n123", "in the last chunk": "Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n", "no chunk": "Transfer-Encoding: chunked\r\n\r\n",
		"size that is none": "Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\nxyz\r\n", "trailer that is none": "Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\nno field\r\n\r\n",
		"trailer that breaks off": "Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\nA: b\r\n",
	}
	o := scripted(t, func(p *peer) {
		if s := p.request(); s != nil {
			p.say("HTTP/1.1 200 OK\r\n" + answers[strings.ReplaceAll(s.path[1:], "-", " ")])
			time.Sleep(10 * time.Millisecond)
		}
	})
	g := before(t, o.url, "")
	for name := range answers {
		a, err := g.call("GET", "/"+strings.ReplaceAll(name, " ", "-"), "")
		if err == nil && a.status == 200 {
			in.Errorf("%s looks complete: %q", name, a.body)
		}
	}
	in.found("%d ways", len(answers))
}

func TestInjection09InterimAnswers(t *testing.T) {
	t.Parallel()
	in := inject(t, 9, "interim answers are never taken for the final one; they are dropped, 103 as well")
	o := scripted(t, func(p *peer) {
		for s := p.request(); s != nil; s = p.request() {
			switch s.path {
			case "/100":
				p.say("HTTP/1.1 100 Continue\r\n\r\n" + fine)
			case "/103":
				p.say("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
				time.Sleep(20 * time.Millisecond)
				p.say(fine)
			case "/101":
				p.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: upgrade\r\n\r\n")
				p.hang()
				return
			case "/100-times":
				p.say(strings.Repeat("HTTP/1.1 199 Soon\r\n\r\n", 100) + fine)
			case "/101-times":
				p.say(strings.Repeat("HTTP/1.1 199 Soon\r\n\r\n", 101) + fine)
			default:
				p.say(fine)
			}
		}
	})
	g := before(t, o.url, "")
	for path, want := range map[string]int{"/100": 200, "/103": 200, "/101": 502, "/100-times": 200, "/101-times": 502} {
		d := g.dialog().say("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")
		if a, err := d.hear("GET"); err != nil || a.status != want || want == 200 && a.body != "ok" {
			in.Errorf("%s: %d %q, %v", path, a.status, a.body, err)
		}
		if a := g.want(200, "", "GET", "/after", ""); a.body != "ok" {
			in.Errorf("after %s: %q", path, a.body)
		}
	}
}

// head reads one head of an answer as it came.
func head(in *bufio.Reader) (string, error) {
	var text strings.Builder
	for !strings.HasSuffix(text.String(), "\r\n\r\n") {
		b, err := in.ReadByte()
		if err != nil {
			return text.String(), err
		}
		text.WriteByte(b)
	}
	return text.String(), nil
}
