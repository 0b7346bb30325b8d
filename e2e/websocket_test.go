package e2e

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	nonce    = "dGhlIHNhbXBsZSBub25jZQ=="
	asksSock = "Host: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + nonce + "\r\n"
	handed   = "GET /ws HTTP/1.1\r\n" + asksSock
)

func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// switches answers 101 and gives the connection to then.
func switches(then turn) turn {
	return func(c net.Conn) bool {
		_, _ = io.WriteString(c, "HTTP/1.1 101 Fine\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: "+acceptOf(nonce)+"\r\nSec-WebSocket-Protocol: chat\r\nX-Up: 1\r\n\r\n")
		return then(c)
	}
}

// echoes sends back what comes until the client's side ends.
func echoes(c net.Conn) bool { _, _ = io.Copy(c, c); return false }

// socketed is a gateway in front of o whose route allows WebSockets.
func socketed(t *testing.T, o *origin, websocket, route string) *gateway {
	t.Helper()
	return begin(t, fmt.Sprintf("upstreams: { up: { targets: [%q], connections: { max: 20000 } } }\nroutes:\n  - { id: all, match: { path: /** }, auth: none, to: up, websocket: %s %s }\n", o.url, websocket, route))
}

// opens wants the handshake to succeed.
func (g *gateway) opens(head string) *dialog {
	g.t.Helper()
	d := g.dialog().say(head)
	if got := d.head(); !strings.HasPrefix(got, "HTTP/1.1 101 Switching Protocols\r\n") {
		g.t.Fatalf("no upgrade: %q; log: %s", got, g.log)
	}
	return d
}

func (d *dialog) head() string {
	d.t.Helper()
	var b strings.Builder
	for !strings.HasSuffix(b.String(), "\r\n\r\n") {
		c, err := d.in.ReadByte()
		if err != nil {
			d.t.Fatalf("no head: %v after %q", err, b.String())
		}
		b.WriteByte(c)
	}
	return b.String()
}

// gets wants exactly these bytes.
func (d *dialog) gets(text string) *dialog {
	d.t.Helper()
	b := make([]byte, len(text))
	if _, err := io.ReadFull(d.in, b); err != nil || string(b) != text {
		d.t.Fatalf("%q, %v, wanted %q", b, err, text)
	}
	return d
}

const (
	hello   = "\x81\x85\x00\x00\x00\x00hello"    // masked, from a client
	helloUp = "\x81\x05hello"                    // from a server
	away    = "\x88\x02\x03\xe9"                 // 1001
	awayUp  = "\x88\x82\x00\x00\x00\x00\x03\xe9" // the same, masked
	expired = "\x88\x02\x03\xf0"                 // 1008
)

// parted: a client of an echo got this Close frame, or the echo of the one that went upstream, which may be quicker.
func parted(rest, frame string) bool {
	echo := frame[:1] + "\x82\x00\x00\x00\x00" + frame[2:]
	return rest == frame || rest == echo
}

