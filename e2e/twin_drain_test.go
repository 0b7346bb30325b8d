package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// draining is a document for what SIGTERM finds: everything is slow, nothing times out by itself.
const draining = `upstreams: { up: { targets: [%q], timeout: { first_byte: 60s, idle_body: 60s } } }
routes: [ { id: all, match: { path: /** }, auth: none, timeout: 60s, to: up, websocket: true } ]
`

// slowly is an upstream that waits for release where the path says so.
func slowly(release <-chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		flushed := func(text string) {
			_, _ = io.WriteString(w, text)
			_ = rc.Flush()
		}
		switch r.URL.Path {
		case "/head": // the answer begins late
			<-release
			_, _ = io.WriteString(w, "late")
		case "/body": // the answer ends late
			flushed("begun ")
			<-release
			_, _ = io.WriteString(w, "ended")
		case "/upload":
			n, err := io.Copy(io.Discard, r.Body)
			_, _ = fmt.Fprint(w, n, err)
		case "/events": // never ends
			w.Header().Set("Content-Type", "text/event-stream")
			flushed("data: 1\n\n")
			<-r.Context().Done()
		case "/never": // never begins
			<-r.Context().Done()
		case "/ws":
			c, _, err := rc.Hijack()
			if err != nil {
				return
			}
			defer c.Close()
			switches(echoes)(c)
		}
	}
}

// way is an edge that is asked beside others: HTTP/1.1 or HTTP/2, on one gateway.
type way struct {
	name   string
	client *http.Client
}

func (g *gateway) ways(scheme string) (all []way) {
	for _, name := range []string{"h1", "h2"} {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(name == "h1")
		protocols.SetHTTP2(name == "h2" && scheme == "https")
		protocols.SetUnencryptedHTTP2(name == "h2" && scheme == "http")
		tr := &http.Transport{Protocols: protocols, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
		g.t.Cleanup(tr.CloseIdleConnections)
		all = append(all, way{name, &http.Client{Transport: tr, Timeout: 30 * time.Second}})
	}
	return all
}

// ran is how a request ended that was under way.
type ran struct {
	way, path, text string
	status          int
	closes          bool
	err             error
}

// begin asks and waits for nothing; the end goes to ends.
func (w way) begin(g *gateway, scheme, path string, body io.Reader, ends chan<- ran) {
	method := "GET"
	if body != nil {
		method = "POST"
	}
	go func() {
		end := ran{way: w.name, path: path}
		r, _ := http.NewRequest(method, scheme+"://"+g.address+path, body)
		var got *http.Response
		if got, end.err = w.client.Do(r); end.err == nil {
			var text []byte
			end.status, end.closes = got.StatusCode, got.Close
			text, end.err = io.ReadAll(got.Body)
			end.text = string(text)
			_ = got.Body.Close()
		}
		ends <- end
	}()
}

// drained starts a gateway, with TLS or without, behind which requests run over both edges.
func drained(t *testing.T, scheme string, timeout string, paths ...string) (g *gateway, up *service, release chan struct{}, upload func(err error), ends chan ran) {
	release = make(chan struct{})
	up = serve(t, slowly(release))
	g = prepare(t, fmt.Sprintf(draining, up.url))
	g.replace("timeout: 5s", "timeout: "+timeout)
	if scheme == "https" {
		cert, key := pair(t, t.TempDir(), "localhost")
		g.replace("listen: {", fmt.Sprintf("listen: { tls: { certificates: [{ cert: %q, key: %q }] },", cert, key))
	}
	g.start()
	t.Cleanup(g.kill)
	ends = make(chan ran, 20)
	var pipes []*io.PipeWriter
	for _, w := range g.ways(scheme) {
		for _, path := range paths {
			var body io.Reader
			if path == "/upload" {
				pr, pw := io.Pipe()
				pipes, body = append(pipes, pw), pr
			}
			w.begin(g, scheme, path, body, ends)
		}
	}
	for _, pw := range pipes {
		_, _ = pw.Write(make([]byte, 1000))
	}
	g.eventually("all requests at the upstream", func() bool { return up.count.Load() == int64(2*len(paths)) })
	return g, up, release, func(err error) {
		for _, pw := range pipes {
			if err == nil {
				_, _ = pw.Write(make([]byte, 1000))
			}
			_ = pw.CloseWithError(err)
		}
	}, ends
}

// SIGTERM while answers and uploads run over HTTP/1.1 and HTTP/2, with TLS and without: all end as if nothing were, the last
// answers of HTTP/1.1 say close, and the process ends well before its time, with 0.
func TestDrainLetsRunningOnesEnd(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			g, _, release, upload, ends := drained(t, scheme, "20s", "/head", "/body", "/upload")
			g.signal(syscall.SIGTERM)
			g.eventually("no connection is taken", func() bool {
				c, err := net.DialTimeout("tcp", g.address, time.Second)
				if err == nil {
					c.Close()
				}
				return err != nil
			})
			close(release)
			upload(nil)
			want := map[string]string{"/head": "late", "/body": "begun ended", "/upload": "2000 <nil>"}
			for range 6 {
				end := <-ends
				if end.err != nil || end.status != 200 || end.text != want[end.path] || end.way == "h1" && end.path == "/head" && !end.closes {
					t.Errorf("%+v", end)
				}
			}
			if code := g.exit(); code != 0 {
				t.Errorf("exit code %d: %s", code, g.log)
			}
		})
	}
}

