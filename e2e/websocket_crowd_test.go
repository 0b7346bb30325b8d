package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// sockets is how many connections are held: 300, or what ONCEGATE_WEBSOCKETS says. Each takes two descriptors here and two in
// the gateway.
func sockets(t *testing.T) int {
	text := os.Getenv("ONCEGATE_WEBSOCKETS")
	if text == "" {
		return 300
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Idle connections cost little, and all of them live through a hundred reloads.
func TestWebSocketCrowd(t *testing.T) {
	n, reloads := sockets(t), 100
	o := newOrigin(t)
	o.at("/ws", switches(func(c net.Conn) bool {
		b := make([]byte, 16)
		for {
			m, err := c.Read(b)
			if err != nil {
				return false
			}
			_, _ = c.Write(b[:m])
		}
	}))
	document := func(i int) string {
		return fmt.Sprintf("upstreams: { up: { targets: [%q], connections: { max: 20000 } } }\nroutes: [ { id: all, match: { path: /** }, auth: none, to: up, timeout: %ds, websocket: { idle: 1h } } ]\n", o.url, 10+i)
	}
	g := begin(t, document(0))
	warm := g.opens(handed + "\r\n")
	before, _ := resident(t, g.cmd.Process.Pid)
	conns := make([]net.Conn, n)
	var group sync.WaitGroup
	next, failed := atomic.Int64{}, atomic.Int64{}
	for range 16 {
		group.Go(func() {
			for i := next.Add(1) - 1; int(i) < n; i = next.Add(1) - 1 {
				c, err := net.Dial("tcp", g.address)
				if err != nil {
					failed.Add(1)
					continue
				}
				conns[i] = c
				_ = c.SetDeadline(time.Now().Add(30 * time.Second))
				_, _ = io.WriteString(c, handed+"\r\n")
				in, line := bufio.NewReaderSize(c, 512), ""
				if line, err = in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 101") {
					failed.Add(1)
				}
				for err == nil && line != "\r\n" {
					line, err = in.ReadString('\n')
				}
			}
		})
	}
	group.Wait()
	defer func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	}()
	if failed.Load() > 0 {
		t.Fatalf("%d of %d did not open; log: %.2000s", failed.Load(), n, g.log)
	}
	each := int64(0)
	g.eventually("little memory for each", func() bool { // what opening took is given back by and by
		after, _ := resident(t, g.cmd.Process.Pid)
		each = (after - before) / int64(n)
		return n < 1000 || each <= 24<<10
	})
	t.Logf("%d connections: %d KiB each; gauge %s", n, each>>10, g.metric(`gateway_websockets{route="all"}`))
	for i := range reloads {
		before := g.metric(`gateway_config_reloads_total{result="success"}`)
		g.write(document(i + 1))
		g.signal(syscall.SIGHUP)
		g.eventually("a reload", func() bool { return g.metric(`gateway_config_reloads_total{result="success"}`) != before })
	}
	for i, c := range conns {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(c, hello)
		b := make([]byte, len(hello))
		if _, err := io.ReadFull(c, b); err != nil || string(b) != hello {
			t.Fatalf("connection %d after the reloads: %q, %v", i, b, err)
		}
	}
	later, _ := resident(t, g.cmd.Process.Pid)
	each = (later - before) / int64(n)
	t.Logf("after %d reloads and a word on each: %d KiB each", reloads, each>>10)
	if n >= 1000 && each > 24<<10 {
		t.Errorf("%d bytes each after %d reloads", each, reloads)
	}
	warm.say(hello).gets(hello)
	runtime.KeepAlive(conns)
}

// WebSocket over TLS on both sides, with an end that reaches the other as an end.
func TestWebSocketOverTLS(t *testing.T) {
	t.Parallel()
	cert, key := pair(t, t.TempDir(), "localhost")
	loaded, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{loaded}})
	if err != nil {
		t.Fatal(err)
	}
	o := originOn(t, ln, "https://"+ln.Addr().String())
	o.at("/ws", switches(echoes))
	g := prepare(t, fmt.Sprintf("upstreams: { up: { targets: [%q], tls: { ca: %q, server_name: localhost } } }\nroutes: [ { id: all, match: { path: /** }, auth: none, to: up, websocket: { max: 3s } } ]\n", o.url, cert))
	g.replace("listen: {", fmt.Sprintf("listen: { tls: { certificates: [{ cert: %q, key: %q }] },", cert, key))
	g.start()
	t.Cleanup(g.kill)
	opened := func() (*tls.Conn, *dialog) {
		c, err := tls.Dial("tcp", g.address, &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{"http/1.1"}}) // the name is not what is tested
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(8 * time.Second))
		d := dialogOn(t, c).say(handed + "\r\n")
		if got := d.head(); !strings.HasPrefix(got, "HTTP/1.1 101 ") {
			t.Fatalf("%q", got)
		}
		return c, d
	}
	c, d := opened()
	big := strings.Repeat("0123456789abcdef", 64<<10)
	go d.say(big)
	d.gets(big)
	_ = c.CloseWrite()
	if rest := d.rest(); rest != "" {
		t.Errorf("%q", rest)
	}
	_, d = opened()
	if rest := d.say(hello).gets(hello).rest(); !parted(rest, away) {
		t.Errorf("at the end of its life %q", rest)
	}
}