func TestWebSocketIsPassedOn(t *testing.T) {
	o := newOrigin(t)
	o.at("/ws", switches(echoes))
	g := socketed(t, o, "true", "")
	d := g.dialog().say(handed + "Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: chat, x\r\nX-Request-Id: ws-1\r\n\r\n" + hello) // early: passed on after the 101
	got := d.head()
	for _, want := range []string{"HTTP/1.1 101 Switching Protocols\r\n", "\r\nConnection: Upgrade\r\n", "\r\nUpgrade: websocket\r\n", "\r\nSec-WebSocket-Accept: " + acceptOf(nonce) + "\r\n", "\r\nSec-WebSocket-Protocol: chat\r\n", "\r\nX-Up: 1\r\n", "\r\nX-Request-Id: ws-1\r\n"} {
		if strings.Count(got, want) != 1 {
			t.Errorf("%q lacks %q", got, want)
		}
	}
	if strings.Contains(got, "Content-Length") {
		t.Errorf("a 101 with a length: %q", got)
	}
	d.gets(hello)
	if seen := o.last().head; !strings.Contains(seen, "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n") || !strings.Contains(seen, "Sec-WebSocket-Key: "+nonce) || !strings.Contains(seen, "Sec-WebSocket-Extensions: permessage-deflate") {
		t.Errorf("upstream saw %q", seen)
	}
	if n := g.metric(`gateway_websockets{route="all"}`); n != "1" {
		t.Errorf("gauge %q", n)
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // 1 MiB, more than any buffer
	go func() { _, _ = d.Write(big) }()
	d.gets(string(big))
	_ = d.Conn.(*net.TCPConn).CloseWrite() // half-close: the upstream sees it and ends
	if rest := d.rest(); rest != "" {
		t.Errorf("%q after the end", rest)
	}
	line := g.lineOf("ws-1")
	if line["status"] != 101.0 || line["bytes_in"] != float64(len(big)+len(hello)) || line["bytes_out"] != line["bytes_in"] {
		t.Errorf("line %v", line)
	}
	if n := g.metric(`gateway_websockets{route="all"}`); n != "0" {
		t.Errorf("gauge %q", n)
	}
	if n := g.metric(`gateway_in_flight{route="all"}`); n != "0" {
		t.Errorf("in flight %q", n)
	}
}

func TestWebSocketHalfCloseByTheUpstream(t *testing.T) {
	o := newOrigin(t)
	got := make(chan string, 1)
	o.at("/ws", switches(func(c net.Conn) bool {
		_, _ = io.WriteString(c, helloUp)
		_ = c.(through).Conn.(*net.TCPConn).CloseWrite()
		b, _ := io.ReadAll(c)
		got <- string(b)
		return false
	}))
	d := socketed(t, o, "true", "").opens(handed + "\r\n")
	d.gets(helloUp)
	if _, err := d.in.ReadByte(); err != io.EOF {
		t.Fatalf("%v, wanted the end", err)
	}
	d.say(hello)
	_ = d.Close()
	select {
	case b := <-got:
		if b != hello {
			t.Errorf("after the half-close %q came", b)
		}
	case <-time.After(5 * time.Second):
		t.Error("the client's end did not reach the upstream")
	}
}

// What is not a right 101 to what was asked: 502 for a wrong switch, the upstream's own answer for a refusal, and nothing stays.
func TestWebSocketHandshakesThatFail(t *testing.T) {
	o := newOrigin(t)
	g := socketed(t, o, "true", "")
	key := "Sec-WebSocket-Accept: " + acceptOf(nonce) + "\r\n"
	for name, c := range map[string]struct {
		answer string
		status int
		body   string
	}{
		"426 with Upgrade (35)": {"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\nContent-Length: 3\r\n\r\nold", 426, "old"},
		"200 with Upgrade (35)": {"HTTP/1.1 200 OK\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 2\r\n\r\nok", 200, "ok"},
		"other protocol (36)":   {"HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: upgrade\r\n" + key + "\r\n", 502, ""},
		"two protocols (36)":    {"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nUpgrade: h2c\r\nConnection: upgrade\r\n" + key + "\r\n", 502, ""},
		"no Connection (36)":    {"HTTP/1.1 101 X\r\nUpgrade: websocket\r\n" + key + "\r\n", 502, ""},
		"no Upgrade (36)":       {"HTTP/1.1 101 X\r\nConnection: upgrade\r\n" + key + "\r\n", 502, ""},
		"no Accept":             {"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", 502, ""},
		"wrong Accept":          {"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: " + acceptOf("other") + "\r\n\r\n", 502, ""},
		"two Accepts":           {"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\n" + key + key + "\r\n", 502, ""},
		"101 with a body":       {"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 2\r\n" + key + "\r\nab", 502, ""},
		"101 of HTTP/1.0":       {"HTTP/1.0 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\n" + key + "\r\n", 502, ""},
		"refused 404 (37)":      {"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope", 404, "nope"},
		"refused, chunked (37)": {"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nnope\r\n0\r\n\r\n", 403, "nope"},
		"upstream closes":       {"", 502, ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := "/" + strings.Map(func(r rune) rune {
				if r < 'a' || r > 'z' {
					return -1
				}
				return r
			}, strings.ToLower(name))
			o.at(path, cuts(c.answer))
			if c.status < 500 {
				o.at(path, o.pends(path, c.answer)) // the connection is closed by the gateway: it is nobody else's
			}
			d := g.dialog().say("GET " + path + " HTTP/1.1\r\n" + asksSock + "\r\n")
			a := d.hear("GET")
			if a.status != c.status || c.body != "" && a.body != c.body {
				t.Fatalf("%d %q", a.status, a.body)
			}
			if a.header.Get("Upgrade") != "" || strings.Contains(a.header.Get("Connection"), "pgrade") {
				t.Errorf("hop fields passed on: %v", a.header)
			}
			if c.status < 500 {
				o.closedWithin(t, path, 2*time.Second)
			}
			if d.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").hear("GET").status != 200 { // the client's stays
				t.Error("the connection is of no more use")
			}
		})
	}
	g.eventually("everything is given back", func() bool {
		return g.metric(`gateway_in_flight{route="all"}`) == "0" && (g.metric(`gateway_websockets{route="all"}`) == "" || g.metric(`gateway_websockets{route="all"}`) == "0")
	})
}

