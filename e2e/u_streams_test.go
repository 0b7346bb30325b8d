package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// h2cService is an upstream of HTTP/2 on clear text.
type h2cService struct {
	server *http.Server
	at     string
	count  atomic.Int64
}

func serveH2C(t *testing.T, h http.HandlerFunc) *h2cService {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &h2cService{at: ln.Addr().String()}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	s.server = &http.Server{Protocols: protocols, ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.count.Add(1)
		h(w, r)
	})}
	go s.server.Serve(ln) //nolint:errcheck // ends with the test
	t.Cleanup(func() { _ = s.server.Close() })
	return s
}

// h2cClient has one connection only; dialled counts.
func h2cClient(t *testing.T) (c *http.Client, dialled *atomic.Int64) {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	dialled = new(atomic.Int64)
	tr := &http.Transport{Protocols: protocols, DisableCompression: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		dialled.Add(1)
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 15 * time.Second}, dialled
}

func (g *gateway) ask(c *http.Client, method, path, body string, fields ...string) (*http.Response, string, error) {
	r, err := http.NewRequest(method, "http://"+g.address+path, strings.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	got, err := c.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	return got, string(text), err
}

const allTo = "\nroutes: [ { id: all, match: { path: /** }, auth: none, to: up } ]\n"

// A target that a reload adds gets its part of the streams of clients that stay connected.
func TestU27StreamsFindNewTargets(t *testing.T) {
	t.Parallel()
	a, b := serveH2C(t, ok), serveH2C(t, ok)
	g := begin(t, "upstreams: { up: { targets: [h2c://"+a.at+"] } }"+allTo)
	c, dialled := h2cClient(t)
	call := func(n int) {
		t.Helper()
		for range n {
			if got, _, err := g.ask(c, "GET", "/x", ""); err != nil || got.StatusCode != 200 {
				t.Fatalf("%v %v", got, err)
			}
		}
	}
	call(10)
	g.write("upstreams: { up: { targets: [h2c://" + a.at + ", h2c://" + b.at + "] } }" + allTo)
	g.signal(syscall.SIGHUP)
	g.eventually("a reload", func() bool { return g.metric(`gateway_config_reloads_total{result="success"}`) == "1" })
	call(20)
	if a.count.Load() != 20 || b.count.Load() != 10 || dialled.Load() != 1 {
		t.Errorf("%d and %d calls, %d connections of the client", a.count.Load(), b.count.Load(), dialled.Load())
	}
}

// An upstream that goes (GOAWAY) ends its streams in peace; new ones go elsewhere, and no client sees an error.
func TestU28UpstreamGoesDuringStreams(t *testing.T) {
	t.Parallel()
	begun, release := make(chan struct{}, 1), make(chan struct{})
	handle := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/long" {
			ok(w, r)
			return
		}
		_, _ = io.WriteString(w, "first ")
		_ = http.NewResponseController(w).Flush()
		begun <- struct{}{}
		<-release
		_, _ = io.WriteString(w, "last")
	}
	a, b := serveH2C(t, handle), serveH2C(t, handle)
	g := begin(t, "upstreams: { up: { targets: [h2c://"+a.at+", h2c://"+b.at+"] } }"+allTo)
	c, _ := h2cClient(t)
	long := make(chan string, 1)
	go func() { _, text, err := g.ask(c, "GET", "/long", ""); long <- fmt.Sprint(text, err) }()
	<-begun
	goes, stays := a, b
	if b.count.Load() == 1 {
		goes, stays = b, a
	}
	for range 4 { // so that both are connected
		if _, _, err := g.ask(c, "GET", "/x", ""); err != nil {
			t.Fatal(err)
		}
	}
	gone := make(chan error, 1)
	go func() { gone <- goes.server.Shutdown(context.Background()) }()
	g.eventually("the listener to close", func() bool {
		nc, err := net.Dial("tcp", goes.at)
		if err == nil {
			nc.Close()
		}
		return err != nil
	})
	before := stays.count.Load()
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i := range 25 {
				if got, _, err := g.ask(c, "POST", "/x", "body"); err != nil || got.StatusCode != 200 {
					t.Errorf("call %d: %v %v", i, got, err)
				}
			}
		})
	}
	group.Wait()
	if n := stays.count.Load() - before; n < 90 {
		t.Errorf("%d calls to the target that stays", n)
	}
	close(release)
	if text := <-long; text != "first last<nil>" {
		t.Errorf("the running stream: %s", text)
	}
	if err := <-gone; err != nil {
		t.Error(err)
	}
}

