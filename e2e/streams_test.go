package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// An event reaches the client while the upstream is silent, piece by piece, whatever the framing.
func TestStreamsAreNotHeldBack(t *testing.T) {
	for name, c := range map[string]struct{ head, first, second, end string }{
		"chunked":  {"Transfer-Encoding: chunked\r\n", "9\r\ndata: 1\n\n\r\n", "9\r\ndata: 2\n\n\r\n", "0\r\n\r\n"},
		"sized":    {"Content-Length: 18\r\n", "data: 1\n\n", "data: 2\n\n", ""},
		"by close": {"", "data: 1\n\n", "data: 2\n\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			o, head := newOrigin(t), c.head
			next, told := make(chan string), make(chan struct{})
			o.at("/events", func(c net.Conn) bool {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"+head+"\r\n")
				close(told)
				for text := range next {
					_, _ = io.WriteString(c, text)
				}
				return false
			})
			g := edged(t, o, "", "")
			d := g.dialog().say("GET /events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n")
			<-told
			got, err := http.ReadResponse(d.in, nil) // the head alone, before any event
			if err != nil || got.Header.Get("Content-Type") != "text/event-stream" || got.Header.Get("Content-Encoding") != "" || got.Header.Get("Etag") != "" {
				t.Fatalf("%v %v", got, err)
			}
			event := make([]byte, 9)
			for i, text := range []string{c.first, c.second} {
				next <- text
				if _, err := io.ReadFull(got.Body, event); err != nil || string(event) != fmt.Sprintf("data: %d\n\n", i+1) {
					t.Fatalf("event %d: %q, %v", i+1, event, err)
				}
			}
			next <- c.end
			close(next)
			if rest, err := io.ReadAll(got.Body); err != nil || len(rest) > 0 {
				t.Errorf("%q, %v", rest, err)
			}
		})
	}
}

const silentStream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n"

// A client that leaves a silent stream, by closing (40) or by closing its half (41), is noticed within a second.
func TestStreamsEndWithTheirClient(t *testing.T) {
	for name, leave := range map[string]func(*net.TCPConn){
		"close": func(c *net.TCPConn) { _ = c.Close() },
		"reset": func(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() },
		"half":  func(c *net.TCPConn) { _ = c.CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			o := newOrigin(t)
			o.at("/events", o.pends("/events", silentStream))
			g := edged(t, o, "", "")
			d := g.dialog().say("GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
			d.head()
			d.gets("9\r\ndata: 1\n\n\r\n")
			leave(d.Conn.(*net.TCPConn))
			o.closedWithin(t, "/events", time.Second)
			g.eventually("nothing in flight", func() bool { return g.metric(`gateway_in_flight{route="all"}`) == "0" })
		})
	}
}

// An upstream that falls silent for longer than its limit is given up, and the client sees that the body is not whole.
func TestStreamsThatStandStill(t *testing.T) {
	o := newOrigin(t)
	o.at("/events", o.pends("/events", silentStream))
	g := edged(t, o, "", ", timeout: { idle_body: 1s }")
	d := g.dialog().say("GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
	got, err := http.ReadResponse(d.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	body, err := io.ReadAll(got.Body)
	if took := time.Since(began); err == nil || string(body) != "data: 1\n\n" || took > 3*time.Second || took < 500*time.Millisecond {
		t.Errorf("%q, %v after %v", body, err, took)
	}
	o.closedWithin(t, "/events", time.Second)
}

// A reader that takes nothing (43): the upstream is held back, and the connection ends after the limit for pauses.
func TestStreamsToASlowReader(t *testing.T) {
	sent, stopped := make(chan int64, 1), make(chan struct{})
	up := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		piece, n := make([]byte, 64<<10), int64(0)
		defer func() { sent <- n; close(stopped) }()
		for {
			if m, err := w.Write(piece); err != nil {
				return
			} else if n += int64(m); n > 1<<30 {
				return
			}
		}
	})
	g := prepare(t, fmt.Sprintf("upstreams: { up: { targets: [%q] } }\nroutes: [ { id: all, match: { path: /** }, auth: none, to: up } ]\n", up.url))
	g.replace("listen: {", "listen: { limits: { write_timeout: 1s },")
	g.start()
	t.Cleanup(g.kill)
	d := g.dialog().say("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	d.head()
	select {
	case <-stopped:
	case <-time.After(6 * time.Second):
		t.Fatal("the upstream still writes")
	}
	if n := <-sent; n > 64<<20 {
		t.Errorf("%d bytes were taken for a reader that takes none", n)
	}
	g.eventually("nothing in flight", func() bool { return g.metric(`gateway_in_flight{route="all"}`) == "0" })
}

// noProc ends a test that can't look at a process: skipped where there is no /proc, failed where the process is gone.
func noProc(t *testing.T, err error) {
	t.Helper()
	if runtime.GOOS == "linux" {
		t.Fatal(err)
	}
	t.Skip("no /proc")
}

// resident gives a process's memory in bytes: now, and the most it ever was.
func resident(t *testing.T, pid int) (now, peak int64) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		noProc(t, err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			now = kib << 10
		}
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			peak = kib << 10
		}
	}
	return now, peak
}

