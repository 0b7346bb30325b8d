package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// origin is an upstream on bare sockets that keeps what it read, byte for byte, and takes its turn by the request's path.
type origin struct {
	ln  net.Listener
	url string

	mu    sync.Mutex
	seen  []arrival
	turns map[string]turn
	ended chan string // the path of each request whose connection the gateway closed
}

// arrival is a request as its bytes came; the body is what followed, chunk framing included.
type arrival struct{ head, body string }

// turn answers; false ends the connection. The body is read before unless the path begins with /early.
type turn func(c net.Conn) bool

func newOrigin(t *testing.T) *origin {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return originOn(t, ln, "http://"+ln.Addr().String())
}

func originOn(t *testing.T, ln net.Listener, url string) *origin {
	o := &origin{ln: ln, url: url, turns: map[string]turn{}, ended: make(chan string, 1000)}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
			go o.serve(c)
		}
	}()
	return o
}

func (o *origin) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		var head strings.Builder
		for !strings.HasSuffix(head.String(), "\r\n\r\n") {
			b, err := in.ReadByte()
			if err != nil {
				return
			}
			head.WriteByte(b)
		}
		path := strings.Fields(head.String())[1]
		body, err := "", error(nil)
		if !strings.HasPrefix(path, "/early") {
			body, err = bodyOf(in, head.String())
		}
		o.mu.Lock()
		o.seen = append(o.seen, arrival{head.String(), body})
		do := o.turns[path]
		o.mu.Unlock()
		if err != nil {
			o.ended <- path
			return
		}
		if do == nil {
			do = gives("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
		if !do(through{c, in}) {
			return
		}
	}
}

// through reads what was read ahead first.
type through struct {
	net.Conn
	in *bufio.Reader
}

func (t through) Read(p []byte) (int, error) { return t.in.Read(p) }

func bodyOf(in *bufio.Reader, head string) (string, error) {
	if m := regexp.MustCompile(`(?im)^content-length: *(\d+)`).FindStringSubmatch(head); m != nil {
		n, _ := strconv.Atoi(m[1])
		b := make([]byte, n)
		n, err := io.ReadFull(in, b)
		return string(b[:n]), err
	}
	if !regexp.MustCompile(`(?im)^transfer-encoding:`).MatchString(head) {
		return "", nil
	}
	var body strings.Builder
	for !strings.HasSuffix(body.String(), "0\r\n\r\n") {
		b, err := in.ReadByte()
		if err != nil {
			return body.String(), err
		}
		body.WriteByte(b)
	}
	return body.String(), nil
}

// gives answers with these bytes.
func gives(text string) turn {
	return func(c net.Conn) bool { _, err := io.WriteString(c, text); return err == nil }
}

// cuts answers with these bytes and closes.
func cuts(text string) turn {
	return func(c net.Conn) bool { _, _ = io.WriteString(c, text); return false }
}

// pends says text, then nothing more, and tells when the gateway closes.
func (o *origin) pends(path, text string) turn {
	return func(c net.Conn) bool {
		_, _ = io.WriteString(c, text)
		_, _ = io.Copy(io.Discard, c)
		o.ended <- path
		return false
	}
}

func (o *origin) at(path string, do turn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.turns[path] = do
}

func (o *origin) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.seen)
}

func (o *origin) last() arrival {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.seen) == 0 {
		return arrival{}
	}
	return o.seen[len(o.seen)-1]
}

// closedWithin wants the gateway to close the connection of a request for path.
func (o *origin) closedWithin(t *testing.T, path string, limit time.Duration) {
	t.Helper()
	select {
	case got := <-o.ended:
		if got != path {
			t.Errorf("closed for %s, wanted %s", got, path)
		}
	case <-time.After(limit):
		t.Errorf("%s: the upstream's connection stands after %v", path, limit)
	}
}

// dialog is a client on a bare socket.
type dialog struct {
	net.Conn
	t  *testing.T
	in *bufio.Reader
}

func (g *gateway) dialog() *dialog { return g.dialogFrom("") }

func (g *gateway) dialogFrom(address string) *dialog {
	g.t.Helper()
	d := net.Dialer{}
	if address != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(address)}
	}
	c, err := d.Dial("tcp", g.address)
	if err != nil {
		g.t.Fatal(err)
	}
	return dialogOn(g.t, c)
}

func dialogOn(t *testing.T, c net.Conn) *dialog {
	_ = c.SetDeadline(time.Now().Add(8 * time.Second))
	t.Cleanup(func() { _ = c.Close() })
	return &dialog{c, t, bufio.NewReader(c)}
}

func (d *dialog) say(text string) *dialog {
	_, _ = io.WriteString(d, text) // who is refused early may not take it all
	return d
}

// hear reads one answer.
func (d *dialog) hear(method string) answer {
	d.t.Helper()
	got, err := http.ReadResponse(d.in, &http.Request{Method: method})
	if err != nil {
		d.t.Fatalf("no answer: %v", err)
	}
	body, err := io.ReadAll(got.Body)
	if err != nil {
		d.t.Fatalf("%d: %v", got.StatusCode, err)
	}
	return answer{got.StatusCode, got.Header, string(body)}
}

// rest is all that comes until the gateway closes.
func (d *dialog) rest() string {
	d.t.Helper()
	b, err := io.ReadAll(d.in)
	if err != nil && !strings.Contains(err.Error(), "reset") {
		d.t.Errorf("after %q: %v", b, err)
	}
	return string(b)
}

// exactly sends a request whose connection ends with its answer, and gives that with ids and dates of ours replaced.
func (g *gateway) exactly(text string) string {
	g.t.Helper()
	return settled(g.dialog().say(text).rest())
}

var unsettled = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`[0-9a-f]{32}`), "ID"},
	{regexp.MustCompile(`Date: \w{3}, \d\d \w{3} 20[2-9]\d \d\d:\d\d:\d\d GMT`), "Date: NOW"},
	{regexp.MustCompile(`00-ID-[0-9a-f]{16}-(\d\d)`), "00-ID-SPAN-$1"},
}

func settled(text string) string {
	for _, u := range unsettled {
		text = u.what.ReplaceAllString(text, u.with)
	}
	return text
}

// accessLines waits for n access lines and gives all there are.
func (g *gateway) accessLines(n int) (lines []map[string]any) {
	g.t.Helper()
	g.eventually(fmt.Sprintf("%d access lines", n), func() bool {
		lines = nil
		for _, text := range strings.Split(g.log.String(), "\n") {
			line := map[string]any{}
			if json.Unmarshal([]byte(text), &line) == nil && line["msg"] == "request" {
				lines = append(lines, line)
			}
		}
		return len(lines) >= n
	})
	return lines
}

// lineOf waits for the access line of a request id.
func (g *gateway) lineOf(id string) map[string]any {
	g.t.Helper()
	var found map[string]any
	g.eventually("the access line of "+id, func() bool {
		for _, line := range g.accessLines(0) {
			if line["request_id"] == id {
				found = line
			}
		}
		return found != nil
	})
	return found
}

// edged is a gateway in front of o, with listen and upstream settings added.
func edged(t *testing.T, o *origin, listen, upstream string) *gateway {
	t.Helper()
	g := prepare(t, fmt.Sprintf("upstreams: { up: { targets: [%q] %s } }\nroutes: [ { id: all, match: { path: /** }, auth: none, to: up } ]\n", o.url, upstream))
	if listen != "" {
		g.replace("listen: {", "listen: { "+listen+",")
	}
	g.start()
	t.Cleanup(g.kill)
	return g
}
