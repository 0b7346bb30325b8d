package resilience

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestInjection24Split(t *testing.T) {
	t.Parallel()
	in := inject(t, 24, "a split raised from 1 % to 5 % to 50 %: nobody moves back, shares within three sigma")
	stable, canary := scripted(t, gives(status("200 OK", "", "stable"))), scripted(t, gives(status("200 OK", "", "canary")))
	g := begin(t, "", up("stable", "", stable.url)+up("canary", "", canary.url),
		"  - { id: all, match: { path: /** }, auth: none, to: { split: [{ upstream: stable, weight: 99 }, { upstream: canary, weight: 1 }], sticky: \"header:X-User\" } }\n")
	clients := soaking(2000, 20000)
	at := make([]bool, clients) // at the canary
	d := g.dialog()
	_ = d.SetDeadline(time.Now().Add(5 * time.Minute))
	for _, share := range []int{1, 5, 50} {
		if code, text := g.ask("PUT", "/api/v1/routes/all/split", fmt.Sprintf(`{"stable": %d, "canary": %d}`, 100-share, share)); code != 200 {
			in.Fatalf("%d %s", code, text)
		}
		moved, back := 0, 0
		for i := range clients {
			a, err := d.say(fmt.Sprintf("GET /x HTTP/1.1\r\nHost: a\r\nX-User: user-%d\r\n\r\n", i)).hear("GET")
			if err != nil || a.status != 200 {
				in.Fatalf("%d, %v", a.status, err)
			}
			if a.body == "canary" {
				moved++
			} else if at[i] {
				back++
			}
			at[i] = a.body == "canary"
		}
		p, n := float64(share)/100, float64(clients)
		if sigma := math.Sqrt(n * p * (1 - p)); math.Abs(float64(moved)-n*p) > 3*sigma || back > 0 {
			in.Errorf("%d %%: %d of %d, sigma %.1f, %d moved back", share, moved, clients, sigma, back)
		}
		in.found("%d %%: %d of %d", share, moved, clients)
	}
}

func TestInjection25MirrorHangs(t *testing.T) {
	t.Parallel()
	in := inject(t, 25, "a mirror that hangs: p99 of the requests stays what it is")
	o, hung := scripted(t, gives(fine)), scripted(t, turns("..."))
	g := begin(t, "", up("up", "", o.url)+up("copy", ", timeout: { first_byte: 20s }", hung.url),
		route("plain", "/plain", "", "up")+"  - { id: mirrored, match: { path: /mirrored }, auth: none, to: { upstream: up, mirror: { upstream: copy, in_flight: 16 } } }\n")
	d := g.dialog()
	_ = d.SetDeadline(time.Now().Add(5 * time.Minute))
	took := map[string][]time.Duration{}
	for range soaking(1500, 20000) {
		for _, path := range []string{"/plain", "/mirrored"} { // in turn: the machine's noise meets both
			start := time.Now()
			if a, err := d.say("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n").hear("GET"); err != nil || a.status != 200 {
				in.Fatalf("%d, %v", a.status, err)
			}
			took[path] = append(took[path], time.Since(start))
		}
	}
	at := func(path string, part int) time.Duration {
		slices.Sort(took[path])
		return took[path][len(took[path])*part/100]
	}
	p50 := float64(at("/mirrored", 50)) / float64(at("/plain", 50))
	p99 := float64(at("/mirrored", 99)) / float64(at("/plain", 99))
	if p50 > 1.5 || p99 > 2.5 {
		in.Errorf("with a mirror p50 is %.2f times as long, p99 %.2f times", p50, p99)
	}
	in.found("with the mirror p50 takes %.2f times as long, p99 %.2f times; %v copies dropped", p50, p99, g.copies("dropped"))
}

// message is what is sent, and what the upstream must see of it or must not.
type message struct {
	what, sent string
	has, hasnt []string
	body       string
}