// What still runs when the time is over is cut, so that nobody takes it for whole: what has no answer yet gets 503, streams
// break off, WebSockets got 1001 before. Each has its access line, and the process ends with 1.
func TestDrainCutsTheRest(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			g, up, _, upload, ends := drained(t, scheme, "1500ms", "/never", "/events", "/upload")
			c, err := net.Dial("tcp", g.address)
			if err != nil {
				t.Fatal(err)
			}
			if scheme == "https" {
				c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
			}
			d := dialogOn(t, c).say(handed + "\r\n")
			if got := d.head(); !strings.HasPrefix(got, "HTTP/1.1 101 ") {
				t.Fatalf("%q", got)
			}
			d.say(hello).gets(hello)
			if up.count.Load() != 7 {
				t.Fatalf("%d requests at the upstream", up.count.Load())
			}
			began := time.Now()
			g.signal(syscall.SIGTERM)
			d.say(hello).gets(hello) // served on
			if rest := d.rest(); !parted(rest, away) {
				t.Errorf("the WebSocket: %q", rest)
			}
			<-g.exited
			upload(io.ErrClosedPipe) // net/http waits for what is to be sent
			for range 6 {
				end := <-ends
				switch {
				case end.path == "/never" && end.err == nil && end.status == 503 && strings.Contains(end.text, "urn:oncegate:problem:draining"):
				case end.path == "/events" && end.err != nil && end.status == 200 && end.text == "data: 1\n\n":
				case end.path == "/upload" && (end.err != nil || end.status == 503): // still sending: the answer may not be heard
				default:
					t.Errorf("%+v", end)
				}
			}
			if code, took := g.exit(), time.Since(began); code != 1 || took < 1400*time.Millisecond || took > 6*time.Second {
				t.Errorf("exit code %d after %v: %s", code, took, g.log)
			}
			paths := map[string]int{}
			for _, line := range g.accessLines(7) {
				paths[line["path"].(string)]++
			}
			if paths["/never"] != 2 || paths["/events"] != 2 || paths["/upload"] != 2 || paths["/ws"] != 1 {
				t.Errorf("access lines: %v", paths)
			}
		})
	}
}

// During the notice everything is served, and each answer tells its client to go: Connection: close, or GOAWAY.
func TestDrainTellsClientsToGo(t *testing.T) {
	t.Parallel()
	up := serve(t, ok)
	g := prepare(t, fmt.Sprintf(draining, up.url))
	g.replace("notice: 10ms", "notice: 3s")
	g.start()
	t.Cleanup(g.kill)
	kept := g.dialog()
	ask := "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
	if got := kept.say(ask).head(); strings.Contains(got, "Connection:") {
		t.Fatalf("before: %s", got)
	}
	kept.gets("ok")
	client, dialled := h2cClient(t)
	for range 3 {
		if _, _, err := g.ask(client, "GET", "/x", ""); err != nil || dialled.Load() != 1 {
			t.Fatal(err, dialled.Load())
		}
	}
	g.signal(syscall.SIGTERM)
	g.eventually("readiness to fail", func() bool { status, _ := g.get(g.admin, "/readyz"); return status == 503 })
	if got := kept.say(ask).head(); !strings.HasPrefix(got, "HTTP/1.1 200 ") || !strings.Contains(got, "\r\nConnection: close\r\n") {
		t.Errorf("HTTP/1.1 during the notice: %s", got)
	}
	if rest := kept.rest(); rest != "ok" {
		t.Errorf("the last answer: %q", rest)
	}
	g.eventually("a new connection of HTTP/2", func() bool {
		if got, text, err := g.ask(client, "GET", "/x", ""); err != nil || got.StatusCode != 200 || text != "ok" {
			t.Fatalf("HTTP/2 during the notice: %v %v", got, err)
		}
		return dialled.Load() > 1
	})
	if code := g.exit(); code != 0 {
		t.Errorf("exit code %d: %s", code, g.log)
	}
}