// Requests that are no handshakes, or are not allowed to be: the upstream sees an ordinary request, or none.
func TestWebSocketIsNotOfferedUnasked(t *testing.T) {
	o := newOrigin(t)
	g := begin(t, fmt.Sprintf(`upstreams: { up: { targets: [%q] } }
routes:
  - { id: off, match: { path: /off/** }, auth: none, to: up }
  - { id: shut, match: { path: /shut/** }, auth: { issuers: [main] }, to: up, websocket: true }
  - { id: pages, match: { path: /pages/** }, auth: none, to: up, websocket: true, cors: { origins: ["https://app.test"] } }
  - { id: all, match: { path: /** }, auth: none, to: up, websocket: true }
`, o.url))
	sock := strings.TrimPrefix(asksSock, "Host: a\r\n")
	for name, c := range map[string]struct {
		in     string
		status int
		passed bool
	}{
		"route without websocket": {"GET /off/x HTTP/1.1\r\n" + asksSock + "\r\n", 200, true},
		"other protocol":          {"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 200, true},
		"two protocols":           {"GET /x HTTP/1.1\r\n" + strings.Replace(asksSock, "Upgrade: websocket", "Upgrade: websocket, h2c", 1) + "\r\n", 200, true},
		"two Upgrade fields":      {"GET /x HTTP/1.1\r\n" + asksSock + "Upgrade: h2c\r\n\r\n", 200, true},
		"no Connection":           {"GET /x HTTP/1.1\r\n" + strings.Replace(asksSock, "keep-alive, Upgrade", "keep-alive", 1) + "\r\n", 200, true},
		"POST":                    {"POST /x HTTP/1.1\r\n" + asksSock + "Content-Length: 0\r\n\r\n", 200, true},
		"with a body":             {"GET /x HTTP/1.1\r\n" + asksSock + "Content-Length: 2\r\n\r\nab", 200, true},
		"HTTP/1.0":                {"GET /x HTTP/1.0\r\n" + asksSock + "\r\n", 200, true},
		"no key":                  {"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 400, false},
		"short key":               {"GET /x HTTP/1.1\r\n" + strings.Replace(asksSock, nonce, "dGhl", 1) + "\r\n", 400, false},
		"two keys":                {"GET /x HTTP/1.1\r\n" + asksSock + "Sec-WebSocket-Key: " + nonce + "\r\n\r\n", 400, false},
		"the key nominated":       {"GET /x HTTP/1.1\r\n" + strings.Replace(asksSock, "keep-alive,", "Sec-WebSocket-Key,", 1) + "\r\n", 400, false},
		"no token":                {"GET /shut/x HTTP/1.1\r\n" + asksSock + "\r\n", 401, false},
		"foreign page":            {"GET /pages/x HTTP/1.1\r\n" + asksSock + "Origin: https://evil.test\r\n\r\n", 403, false},
		"null page":               {"GET /pages/x HTTP/1.1\r\n" + asksSock + "Origin: null\r\n\r\n", 403, false},
		"two origins":             {"GET /pages/x HTTP/1.1\r\n" + asksSock + "Origin: http://a\r\nOrigin: https://app.test\r\n\r\n", 403, false},
		"an allowed page":         {"GET /pages/x HTTP/1.1\r\n" + asksSock + "Origin: https://app.test\r\n\r\n", 200, true},
		"its own page":            {"GET /pages/x HTTP/1.1\r\nHost: Api.test:8080\r\n" + sock + "Origin: http://api.test:8080\r\n\r\n", 200, true},
		"no page":                 {"GET /pages/x HTTP/1.1\r\n" + asksSock + "\r\n", 200, true},
	} {
		before := o.count()
		a := g.dialog().say(c.in).hear("GET")
		if a.status != c.status || (o.count() > before) != c.passed {
			t.Errorf("%s: %d %s, %d upstream", name, a.status, a.body, o.count()-before)
			continue
		}
		granted := c.passed && (strings.HasPrefix(c.in, "GET /pages"))
		if c.passed && strings.Contains(o.last().head, "Upgrade: websocket") != granted {
			t.Errorf("%s: upstream saw %q", name, o.last().head)
		}
	}
}

func TestWebSocketEnds(t *testing.T) {
	for name, c := range map[string]struct {
		websocket   string
		partial, up string
		sees        string
	}{
		"idle":              {"{ idle: 1s }", "", awayUp, away},
		"longest life":      {"{ max: 1s }", "", awayUp, away},
		"in the mid of one": {"{ max: 1s }", "\x81\x85\x00\x00", "", away}, // no Close frame may stand there: the end without a word
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOrigin(t)
			got := make(chan string, 1)
			o.at("/ws", switches(func(c net.Conn) bool {
				b, _ := io.ReadAll(c)
				got <- string(b)
				return false
			}))
			d := socketed(t, o, c.websocket, "").opens(handed + "\r\n").say(c.partial)
			if rest := d.rest(); rest != c.sees {
				t.Errorf("the client got %q", rest)
			}
			if b := <-got; b != c.partial+c.up {
				t.Errorf("the upstream got %q", b)
			}
		})
	}
}

