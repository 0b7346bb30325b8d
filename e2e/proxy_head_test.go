package e2e

import (
	"strings"
	"testing"
)

const ownTail = "X-Request-Id: ID\r\ntraceparent: 00-ID-SPAN-03\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: A.Example:8080\r\n\r\n"

// Order, case and repetition go upstream as they came; what docs/protocols.md lists is dropped, replaced or added.
func TestProxyRequestHead(t *testing.T) {
	o := newOrigin(t)
	g := edged(t, o, "", "")
	const host = "Host: A.Example:8080\r\n"
	for name, c := range map[string]struct{ in, head, body string }{
		"as sent": {"GET /x?a=%2F&&b HTTP/1.1\r\nuser-agent: me\r\nhOsT: A.Example:8080\r\nX-B: 1\r\nx-a:2 \r\nX-B: 3\r\nCOOKIE: a=1\r\nCookie: b=2\r\nEmpty:\r\nX-L: \xe9\r\nContent-Type: a\r\nContent-Type: b\r\n",
			"GET /x?a=%2F&&b HTTP/1.1\r\n" + host + "user-agent: me\r\nX-B: 1\r\nx-a: 2\r\nX-B: 3\r\nCOOKIE: a=1\r\nCookie: b=2\r\nEmpty: \r\nX-L: \xe9\r\nContent-Type: a\r\nContent-Type: b\r\n" + ownTail, ""},
		"hop by hop": {"GET /x HTTP/1.1\r\n" + host + "Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\nKeep-Alive: 1\r\nProxy-Connection: x\r\nProxy-Authorization: x\r\nTrailer: a\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\nA: b\r\n",
			"GET /x HTTP/1.1\r\n" + host + "A: b\r\n" + ownTail, ""},
		"not to be taken away": {"GET /x HTTP/1.1\r\n" + host + "Connection: X-Forwarded-For, Cookie, Host\r\nCookie: a\r\n", "GET /x HTTP/1.1\r\n" + host + "Cookie: a\r\n" + ownTail, ""},
		"forged": {"GET /x HTTP/1.1\r\n" + host + "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nForwarded: for=1\r\nX-Real-IP: 9.9.9.9\r\nX_Forwarded_For: 1\r\nContent_Length: 5\r\nA: b\r\n",
			"GET /x HTTP/1.1\r\n" + host + "A: b\r\n" + ownTail, ""},
		"credentials stay here": {"GET /x HTTP/1.1\r\n" + host + "Authorization: Basic Zm9v\r\n", "GET /x HTTP/1.1\r\n" + host + ownTail, ""},
		"empty body":            {"POST /x HTTP/1.1\r\n" + host + "Content-Length: 0\r\n", "POST /x HTTP/1.1\r\n" + host + "Content-Length: 0\r\n" + ownTail, ""},
		"no body":               {"POST /x HTTP/1.1\r\n" + host, "POST /x HTTP/1.1\r\n" + host + ownTail, ""},
		"from 1.0":              {"GET /x HTTP/1.0\r\n" + host, "GET /x HTTP/1.1\r\n" + host + ownTail, ""},
	} {
		conn := g.dialog().say(c.in + "\r\n" + c.body)
		if a := conn.hear("GET"); a.status != 200 {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		if got := settled(o.last().head); got != c.head {
			t.Errorf("%s:\n%q\nwanted\n%q", name, got, c.head)
		}
	}
	// HTTP/1.0 without a host: the target's.
	g.dialog().say("GET /x HTTP/1.0\r\n\r\n").hear("GET")
	if got := o.last().head; !strings.HasPrefix(got, "GET /x HTTP/1.1\r\nHost: "+strings.TrimPrefix(o.url, "http://")+"\r\nX-Request-Id: ") {
		t.Errorf("%q", got)
	}
}

func TestProxyRequestBodies(t *testing.T) {
	o := newOrigin(t)
	g := edged(t, o, "", "")
	long := strings.Repeat("0123456789abcdef", 4<<10)
	for name, c := range map[string]struct{ fields, in, out string }{
		"sized":   {"Content-Length: 5\r\n", "hello", "hello"},
		"long":    {"Content-Length: 65536\r\n", long, long},
		"chunked": {"Transfer-Encoding: chunked\r\n", "3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n", "abcde"},
	} {
		conn := g.dialog().say("POST /x HTTP/1.1\r\nHost: a\r\n" + c.fields + "\r\n" + c.in)
		if a := conn.hear("POST"); a.status != 200 {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		got := o.last()
		body := got.body
		if strings.HasPrefix(c.fields, "Transfer") {
			_, _, body = unchunk(t, body)
		}
		if body != c.out || strings.Count(got.head, strings.TrimSpace(c.fields)) != 1 {
			t.Errorf("%s: %q, %d bytes of body", name, got.head, len(body))
		}
	}
	// GET with a body keeps it.
	g.dialog().say("GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").hear("GET")
	if got := o.last(); got.body != "abc" {
		t.Errorf("%q", got.body)
	}
}

// unchunk takes well-formed chunks apart.
func unchunk(t *testing.T, text string) (sizes []string, last bool, content string) {
	t.Helper()
	for text != "" {
		size, rest, ok := strings.Cut(text, "\r\n")
		n := 0
		for _, c := range size {
			n = n<<4 | strings.IndexRune("0123456789abcdef", c)
		}
		if !ok || n < 0 || len(rest) < n+2 {
			t.Fatalf("broken chunk %q", text)
		}
		content += rest[:n]
		sizes, last, text = append(sizes, size), n == 0, rest[n+2:]
	}
	return sizes, last, content
}

func TestProxyRequestID(t *testing.T) {
	o := newOrigin(t)
	g := edged(t, o, "", "")
	for name, c := range map[string]struct {
		fields string
		kept   string
	}{
		"visible": {"X-Request-Id: \"<>~!:,\r\n", "\"<>~!:,"}, "one": {"x-request-id: a\r\n", "a"}, "128": {"X-Request-Id: " + strings.Repeat("a", 128) + "\r\n", strings.Repeat("a", 128)},
		"129": {"X-Request-Id: " + strings.Repeat("a", 129) + "\r\n", ""}, "blank": {"X-Request-Id: a b\r\n", ""}, "empty": {"X-Request-Id:\r\n", ""},
		"not ASCII": {"X-Request-Id: \xc3\xa9\r\n", ""}, "none": {"", ""}, "two": {"X-Request-Id: a\r\nX-Request-Id: b\r\n", ""}, "underscores": {"X_Request_Id: a\r\n", ""},
	} {
		a := g.dialog().say("GET /x HTTP/1.1\r\nHost: a\r\n" + c.fields + "\r\n").hear("GET")
		id := a.header.Get("X-Request-Id")
		if c.kept != "" && id != c.kept || c.kept == "" && settled(id) != "ID" || len(a.header.Values("X-Request-Id")) != 1 {
			t.Errorf("%s: %q", name, a.header.Values("X-Request-Id"))
		}
		if head := o.last().head; strings.Count(head, "X-Request-Id: "+id+"\r\n") != 1 || strings.Count(strings.ToLower(head), "request-id:") != 1 {
			t.Errorf("%s: upstream %q", name, head)
		}
		g.lineOf(id)
	}
	o.at("/own", gives("HTTP/1.1 200 OK\r\nX-Request-Id: theirs\r\nContent-Length: 0\r\n\r\n"))
	if a := g.dialog().say("GET /own HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\n\r\n").hear("GET"); a.header.Get("X-Request-Id") != "mine" || len(a.header.Values("X-Request-Id")) != 1 {
		t.Errorf("%v", a.header)
	}
}

func TestProxyTrace(t *testing.T) {
	o := newOrigin(t)
	g := edged(t, o, "", "")
	id, span := strings.Repeat("4b", 16), "00f067aa0ba902b7"
	for fields, flags := range map[string]string{
		"traceparent: 00-" + id + "-" + span + "-01\r\ntracestate: a=b\r\n":   "01",
		"Traceparent: 00-" + id + "-" + span + "-00\r\n":                      "00",
		"traceparent: cc-" + id + "-" + span + "-01-what\r\n":                 "01",
		"traceparent: 00-" + strings.ToUpper(id) + "-" + span + "-01\r\n":     "",
		"traceparent: 00-" + strings.Repeat("0", 32) + "-" + span + "-01\r\n": "",
		"traceparent: 00-" + id + "-" + strings.Repeat("0", 16) + "-01\r\n":   "",
		"traceparent: ff-" + id + "-" + span + "-01\r\ntracestate: a=b\r\n":   "",
		"traceparent: nonsense\r\n":                                           "", "": "",
	} {
		a := g.dialog().say("GET /x HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n").hear("GET")
		head := o.last().head
		_, sent, _ := strings.Cut(head, "\r\ntraceparent: ")
		sent, _, _ = strings.Cut(sent, "\r\n")
		part := strings.Split(sent, "-")
		if len(part) != 4 || part[0] != "00" || part[2] == span || settled("00-"+part[1]+"-"+part[2]+"-00") != "00-ID-SPAN-00" {
			t.Fatalf("%q: %q", fields, sent)
		}
		continued := flags != ""
		if continued != (part[1] == id) || continued && part[3] != flags || strings.Contains(head, "\r\ntracestate: a=b\r\n") != (continued && strings.Contains(fields, "state")) {
			t.Errorf("%q: %q", fields, head)
		}
		if line := g.lineOf(a.header.Get("X-Request-Id")); line["trace_id"] != part[1] {
			t.Errorf("%q: %v in the log, %s upstream", fields, line["trace_id"], part[1])
		}
	}
}

// Only trusted proxies are believed, from the right, and the gateway adds who it was connected to.
func TestProxyForwarded(t *testing.T) {
	o := newOrigin(t)
	g := edged(t, o, "trusted_proxies: [127.0.0.2, 10.0.0.0/8]", "")
	for _, c := range []struct{ from, fields, chain, proto, host, client string }{
		{"127.0.0.1", "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n", "127.0.0.1", "http", "a:1", "127.0.0.1"},
		{"127.0.0.2", "", "127.0.0.2", "http", "a:1", "127.0.0.2"},
		{"127.0.0.2", "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.test:444\r\nForwarded: for=9\r\nX-Real-IP: 9.9.9.9\r\n",
			"203.0.113.7, 127.0.0.2", "https", "shop.test:444", "203.0.113.7"},
		{"127.0.0.2", "X-Forwarded-For: 9.9.9.9, 203.0.113.7\r\nX-Forwarded-For: 10.1.2.3\r\n", "203.0.113.7, 10.1.2.3, 127.0.0.2", "http", "a:1", "203.0.113.7"},
		{"127.0.0.2", "X-Forwarded-For: nonsense, 203.0.113.7\r\nX-Forwarded-Proto: gopher\r\nX-Forwarded-Host: u@evil\r\n", "203.0.113.7, 127.0.0.2", "http", "a:1", "203.0.113.7"},
	} {
		a := g.dialogFrom(c.from).say("GET /x HTTP/1.1\r\nHost: a:1\r\n" + c.fields + "\r\n").hear("GET")
		head := o.last().head
		if !strings.HasSuffix(head, "\r\nX-Forwarded-For: "+c.chain+"\r\nX-Forwarded-Proto: "+c.proto+"\r\nX-Forwarded-Host: "+c.host+"\r\n\r\n") ||
			strings.Count(strings.ToLower(head), "forwarded") != 3 || strings.Contains(head, "9.9.9.9") || !strings.Contains(head, "\r\nHost: a:1\r\n") {
			t.Errorf("%+v: %q", c, head)
		}
		if line := g.lineOf(a.header.Get("X-Request-Id")); line["client_ip"] != c.client || !strings.HasPrefix(line["peer"].(string), c.from+":") {
			t.Errorf("%+v: %v", c, line)
		}
	}
}
