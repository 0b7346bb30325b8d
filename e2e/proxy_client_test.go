package e2e

import (
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// 100 is said when the body is wanted, and not before a refusal.
func TestProxyExpect(t *testing.T) {
	o := newOrigin(t)
	g := edged(t, o, "limits: { body: 10B }", "")
	conn := g.dialog().say("POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n")
	if line, err := conn.in.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	_, _ = conn.in.ReadString('\n')
	if a := conn.say("abc").hear("POST"); a.status != 200 || o.last().body != "abc" || strings.Contains(o.last().head, "xpect") {
		t.Errorf("%d, upstream %q", a.status, o.last())
	}
	if a := g.dialog().say("POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 30\r\n\r\n").hear("POST"); a.status != 413 || a.kind() != "too-large" {
		t.Errorf("%d %s", a.status, a.body)
	}
	// Too much without a length is noticed on the way.
	if a := g.dialog().say("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("5\r\nhello\r\n", 3) + "0\r\n\r\n").hear("POST"); a.status != 413 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// Answers come in the order of requests; the connection stays until somebody ends it.
func TestProxyPipelining(t *testing.T) {
	o := newOrigin(t)
	g := edged(t, o, "", "")
	o.at("/a", gives("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"))
	o.at("/b", gives("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\n\r\n"))
	conn := g.dialog().say("GET /a HTTP/1.1\r\nHost: a\r\n\r\nPOST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /never HTTP/1.1\r\nHost: a\r\n\r\n")
	if got := conn.hear("GET").body + conn.hear("POST").body + conn.hear("GET").body; got != "aba" || conn.rest() != "" || o.count() != 3 {
		t.Errorf("%q, %d upstream", got, o.count())
	}
}

// A client that leaves frees the upstream within a second, whatever it waited for, and is 499 unless its answer had begun.
func TestProxyClientGone(t *testing.T) {
	o := newOrigin(t)
	g := edged(t, o, "", ", timeout: { first_byte: 20s, idle_body: 20s }")
	for _, c := range []struct {
		path, in, out string
		status        float64
	}{
		{"/silent", "GET /silent HTTP/1.1\r\n", "", 499},
		{"/upload", "POST /upload HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", "", 499},
		{"/events", "GET /events HTTP/1.1\r\n", "HTTP/1.1 200 OK\r\n\r\ndata: 1\n\n", 200},
	} {
		o.at(c.path, o.pends(c.path, c.out))
		before := o.count()
		conn := g.dialog().say(c.in + "Host: a\r\nX-Request-Id: " + c.path + "\r\n\r\n")
		switch {
		case c.out != "":
			_, _ = conn.in.ReadString('\n')
		case strings.HasPrefix(c.in, "POST"):
			conn.say("3\r\nabc\r\n")
			g.eventually("the upload at the upstream", func() bool { return strings.Contains(g.metricsText(), `gateway_in_flight{route="all"} 1`) })
		default:
			g.eventually("the request at the upstream", func() bool { return o.count() > before })
		}
		_ = conn.Close()
		o.closedWithin(t, c.path, time.Second)
		if line := g.lineOf(c.path); line["status"] != c.status || line["kind"] != "client-gone" {
			t.Errorf("%s: %v", c.path, line)
		}
	}
	if text := g.metricsText(); !strings.Contains(text, `gateway_in_flight{route="all"} 0`) || strings.Contains(text, `outcome="failed"`) {
		t.Errorf("gauges or outcomes: %s", text)
	}
}

// Who is too slow is told 408; a pause below the limit is fine however often it comes; a slow reader is let go.
func TestProxySlowClients(t *testing.T) {
	o := newOrigin(t)
	g := edged(t, o, "limits: { read_timeout: 400ms, write_timeout: 400ms, idle_timeout: 500ms }", ", timeout: { connect: 300ms }")
	for name, c := range map[string]struct{ first, drip string }{
		"head": {"", "GET / HTTP/1.1\r\nHost: a\r\nA: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"}, "silence": {"", ""},
		"body": {"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab", ""}, "chunks": {"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", ""},
	} {
		start := time.Now()
		conn := g.dialog().say(c.first)
		go func() {
			for i := range c.drip {
				if _, err := conn.Write([]byte{c.drip[i]}); err != nil {
					return
				}
				time.Sleep(30 * time.Millisecond) // the drip itself
			}
		}()
		a := conn.hear("POST")
		if took := time.Since(start); a.status != 408 || a.kind() != "request-timeout" || took < 300*time.Millisecond || took > 1500*time.Millisecond {
			t.Errorf("%s: %d %s after %v", name, a.status, a.body, took)
		}
		conn.rest()
	}
	for range 2 { // on a fresh connection to the upstream, then on the same
		conn := g.dialog().say("POST /x HTTP/1.1\r\nHost: a\r\nX-Request-Id: patient\r\nContent-Length: 4\r\n\r\n")
		for _, b := range "abcd" {
			time.Sleep(150 * time.Millisecond)
			conn.say(string(b))
		}
		if a := conn.hear("POST"); a.status != 200 || o.last().body != "abcd" {
			t.Errorf("a slow but steady body: %d %s", a.status, a.body)
		}
	}
	if line := g.lineOf("patient"); line["attempts"] != 1.0 || line["upstream_ms"].(float64) > 200 {
		t.Errorf("%v", line)
	}
	o.at("/endless", func(c net.Conn) bool {
		_, err := c.Write([]byte("HTTP/1.1 200 OK\r\n\r\n"))
		for b := make([]byte, 64<<10); err == nil; {
			_, err = c.Write(b)
		}
		o.ended <- "/endless"
		return false
	})
	for len(o.ended) > 0 {
		<-o.ended // the upload that broke off above
	}
	g.dialog().say("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
	o.closedWithin(t, "/endless", 3*time.Second)
	idle := g.dialog().say("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
	idle.hear("GET")
	start := time.Now()
	if rest := idle.rest(); rest != "" || time.Since(start) > 2*time.Second {
		t.Errorf("an idle connection was closed after %v with %q", time.Since(start), rest)
	}
}

func TestProxyConnectionCaps(t *testing.T) {
	o := newOrigin(t)
	for _, limits := range []string{"connections: 3", "connections_per_ip: 3"} {
		g := edged(t, o, "limits: { "+limits+" }", "")
		var open []*dialog
		for range 3 {
			conn := g.dialog().say("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
			conn.hear("GET")
			open = append(open, conn)
		}
		if got := g.dialog().rest(); got != "" {
			t.Errorf("%s: %q", limits, got)
		}
		_ = open[0].Close()
		g.eventually("a free place", func() bool { a, err := g.call("GET", "/x", ""); return err == nil && a.status == 200 })
		other, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 3)}}).Dial("tcp", g.address)
		if err != nil {
			t.Fatal(err)
		}
		if limits == "connections_per_ip: 3" {
			if a := dialogOn(t, other).say("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").hear("GET"); a.status != 200 {
				t.Errorf("another address: %d", a.status)
			}
		}
	}
}

// A second signal stops at once; what the time-out cuts is told so first.
func TestProxyStopsAtOnce(t *testing.T) {
	o := newOrigin(t)
	o.at("/hang", o.pends("/hang", ""))
	for _, c := range []struct {
		drain   string
		signals []os.Signal
		within  time.Duration
	}{
		{"notice: 10ms, timeout: 200ms", []os.Signal{syscall.SIGTERM}, 2 * time.Second},
		{"notice: 10ms, timeout: 60s", []os.Signal{syscall.SIGINT, syscall.SIGTERM}, 2 * time.Second},
	} {
		g := prepare(t, fmt.Sprintf("upstreams: { up: { targets: [%q] } }\nroutes: [ { id: all, match: { path: /** }, auth: none, timeout: 60s, to: up } ]\n", o.url))
		g.replace("notice: 10ms, timeout: 5s", c.drain)
		g.start()
		t.Cleanup(g.kill)
		before := o.count()
		conn := g.dialog().say("GET /hang HTTP/1.1\r\nHost: a\r\nX-Request-Id: hangs\r\n\r\n")
		g.eventually("the request at the upstream", func() bool { return o.count() > before })
		start := time.Now()
		for i, s := range c.signals {
			if i > 0 {
				g.eventually("the stop", func() bool { return strings.Contains(g.log.String(), `"stopping"`) })
			}
			g.signal(s.(syscall.Signal))
		}
		if code := g.exit(); code != 1 || time.Since(start) > c.within {
			t.Errorf("%s: exit %d after %v", c.drain, code, time.Since(start))
		}
		if at := strings.Contains(g.log.String(), `"stopping at once"`); at != (len(c.signals) > 1) {
			t.Errorf("%s: the log says at once: %v: %s", c.drain, at, g.log)
		}
		if line := g.lineOf("hangs"); line["status"] != 503.0 || line["kind"] != "draining" {
			t.Errorf("%s: %v", c.drain, line)
		}
		if a := conn.hear("GET"); a.status != 503 || a.kind() != "draining" || a.header.Get("Retry-After") == "" || conn.rest() != "" {
			t.Errorf("%d %v %s", a.status, a.header, a.body)
		}
	}
}