// gRPC's words pass as they are: an error that is head and trailers at once, trailers that nobody announced, TE: trailers for
// gRPC upstreams only, and refusals of the gateway as a status.
func TestU29To32WordsOfGRPC(t *testing.T) {
	t.Parallel()
	var te atomic.Value
	rpc := serveH2C(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		te.Store(r.Header.Get("Te"))
		w.Header().Set("Content-Type", "application/grpc")
		if r.URL.Path == "/rpc/fails" {
			w.Header().Set("Grpc-Status", "5")
			w.Header().Set("Grpc-Message", "no%20such")
			return
		}
		_, _ = w.Write([]byte{0, 0, 0, 0, 0})
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
		w.Header().Set(http.TrailerPrefix+"X-Late", "1")
	})
	plain := serve(t, func(w http.ResponseWriter, r *http.Request) { te.Store(r.Header.Get("Te")) })
	g := begin(t, "upstreams: { rpc: { targets: [grpc://"+rpc.at+"] }, plain: { targets: ["+plain.url+`] } }
routes:
  - { id: rpc, match: { path: /rpc/** }, auth: none, to: rpc }
  - { id: closed, match: { path: /closed/** }, auth: { issuers: [main] }, to: rpc }
  - { id: plain, match: { path: /plain }, auth: none, to: plain }
`)
	c, _ := h2cClient(t)
	call := func(path string) *http.Response {
		t.Helper()
		got, text, err := g.ask(c, "POST", path, "\x00\x00\x00\x00\x00", "Content-Type", "application/grpc", "Te", "trailers")
		if err != nil || got.StatusCode != 200 || len(text) > 5 || strings.Trim(text, "\x00") != "" {
			t.Fatalf("%s: %v %v %q", path, got, err, text)
		}
		return got
	}
	if got := call("/rpc/fails"); got.Header.Get("Grpc-Status") != "5" || got.Header.Get("Grpc-Message") != "no%20such" || len(got.Trailer) > 0 { // U29
		t.Errorf("trailers only: %v, %v", got.Header, got.Trailer)
	}
	if got := call("/rpc/works"); got.Trailer.Get("Grpc-Status") != "0" || got.Trailer.Get("X-Late") != "1" { // U30
		t.Errorf("trailers: %v, %v", got.Header, got.Trailer)
	}
	if te.Load() != "trailers" { // U31
		t.Errorf("TE %q for gRPC", te.Load())
	}
	if _, _, err := g.ask(c, "GET", "/plain", "", "Te", "trailers"); err != nil || te.Load() != "" {
		t.Errorf("TE %q, %v for a plain upstream", te.Load(), err)
	}
	for path, want := range map[string]string{"/closed/x": "16", "/none": "12"} { // U32
		if got := call(path); got.Header.Get("Grpc-Status") != want || got.Header.Get("Content-Type") != "application/grpc" || got.Header.Get("Grpc-Message") == "" {
			t.Errorf("%s: %v", path, got.Header)
		}
	}
}