func TestWebSocketEndsWithItsToken(t *testing.T) {
	t.Parallel()
	o := newOrigin(t)
	o.at("/ws", switches(echoes))
	g := begin(t, fmt.Sprintf(`upstreams: { up: { targets: [%q] } }
routes:
  - { id: keep, match: { path: /ws, headers: { X-Keep: "1" } }, auth: { issuers: [main] }, to: up, websocket: { on_token_end: keep } }
  - { id: all, match: { path: /** }, auth: { issuers: [main] }, to: up, websocket: true }
`, o.url))
	token := "Authorization: " + g.token("-ttl", "3s") + "\r\n"
	kept := g.opens(handed + token + "X-Keep: 1\r\n\r\n")
	d := g.opens(handed + token + "\r\n").say(hello).gets(hello)
	if rest := d.rest(); !parted(rest, expired) {
		t.Errorf("at its end %q", rest)
	}
	kept.say(hello).gets(hello)
}

// A reload, also one that takes the route and the target away, leaves open connections alone; SIGTERM ends them with 1001.
func TestWebSocketOverReloadsAndStop(t *testing.T) {
	t.Parallel()
	o, other := newOrigin(t), newOrigin(t)
	o.at("/ws", switches(echoes))
	g := socketed(t, o, "true", "")
	g.replace("timeout: 5s", "timeout: 4s")
	d := g.opens(handed + "\r\n")
	for i := range 3 {
		before := g.metric(`gateway_config_reloads_total{result="success"}`)
		g.write(fmt.Sprintf("upstreams: { else%d: { targets: [%q] } }\nroutes: [ { id: only, match: { path: /none }, auth: none, to: else%d } ]\n", i, other.url, i))
		g.signal(syscall.SIGHUP)
		g.eventually("a reload", func() bool { return g.metric(`gateway_config_reloads_total{result="success"}`) != before })
		d.say(hello).gets(hello)
	}
	if a := g.dialog().say(handed + "\r\n").hear("GET"); a.status != 404 {
		t.Errorf("a new one: %d", a.status)
	}
	began := time.Now()
	g.signal(syscall.SIGTERM)
	d.say(hello).gets(hello)
	rest := d.rest()
	if took := time.Since(began); !parted(rest, away) || took < time.Second {
		t.Errorf("%q after %v", rest, took)
	}
	if code := g.exit(); code != 0 {
		t.Errorf("exit code %d: %s", code, g.log)
	}
}

// The seats of limits and the places of bulkheads are held as long as the connection lives.
func TestWebSocketHoldsItsPlace(t *testing.T) {
	o := newOrigin(t)
	o.at("/ws", switches(echoes))
	g := begin(t, fmt.Sprintf("upstreams: { up: { targets: [%q], bulkhead: { in_flight: 1 } } }\nroutes: [ { id: all, match: { path: /** }, auth: none, to: up, websocket: true } ]\n", o.url))
	d := g.opens(handed + "\r\n")
	if a := g.dialog().say(handed + "\r\n").hear("GET"); a.status != 503 {
		t.Errorf("%d while the place is taken", a.status)
	}
	_ = d.Close()
	g.eventually("the place is free", func() bool {
		c := g.dialog().say(handed + "\r\n")
		return strings.HasPrefix(c.head(), "HTTP/1.1 101")
	})
}