// A body is asked for only when the policies let it in: a refusal comes in place of 100.
func TestExpectAfterThePolicies(t *testing.T) {
	o := newOrigin(t)
	g := begin(t, fmt.Sprintf(`upstreams: { up: { targets: [%q] } }
rate_limits: { few: { by: all, rate: 1/h, burst: 1 } }
routes:
  - { id: shut, match: { path: /shut }, auth: { issuers: [main] }, to: up }
  - { id: small, match: { path: /small }, auth: none, body: 10B, to: up }
  - { id: few, match: { path: /few }, auth: none, rate_limits: [few], to: up }
  - { id: all, match: { path: /** }, auth: none, to: up }
`, o.url))
	g.want(200, "", "GET", "/few", "")
	for _, c := range []struct {
		path, framing string
		status        int
	}{
		{"/shut", "Content-Length: 5", 401}, {"/shut", "Transfer-Encoding: chunked", 401}, {"/small", "Content-Length: 11", 413}, {"/few", "Content-Length: 5", 429},
	} {
		before := o.count()
		first := g.dialog().say("POST " + c.path + " HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n" + c.framing + "\r\n\r\n").rest() // nobody sent the body: it closes
		if !strings.HasPrefix(first, fmt.Sprintf("HTTP/1.1 %d ", c.status)) || strings.Contains(first, "100 Continue") || o.count() != before {
			t.Errorf("%s %s: %.200q", c.path, c.framing, first)
		}
	}
	d := g.dialog().say("POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	if got := d.head(); got != "HTTP/1.1 100 Continue\r\n\r\n" {
		t.Errorf("%q", got)
	}
	if a := d.say("hello").hear("POST"); a.status != 200 || o.last().body != "hello" || strings.Contains(o.last().head, "Expect") {
		t.Errorf("%d; upstream saw %q", a.status, o.last())
	}
}

// Too large a body gets a 413 that arrives, also while the client is still sending.
func TestTooLargeIsHeard(t *testing.T) {
	o := newOrigin(t)
	g := begin(t, fmt.Sprintf("upstreams: { up: { targets: [%q] } }\nroutes: [ { id: all, match: { path: /** }, auth: none, to: up, body: 100KiB } ]\n", o.url))
	for _, framing := range []string{fmt.Sprintf("Content-Length: %d", 4<<20), "Transfer-Encoding: chunked"} {
		for range 20 {
			d := g.dialog()
			go func() {
				piece := strings.Repeat("x", 1<<10)
				if strings.HasPrefix(framing, "T") {
					piece = "400\r\n" + piece + "\r\n"
				}
				d.say("POST /x HTTP/1.1\r\nHost: a\r\n" + framing + "\r\n\r\n" + strings.Repeat(piece, 4<<10))
			}()
			if a := d.hear("POST"); a.status != 413 || a.kind() != "too-large" {
				t.Fatalf("%s: %d %s", framing, a.status, a.body)
			}
		}
	}
}

// Forms with parts go through as they are: no part, boundary, name or blank is touched.
func TestMultipartIsUntouched(t *testing.T) {
	o := newOrigin(t)
	g := edged(t, o, "", "")
	body := "preamble\r\n--b \t\r\ncontent-disposition: form-data; name=a; filename=\"\xc3\xa4.txt\"\r\nX-Odd:  two blanks\r\nContent-Type: text/plain\r\n\r\n\x00\xff\n--b\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\n\r\n--b--\r\nepilogue"
	big := strings.Replace(body, "two blanks", strings.Repeat("long ", 20<<10), 1)
	for _, text := range []string{body, big} {
		sum := sha256.Sum256([]byte(text))
		a, err := g.call("POST", "/x", text, "Content-Type", `multipart/form-data; boundary="b"; x=y`, "Digest", hex.EncodeToString(sum[:]))
		if seen := o.last(); err != nil || a.status != 200 || seen.body != text || !strings.Contains(seen.head, `boundary="b"; x=y`) {
			t.Errorf("%v %d: %d of %d bytes", err, a.status, len(seen.body), len(text))
		}
	}
}
