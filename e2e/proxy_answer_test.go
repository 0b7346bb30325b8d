package e2e

import (
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What the client gets, byte for byte, for each way an upstream can end its answer.
func TestProxyAnswers(t *testing.T) {
	o := newOrigin(t)
	g := edged(t, o, "", "")
	const own = "X-Request-Id: ID\r\nDate: NOW\r\n"
	const next = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + own + "Connection: close\r\n\r\nok"
	drip := func(c net.Conn) bool {
		for _, piece := range []string{"HTTP/1.1 200 OK\r\nContent-Type: t\r\n\r\n", "hello ", "world"} {
			_, _ = io.WriteString(c, piece)
			time.Sleep(20 * time.Millisecond) // so that the pieces arrive apart
		}
		return false
	}
	chunks := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX-T: 1\r\n\r\n"
	for _, c := range []struct {
		name, request string
		do            turn
		want          string
	}{
		{"fields", "GET /1 HTTP/1.1", gives("HTTP/1.1 207 Mine\r\nserver: up/1\r\nDate: Mon, 01 Jan 2001 00:00:00 GMT\r\nset-cookie: a=1; Path=/x\r\nX-b: 1\r\nSet-Cookie: a=2\r\nX-B: 2\r\nConnection: X-Hop\r\n" +
			"X-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nTrailer: X-T\r\nUpgrade: h2c\r\nETag: \"x\"\r\nContent-Length: 2\r\n\r\nok"),
			"HTTP/1.1 207 Mine\r\nserver: up/1\r\nDate: Mon, 01 Jan 2001 00:00:00 GMT\r\nset-cookie: a=1; Path=/x\r\nX-b: 1\r\nSet-Cookie: a=2\r\nX-B: 2\r\nETag: \"x\"\r\nContent-Length: 2\r\nX-Request-Id: ID\r\n\r\nok"},
		{"HEAD keeps the length", "HEAD /2 HTTP/1.1", gives("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nContent-Type: a/b\r\n\r\n"),
			"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 1234\r\n" + own + "\r\n"},
		{"HEAD of chunks", "HEAD /3 HTTP/1.1", gives("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), "HTTP/1.1 200 OK\r\n" + own + "\r\n"},
		{"204 has no length", "GET /4 HTTP/1.1", gives("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nA: b\r\n\r\n"), "HTTP/1.1 204 No Content\r\nA: b\r\n" + own + "\r\n"},
		{"304 keeps the length", "GET /5 HTTP/1.1", gives("HTTP/1.1 304 Not Modified\r\nContent-Length: 55\r\n\r\n"), "HTTP/1.1 304 Not Modified\r\nContent-Length: 55\r\n" + own + "\r\n"},
		{"until close", "GET /6 HTTP/1.1", drip, "HTTP/1.1 200 OK\r\nContent-Type: t\r\n" + own + "Transfer-Encoding: chunked\r\n\r\n6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n"},
		{"chunks", "GET /7 HTTP/1.1", gives(chunks), "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n" + own + "\r\nhello world"},
		{"no reason", "GET /8 HTTP/1.1", gives("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + own + "\r\nok"},
		{"upstream of 1.0", "GET /9 HTTP/1.1", cuts("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + own + "\r\nok"},
		{"interim answers", "GET /10 HTTP/1.1", gives("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
			"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + own + "\r\nok"},
		{"kept for 1.0", "GET /11 HTTP/1.0\r\nConnection: keep-alive", gives("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
			"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + own + "Connection: keep-alive\r\n\r\nok"},
	} {
		o.at(strings.Fields(c.request)[1], c.do)
		// The second request shows that the first answer ended where it should.
		got := g.exactly(c.request + "\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		if got != c.want+next {
			t.Errorf("%s:\n%q\nwanted\n%q", c.name, got, c.want+next)
		}
	}
	for name, do := range map[string]turn{"until close for 1.0": drip, "chunks for 1.0": gives(chunks)} {
		o.at("/old", do)
		got := g.exactly("GET /old HTTP/1.0\r\nHost: a\r\n\r\n")
		if head, body, _ := strings.Cut(got, "\r\n\r\n"); body != "hello world" || strings.Contains(head, "Transfer-Encoding") || !strings.Contains(head, "\r\nConnection: close") {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// An answer that broke off never looks complete; the log says why.
func TestProxyTruncated(t *testing.T) {
	o := newOrigin(t)
	g := edged(t, o, "", "")
	o.at("/sized", cuts("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello"))
	o.at("/chunked", cuts("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"))
	o.at("/mid", cuts("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhello"))
	for _, path := range []string{"/sized", "/chunked", "/mid"} {
		got := g.dialog().say("GET " + path + " HTTP/1.1\r\nHost: a\r\nX-Request-Id: " + path + "\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n").rest()
		if !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") || strings.HasSuffix(got, "0\r\n\r\n") || strings.Count(got, "HTTP/1.1") != 1 || strings.Contains(got, "problem") {
			t.Errorf("%s: %q", path, got)
		}
		if line := g.lineOf(path); line["status"] != 200.0 || line["kind"] != "upstream-failed" || line["bytes_out"] != 5.0 {
			t.Errorf("%s: %v", path, line)
		}
	}
	o.at("/old", cuts("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"))
	c := g.dialog().say("GET /old HTTP/1.0\r\nHost: a\r\n\r\n")
	if _, err := io.ReadAll(c.in); err == nil {
		t.Error("for HTTP/1.0 only a reset tells that the body broke off")
	}
}

// What is no answer is 502 at once, and nothing of it reaches the client.
func TestProxyBadAnswers(t *testing.T) {
	o := newOrigin(t)
	g := edged(t, o, "", "")
	for name, text := range map[string]string{
		"two lengths": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", "other coding": "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"length and chunks": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "no HTTP": "junk\r\n\r\n", "bare LF": "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
		"status 600": "HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n", "folded": "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n", "NUL": "HTTP/1.1 200 OK\r\nA: b\x00\r\nContent-Length: 0\r\n\r\n",
		"HTTP/2": "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", "switched": "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
		"long head": "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", 70<<10) + "\r\n\r\n", "interim for ever": strings.Repeat("HTTP/1.1 199 X\r\n\r\n", 101) + "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	} {
		o.at("/bad", gives(text))
		start := time.Now()
		conn := g.dialog().say("GET /bad HTTP/1.1\r\nHost: a\r\n\r\n")
		if a := conn.hear("GET"); a.status != 502 || a.kind() != "upstream-failed" || time.Since(start) > 2*time.Second {
			t.Errorf("%s: %d %s after %v", name, a.status, a.body, time.Since(start))
		}
		if a := conn.say("GET /fine HTTP/1.1\r\nHost: a\r\n\r\n").hear("GET"); a.body != "ok" {
			t.Errorf("%s: the next request got %d %s", name, a.status, a.body)
		}
	}
}

// Bytes that answer nothing are never anybody's answer.
func TestProxyUnsolicited(t *testing.T) {
	o := newOrigin(t)
	g := edged(t, o, "", "")
	const evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
	o.at("/behind", gives("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"+evil))
	sent := make(chan struct{})
	o.at("/later", func(c net.Conn) bool {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		_, err := io.WriteString(c, evil)
		sent <- struct{}{} // what comes after the next request was sent can't be told from its answer
		return err == nil
	})
	conn := g.dialog()
	for range 5 {
		for _, path := range []string{"/behind", "/x", "/later", "/x"} {
			if a := conn.say("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n").hear("GET"); a.body != "ok" {
				t.Fatalf("%s: %d %q", path, a.status, a.body)
			}
			if path == "/later" {
				<-sent
			}
		}
	}
}

// A stream passes piece by piece, both ways.
func TestProxyStreams(t *testing.T) {
	o := newOrigin(t)
	g := edged(t, o, "", "")
	for _, framing := range []string{"", "Transfer-Encoding: chunked\r\n"} {
		next := make(chan string)
		o.at("/events", func(c net.Conn) bool {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"+framing+"\r\n")
			for event := range next {
				if framing != "" {
					event = "9\r\n" + event + "\r\n"
				}
				_, _ = io.WriteString(c, event)
			}
			return false
		})
		conn := g.dialog().say("GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
		for line := ""; line != "\r\n"; { // the head comes before any event
			var err error
			if line, err = conn.in.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		for _, event := range []string{"data: 1\n\n", "data: 2\n\n"} {
			next <- event
			b := make([]byte, len("9\r\n")+len(event)+len("\r\n"))
			if _, err := io.ReadFull(conn.in, b); err != nil || string(b) != "9\r\n"+event+"\r\n" {
				t.Fatalf("%q, %v", b, err)
			}
		}
		close(next)
	}
	// A dripping upload reaches the upstream while it drips.
	got := make(chan byte)
	o.at("/early-drip", func(c net.Conn) bool {
		in := make([]byte, 1)
		for range 3 {
			for in[0] = 0; in[0] < 'a' || in[0] > 'z'; {
				if _, err := c.Read(in); err != nil {
					return false
				}
			}
			got <- in[0]
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
		return false
	})
	conn := g.dialog().say("POST /early-drip HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
	for _, b := range "xyz" {
		conn.say("1\r\n" + string(b) + "\r\n")
		if in := <-got; in != byte(b) {
			t.Fatalf("%q came", in)
		}
	}
	if a := conn.say("0\r\n\r\n").hear("POST"); a.body != "done" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// An answer that comes before the body is taken is delivered, though the upstream reads no more.
func TestProxyEarlyAnswer(t *testing.T) {
	o := newOrigin(t)
	g := edged(t, o, "limits: { body: 100MiB }", "")
	o.at("/early", func(c net.Conn) bool {
		_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
		_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)) // it lingers, as good servers do
		_, _ = io.Copy(io.Discard, c)
		return false
	})
	for _, size := range []int{100_000, 20_000_000} {
		conn := g.dialog().say("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: " + strconv.Itoa(size) + "\r\n\r\n")
		go conn.say(strings.Repeat("x", size))
		if a := conn.hear("POST"); a.status != 413 || a.body != "big" {
			t.Errorf("%d: %d %s", size, a.status, a.body)
		}
	}
}