func TestInjection28Fidelity(t *testing.T) {
	t.Parallel()
	in := inject(t, 28, "requests and answers arrive as they were sent, without what belongs to one connection")
	const part = "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a\"\r\nX-Own: kept\r\nContent-Type: text/x\r\n\r\nbytes\r\n--b--\r\n"
	long := strings.Repeat("v", 5000)
	messages := []message{
		{what: "18 connection fields", sent: "GET /a HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, X-Own\r\nX-Own: 1\r\nTE: gzip\r\nUpgrade: other\r\nProxy-Authorization: secret\r\nKeep-Alive: timeout=9\r\nX-Stays: 1\r\n\r\n",
			has: []string{"X-Stays: 1"}, hasnt: []string{"X-Own", "TE:", "Upgrade", "Proxy-Authorization", "Keep-Alive"}},
		{what: "19 the path", sent: "GET /a%20b/c;p=1/%C3%A4?x=%2F&y HTTP/1.1\r\nHost: h\r\n\r\n", has: []string{"GET /a%20b/c;p=1/%C3%A4?x=%2F&y HTTP/1.1"}},
		{what: "20 absolute form", sent: "GET http://h/a?b HTTP/1.1\r\nHost: h\r\n\r\n", has: []string{"GET /a?b HTTP/1.1", "Host: h"}},
		{what: "21 repeated fields", sent: "GET /a HTTP/1.1\r\nHost: h\r\nUser-Agent: one\r\nUser-Agent: two\r\nX-B: 1\r\nX-A: 2\r\nX-B: 3\r\n\r\n",
			has: []string{"User-Agent: one\r\nUser-Agent: two\r\nX-B: 1\r\nX-A: 2\r\nX-B: 3"}},
		{what: "22 no type is made up", sent: "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx", has: []string{"Content-Length: 1"}, hasnt: []string{"Content-Type"}, body: "x"},
		{what: "24 multipart", sent: "POST /a HTTP/1.1\r\nHost: h\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: " + itoa(len(part)) + "\r\n\r\n" + part, has: []string{"Content-Length: " + itoa(len(part))}, body: part},
		{what: "25 an old client", sent: "GET /a HTTP/1.0\r\nHost: h\r\n\r\n", has: []string{"GET /a HTTP/1.1"}},
		{what: "27 a long field", sent: "GET /a HTTP/1.1\r\nHost: h\r\nX-Long: " + long + "\r\n\r\n", has: []string{"X-Long: " + long}},
		{what: "empty and odd values", sent: "GET /a HTTP/1.1\r\nHost: h\r\nX-Empty:\r\nx-lower: a \"b\", c\r\nX-Latin: \xe4\r\n\r\n", has: []string{"x-lower: a \"b\", c", "X-Latin: \xe4"}},
	}
	const said = "HTTP/1.1 203 Own words\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nX-B: 1\r\nX-A: 2\r\nX-B: 3\r\nConnection: X-Own\r\nX-Own: 1\r\nContent-Length: 2\r\n\r\nok"
	o := scripted(t, func(p *peer) {
		for s := p.request(); s != nil; s = p.request() {
			text := said
			if s.path == "/chunked" {
				text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
			}
			p.say(text)
		}
	})
	g := begin(t, "", up("up", "", o.url), route("small", "/small", ", body: 1000B", "up")+route("all", "/**", "", "up"))
	for _, m := range messages {
		d := g.dialog().say(m.sent)
		text, err := head(d.in)
		seen := o.all()
		if err != nil || len(seen) == 0 || !strings.HasPrefix(text, "HTTP/1.1 203 ") && !strings.HasPrefix(text, "HTTP/1.0 203 ") {
			in.Errorf("%s: %.200q, %v", m.what, text, err)
			continue
		}
		last := seen[len(seen)-1]
		for _, want := range m.has {
			if !strings.Contains(last.raw, want) {
				in.Errorf("%s: %.100q is not in %.600q", m.what, want, last.raw)
			}
		}
		for _, not := range m.hasnt {
			if strings.Contains(strings.ToLower(last.raw), "\n"+strings.ToLower(not)) {
				in.Errorf("%s: %q is in %.600q", m.what, not, last.raw)
			}
		}
		if string(last.body) != m.body {
			in.Errorf("%s: body %q", m.what, last.body)
		}
		// 23: the upstream's Date stays, no Server and no type is made up, order and repetitions stay.
		if !strings.Contains(text, "Date: Mon, 01 Jan 2024 00:00:00 GMT") || !strings.Contains(text, "X-B: 1\r\nX-A: 2\r\nX-B: 3") || strings.Contains(text, "X-Own") || strings.Contains(text, "Server:") || strings.Contains(text, "Content-Type") {
			in.Errorf("%s: the answer came as %q", m.what, text)
		}
	}
	// 26: an answer in chunks reaches a client of HTTP/1.0 without them.
	if text, err := g.dialog().say("GET /chunked HTTP/1.0\r\nHost: h\r\n\r\n").rest(); err != nil || strings.Contains(text, "Transfer-Encoding") || !strings.HasSuffix(text, "\r\n\r\nok") {
		in.Errorf("26: %q, %v", text, err)
	}
	// 28: the limit of bodies holds for chunks.
	if a, err := g.streamed("POST", "/small", strings.Repeat("x", 100<<10)); err == nil && a.status != 413 {
		in.Errorf("28: %d", a.status)
	}
	// 29: the first of two pipelined requests is answered when it is ready.
	d := g.dialog()
	start := time.Now()
	if _, err := d.say("GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n").hear("GET"); err != nil || time.Since(start) > 300*time.Millisecond {
		in.Errorf("29: after %v, %v", time.Since(start), err)
	}
	in.found("%d messages", len(messages)+3)
}

func TestInjection29IdleAndSlowClients(t *testing.T) {
	t.Parallel()
	in := inject(t, 29, "many idle clients and slow ones at each phase: a new one is served at once")
	many := soaking(500, 10000)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil && uint64(many)+2000 > limit.Max {
		many = int(limit.Max/2) - 1000
	}
	o := scripted(t, gives(fine))
	g := begin(t, "limits: { read_timeout: 20s, idle_timeout: 5m },", up("up", "", o.url), route("all", "/**", "", "up"))
	for range many {
		if a, err := g.dialog().say("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").hear("GET"); err != nil || a.status != 200 {
			in.Fatalf("%d, %v", a.status, err)
		}
	}
	for _, begun := range []string{"", "G", "GET /x HTTP/1.1\r\nHost: a\r\nX-Slow: ", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nab", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"} {
		d := g.dialog().say(begun)
		go func() {
			for range 100 {
				if _, err := d.Write([]byte("x")); err != nil {
					return
				}
				time.Sleep(100 * time.Millisecond) // one byte at a time
			}
		}()
	}
	var took []time.Duration
	for range 100 {
		start := time.Now()
		g.want(200, "", "GET", "/x", "")
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	if took[95] > 50*time.Millisecond {
		in.Errorf("95 of 100 new clients are answered within %v", took[95])
	}
	kib, _, _ := g.process()
	in.found("%d idle, 5 slow: 95 of 100 new clients answered within %v, the slowest in %v; memory %d MiB", many, took[95].Round(100*time.Microsecond), took[99].Round(100*time.Microsecond), kib>>10)
}