// An answer with an Upgrade field that is no 101, to a request that asked for WebSocket, is an answer: body, connection and all.
func TestU35AnUpgradeFieldIsNoUpgrade(t *testing.T) {
	t.Parallel()
	o := newOrigin(t)
	g := socketed(t, o, "true", "")
	for _, status := range []string{"426 Upgrade Required", "200 OK"} {
		o.at("/ws", gives("HTTP/1.1 "+status+"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+acceptOf(nonce)+"\r\nContent-Length: 4\r\n\r\nbody"))
		d := g.dialog().say(handed + "\r\n")
		if a := d.hear("GET"); fmt.Sprint(a.status) != status[:3] || a.body != "body" || a.header.Get("Upgrade") != "" {
			t.Errorf("%s: %+v", status, a)
		}
		if a := d.say("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").hear("GET"); a.status != 200 || a.body != "ok" {
			t.Errorf("after %s: %+v", status, a)
		}
	}
}

// A handshake that is refused leaves its body with the client and nothing behind in the gateway.
func TestU37RefusedHandshakeLeavesNothing(t *testing.T) {
	t.Parallel()
	o := newOrigin(t)
	long := bytes.Repeat([]byte("0123456789"), 20<<10)
	o.at("/ws", gives(fmt.Sprintf("HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s", len(long), long)))
	g := begin(t, fmt.Sprintf("upstreams: { up: { targets: [%q], bulkhead: { in_flight: 4 }, connections: { max: 4 } } }\nroutes: [ { id: all, match: { path: /** }, auth: none, to: up, websocket: true } ]\n", o.url)) // more than one: an end may be heard before it is over
	for i := range 10 {
		if a := g.dialog().say(handed + "\r\n").hear("GET"); a.status != 404 || a.body != string(long) {
			t.Fatalf("handshake %d: %d, %d bytes", i, a.status, len(a.body))
		}
	}
	g.eventually("nothing to be left", func() bool {
		return strings.Trim(g.metric(`gateway_websockets{route="all"}`), "0") == "" && g.metric(`gateway_in_flight{route="all"}`) == "0"
	})
}

// Open WebSockets outlive reloads (U38), also those that take their service away: then new ones fail, and max ends the old (U39).
func TestU38And39ReloadsAndWebSockets(t *testing.T) {
	t.Parallel()
	o := newOrigin(t)
	o.at("/ws", switches(echoes))
	g := socketed(t, o, "{ max: 2s }", "")
	d := g.opens(handed + "\r\n")
	began := time.Now()
	for i, document := range []string{strings.ReplaceAll(allTo, "to: up", "to: up, websocket: true"), strings.ReplaceAll(allTo, "/**", "/other")} {
		g.write(fmt.Sprintf("upstreams: { up: { targets: [%q] } }%s", o.url, document))
		g.signal(syscall.SIGHUP)
		g.eventually("a reload", func() bool { return g.metric(`gateway_config_reloads_total{result="success"}`) == fmt.Sprint(i+1) })
		d.say(hello).gets(hello)
	}
	if a := g.dialog().say(handed + "\r\n").hear("GET"); a.status != 404 {
		t.Errorf("a new one: %d", a.status)
	}
	if rest := d.rest(); !parted(rest, away) || time.Since(began) < 1500*time.Millisecond {
		t.Errorf("%q after %v", rest, time.Since(began))
	}
}

// Trailers of a request reach an upstream of HTTP/2, from clients of both protocols; those that belong in a head, and those that
// only the gateway may say, do not.
func TestRequestTrailersArePassedOn(t *testing.T) {
	t.Parallel()
	up := serveH2C(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprint(w, string(body), " ", r.Trailer, " ", err)
	})
	g := begin(t, "upstreams: { up: { targets: [h2c://"+up.at+"] } }\nroutes:\n  - { id: all, match: { path: /** }, auth: none, to: up }\n  - { id: claims, match: { path: /c }, auth: { issuers: [main] }, forward: { claims: { X-User: sub } }, to: up }\n")
	const want = "abc map[X-Sum:[1 2]] <nil>"
	head := "POST /x HTTP/1.1\r\nHost: a\r\nTrailer: X-Sum, X-User\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n"
	if a := g.dialog().say(head + "X-User: root\r\n\r\n").hear("POST"); a.status != 200 || !strings.HasPrefix(a.body, "abc map[X-Sum:[1 2]") || strings.Contains(a.body, "root") {
		t.Errorf("HTTP/1.1: %+v", a)
	}
	if a := g.dialog().say(head + "Cookie: a=b\r\n\r\n").hear("POST"); a.status != 400 {
		t.Errorf("a cookie behind the body: %+v", a)
	}
	c, _ := h2cClient(t)
	r, _ := http.NewRequest("POST", "http://"+g.address+"/x", io.MultiReader(strings.NewReader("abc")))
	r.Trailer = http.Header{"X-Sum": {"1", "2"}}
	got, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if text, err := io.ReadAll(got.Body); string(text) != want || err != nil {
		t.Errorf("HTTP/2: %s, %v", text, err)
	}
}
