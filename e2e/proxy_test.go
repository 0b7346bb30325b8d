package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// Every row of the edge's table: what is refused at the door, and nothing of it, nor of what follows it, reaches an upstream.
// Each refusal is one problem document, one access line and a closed connection.
func TestProxyHygiene(t *testing.T) {
	const (
		host     = "Host: a\r\n"
		get      = "GET / HTTP/1.1\r\n" + host
		post     = "POST / HTTP/1.1\r\n" + host
		te       = "Transfer-Encoding: chunked\r\n"
		smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
	)
	o := newOrigin(t)
	g := edged(t, o, "limits: { header: 8KiB, headers: 20, read_timeout: 3s }", "")
	at := func(target string) string { return "GET " + target + " HTTP/1.1\r\n" + host + "\r\n" }
	asked := map[string]string{} // request id: what the line must say
	for _, c := range []struct {
		name, in string
		status   int
		kind     string
	}{
		{"length and chunked", post + "Content-Length: 5\r\n" + te + "\r\n0\r\n\r\n", 400, "bad-request"},
		{"xchunked", post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400, "bad-request"},
		{"chunked, identity", post + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400, "bad-request"},
		{"gzip, chunked", post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, "bad-request"},
		{"identity and length", post + "Transfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n", 400, "bad-request"},
		{"chunked twice", post + te + te + "\r\n0\r\n\r\n", 400, "bad-request"},
		{"chunked in 1.0", "POST / HTTP/1.0\r\n" + host + te + "\r\n0\r\n\r\n", 400, "bad-request"},
		{"vertical tab", post + "Transfer-Encoding:\vchunked\r\n\r\n0\r\n\r\n", 400, "bad-request"},
		{"two equal lengths", post + "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400, "bad-request"},
		{"two lengths", post + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy", 400, "bad-request"},
		{"folded", get + "A: b\r\n c\r\n\r\n", 400, "bad-request"},
		{"folded coding", post + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400, "bad-request"},
		{"LF alone on all lines", "GET / HTTP/1.1\nHost: a\n\n", 400, "bad-request"},
		{"LF alone on one line", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400, "bad-request"},
		{"LF alone on the first line", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400, "bad-request"},
		{"CR alone", get + "X: a\rb\r\n\r\n", 400, "bad-request"},
		{"NUL in a value", get + "X: a\x00b\r\n\r\n", 400, "bad-request"},
		{"control byte in a name", get + "X\x01: b\r\n\r\n", 400, "bad-request"},
		{"empty name", get + ": b\r\n\r\n", 400, "bad-request"},
		{"blank in a name", get + "X Y: b\r\n\r\n", 400, "bad-request"},
		{"no host", "GET / HTTP/1.1\r\nX: a\r\n\r\n", 400, "bad-request"},
		{"two hosts", get + host + "\r\n", 400, "bad-request"},
		{"host list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400, "bad-request"},
		{"host with path", "GET / HTTP/1.1\r\nHost: a/b?c\r\n\r\n", 400, "bad-request"},
		{"host with user", "GET / HTTP/1.1\r\nHost: u@evil\r\n\r\n", 400, "bad-request"},
		{"other host in the target", at("http://b/"), 400, "bad-request"},
		{"connect", "CONNECT a:443 HTTP/1.1\r\n" + host + "\r\n", 405, "method-not-allowed"},
		{"trace", "TRACE / HTTP/1.1\r\n" + host + "\r\n", 405, "method-not-allowed"},
		{"options for the server", "OPTIONS * HTTP/1.1\r\n" + host + "\r\n", 400, "bad-request"},
		{"expectation", post + "Expect: other\r\nContent-Length: 1\r\n\r\nx", 417, "expectation-failed"},
		{"fragment", at("/#frag"), 400, "bad-request"},
		{"escaped NUL", at("/%00"), 400, "bad-request"},
		{"escaped line end", at("/%0d%0a"), 400, "bad-request"},
		{"escaped slash", at("/%2f"), 400, "bad-request"},
		{"escaped backslash", at("/%5c"), 400, "bad-request"},
		{"broken escape", at("/%zz"), 400, "bad-request"},
		{"raw bytes", at("/\xff"), 400, "bad-request"},
		{"dots with a parameter", at("/a/..;/b"), 400, "bad-request"},
		{"two authorizations", get + "Authorization: a\r\nAuthorization: a\r\n\r\n", 400, "bad-request"},
		{"large header", get + "X: " + strings.Repeat("x", 9000) + "\r\n\r\n", 431, "header-too-large"},
		{"long target", at("/" + strings.Repeat("x", 9000)), 431, "header-too-large"},
		{"many headers", get + strings.Repeat("A: b\r\n", 20) + "\r\n", 431, "header-too-large"},
		{"HTTP/2.0", "GET / HTTP/2.0\r\n" + host + "\r\n", 505, "version-not-supported"},
		{"HTTP/1.2", "GET / HTTP/1.2\r\n" + host + "\r\n", 505, "version-not-supported"},
		{"no version", "GET /\r\n\r\n", 400, "bad-request"},
		{"other protocol", "GET / http/1.1\r\n" + host + "\r\n", 400, "bad-request"},
		{"TLS on a plain port", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "bad-request"},
	} {
		conn := g.dialog().say(c.in + smuggled)
		a := conn.hear("GET")
		if a.status != c.status || a.kind() != c.kind || a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s, wanted %d %s", c.name, a.status, a.kind(), c.status, c.kind)
		}
		if rest := conn.rest(); rest != "" {
			t.Errorf("%s: more was answered: %q", c.name, rest)
		}
		id := a.header.Get("X-Request-Id")
		if a.problem()["instance"] != id || asked[id] != "" {
			t.Errorf("%s: id %s, instance %v", c.name, id, a.problem()["instance"])
		}
		asked[id] = fmt.Sprintf("%d %s", c.status, c.kind)
	}
	if n := o.count(); n != 0 {
		t.Errorf("the upstream saw %d requests, first %q", n, o.last().head)
	}
	lines := g.accessLines(len(asked))
	if len(lines) != len(asked) {
		t.Errorf("%d access lines for %d requests", len(lines), len(asked))
	}
	for _, line := range lines {
		if said := fmt.Sprintf("%v %v", line["status"], line["kind"]); asked[line["request_id"].(string)] != said || line["route"] != "" {
			t.Errorf("answered %s: %v", asked[line["request_id"].(string)], line)
		}
	}
}

// What breaks within a chunked body is told to the client, and never looks complete to the upstream.
func TestProxyChunkHygiene(t *testing.T) {
	o := newOrigin(t)
	g := edged(t, o, "", "")
	for name, body := range map[string]string{
		"LF in an extension": "1;a\nb\r\nx\r\n0\r\n\r\n", "LF after the size": "1\nx\r\n0\r\n\r\n", "0x": "0x1\r\nx\r\n0\r\n\r\n",
		"blank after the size": "1 \r\nx\r\n0\r\n\r\n", "authorization in the trailer": "1\r\nx\r\n0\r\nAuthorization: x\r\n\r\n", "no size": "\r\nx\r\n0\r\n\r\n",
	} {
		conn := g.dialog().say("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
		if a := conn.hear("POST"); a.status != 400 || a.kind() != "bad-request" || conn.rest() != "" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range o.seen {
		if strings.HasSuffix(a.body, "0\r\n\r\n") {
			t.Errorf("a broken body looked complete: %q", a.body)
		}
	}
}

// A refusal at the door still carries the caller's id, and belongs to nobody else's trace.
func TestProxyRefusalKeepsTheID(t *testing.T) {
	o := newOrigin(t)
	g := edged(t, o, "", "")
	trace := strings.Repeat("ab", 16)
	g.dialog().say("GET /x HTTP/1.1\r\nHost: a\r\ntraceparent: 00-" + trace + "-00f067aa0ba902b7-01\r\n\r\n").hear("GET")
	g.accessLines(1)
	for _, in := range []string{"GET /%00 HTTP/1.1\r\nHost: a\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n", "GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n"} {
		a := g.dialog().say(in + "X-Request-Id: mine-1\r\n\r\n").hear("GET")
		if a.header.Get("X-Request-Id") != "mine-1" || a.problem()["instance"] != "mine-1" {
			t.Errorf("%q: %v %s", in, a.header, a.body)
		}
	}
	for _, line := range g.accessLines(4)[1:] {
		if line["trace_id"] == trace {
			t.Errorf("the trace of an earlier request: %v", line)
		}
	}
	// HEAD: the head of the refusal, and no body.
	if got := g.exactly("HEAD /%00 HTTP/1.1\r\nHost: a\r\nX-Request-Id: h\r\n\r\n"); got != "HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\n"+
		"Content-Length: 131\r\nX-Request-Id: h\r\nDate: NOW\r\nConnection: close\r\n\r\n" {
		t.Errorf("%q", got)
	}
	if got := g.exactly("GET /%00 HTTP/1.1\r\nHost: a\r\nX-Request-Id: h\r\n\r\n"); !strings.HasSuffix(got, "\r\n\r\n"+
		`{"type":"urn:oncegate:problem:bad-request","title":"Bad request","status":400,"detail":"The request is malformed.","instance":"h"}`+"\n") {
		t.Errorf("%q", got)
	}
}
