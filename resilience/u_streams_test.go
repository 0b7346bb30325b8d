package resilience

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Edge case 33: an answer that breaks off behind its head breaks off for the client, with nothing appended.
func TestU33TruncatedBodyIsTruncated(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"sized": "Content-Length: 100\r\n\r\nbegin", "chunked": "Transfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n", "in a chunk": "Transfer-Encoding: chunked\r\n\r\n9\r\nbegin",
	} {
		o := scripted(t, cuts(body)())
		g := before(t, o.url, "")
		got, err := g.dialog().say("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").rest()
		head, rest, _ := strings.Cut(got, "\r\n\r\n")
		content := strings.TrimSpace(rest)
		if !strings.HasPrefix(head, "HTTP/1.1 200") || strings.Contains(rest, "0\r\n\r\n") || !strings.HasSuffix(content, "begin") || strings.Contains(rest, "problem") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if _, err := g.call("GET", "/x", ""); err == nil {
			t.Errorf("%s looks complete", name)
		}
	}
}

// Edge case 34: answers without a body keep their length field, except 204, and the connection is used on.
func TestU34AnswersWithoutBody(t *testing.T) {
	t.Parallel()
	var most int
	o := scripted(t, func(p *peer) {
		for most = max(most, p.n); ; {
			s := p.request()
			if s == nil {
				return
			}
			switch s.path {
			case "/head":
				p.say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
			case "/204":
				p.say("HTTP/1.1 204 None\r\nContent-Length: 5\r\n\r\n")
			case "/304":
				p.say("HTTP/1.1 304 Same\r\nContent-Length: 5\r\nETag: \"1\"\r\n\r\n")
			default:
				p.say(fine)
			}
		}
	})
	g := before(t, o.url, "")
	d := g.dialog()
	for _, c := range []struct{ method, path, length string }{{"HEAD", "/head", "5"}, {"GET", "/204", ""}, {"GET", "/304", "5"}, {"GET", "/x", "2"}, {"HEAD", "/head", "5"}, {"GET", "/x", "2"}} {
		a, err := d.say(c.method + " " + c.path + " HTTP/1.1\r\nHost: a\r\n\r\n").hear(c.method)
		if err != nil || a.header.Get("Content-Length") != c.length || c.path != "/x" && a.body != "" {
			t.Errorf("%s %s: %v %q, %v", c.method, c.path, a.header, a.body, err)
		}
	}
	if most != 0 || o.count() != 6 {
		t.Errorf("%d requests on %d connections", o.count(), most+1)
	}
}

const events = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"

// Edge case 40: a reader of events who leaves ends the call within a second, though the upstream says nothing.
func TestU40EventsReaderLeaves(t *testing.T) {
	t.Parallel()
	o := scripted(t, func(p *peer) {
		if p.request() != nil {
			p.say(events)
			p.hang()
		}
	})
	g := before(t, o.url, "")
	d := g.dialog().say("GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
	for line := ""; !strings.HasPrefix(line, "data: 1"); {
		var err error
		if line, err = d.in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	_ = d.Close()
	o.closedWithin(t, "events", time.Second)
}

// Edge case 41: a client that says it will send nothing more counts as gone.
func TestU41HalfClosedClientIsGone(t *testing.T) {
	t.Parallel()
	o := scripted(t, turns("..."))
	g := before(t, o.url, ", timeout: { first_byte: 20s }")
	d := g.dialog().say("GET /x HTTP/1.1\r\nHost: a\r\nX-Request-Id: half\r\n\r\n")
	g.eventually("the request", func() bool { return o.count() == 1 })
	if err := d.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	o.closedWithin(t, "a half-closed client", time.Second)
	if line := g.line("half"); line["status"] != 499.0 {
		t.Errorf("%v", line)
	}
}

// Edge case 42: an upload takes as long as its client needs, in memory that does not grow; the route's time begins behind it.
func TestU42LongUpload(t *testing.T) {
	t.Parallel()
	size := soaking[int64](128<<20, 5<<30)
	o := scripted(t, func(p *peer) {
		if _, body := p.head(); body != nil {
			n, _ := io.Copy(io.Discard, body)
			p.say(status("200 OK", "", fmt.Sprint(n)))
		}
	})
	g := begin(t, "limits: { body: 6GiB },", up("up", "", o.url), route("all", "/**", ", timeout: 2s", "up"))
	g.want(200, "", "POST", "/warm", "x")
	base, _, _ := g.process()
	r, w := io.Pipe()
	most := base
	go func() {
		block := make([]byte, 1<<20)
		for sent := int64(0); sent < size; sent += int64(len(block)) {
			if sent == size/2 {
				time.Sleep(3 * time.Second) // longer than the route's time
			}
			if sent%(64<<20) == 0 {
				kib, _, _ := g.process()
				most = max(most, kib)
			}
			if _, err := w.Write(block); err != nil {
				break
			}
		}
		_ = w.Close()
	}()
	a, err := http.Post("http://"+g.address+"/up", "application/octet-stream", r)
	if err != nil {
		t.Fatalf("%v; log: %.2000s", err, g.log)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil || string(text) != fmt.Sprint(size) {
		t.Errorf("%d %s, %v", a.StatusCode, text, err)
	}
	if most-base > 16<<10 {
		t.Errorf("memory grew by %d KiB", most-base)
	}
}

// Edge case 43: who does not read his answer slows the upstream down instead of filling memory, and is let go.
func TestU43SlowReader(t *testing.T) {
	t.Parallel()
	told := make(chan int, 1)
	o := scripted(t, func(p *peer) {
		if p.request() == nil {
			return
		}
		p.say("HTTP/1.1 200 OK\r\n\r\n")
		block, n := make([]byte, 64<<10), 0
		for {
			k, err := p.Write(block)
			if n += k; err != nil {
				told <- n
				return
			}
		}
	})
	g := begin(t, "limits: { write_timeout: 500ms },", up("up", ", bulkhead: { in_flight: 1 }", o.url), route("all", "/**", "", "up"))
	base, _, _ := g.process()
	d := g.dialog().say("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
	g.eventually("the call", func() bool { return g.upstreams()["up"].Bulkhead.InFlight == 1 })
	select {
	case n := <-told:
		if kib, _, _ := g.process(); n > 64<<20 || kib-base > 16<<10 {
			t.Errorf("the upstream was relieved of %d bytes, memory grew by %d KiB", n, kib-base)
		}
	case <-time.After(5 * time.Second):
		t.Error("a client that reads nothing holds the upstream for 5 s")
	}
	g.eventually("the place", func() bool { return g.upstreams()["up"].Bulkhead.InFlight == 0 })
	_ = d.Close()
}
