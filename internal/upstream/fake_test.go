package upstream

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// fake is an upstream on a raw socket: every connection runs the script, which reads and writes what it likes.
type fake struct {
	ln     net.Listener
	url    string
	script func(*peer)
	wait   sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
	seen  []*seen
}

// seen is one request as it came over the wire.
type seen struct {
	raw    string // the head
	method string
	id     string
	body   []byte
	err    error // what reading the body ended with
}

// peer is one connection of a fake.
type peer struct {
	net.Conn
	r   *bufio.Reader
	raw *bytes.Buffer
	f   *fake
	n   int // the how manieth connection, from 0
}

func newFake(t testing.TB, script func(*peer)) *fake {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startFake(t, ln, "http", script)
}

func startFake(t testing.TB, ln net.Listener, scheme string, script func(*peer)) *fake {
	f := &fake{ln: ln, url: scheme + "://" + ln.Addr().String(), script: script}
	f.wait.Add(1)
	go f.accept()
	t.Cleanup(func() {
		_ = ln.Close()
		f.mu.Lock()
		for _, c := range f.conns {
			_ = c.Close()
		}
		f.mu.Unlock()
		f.wait.Wait()
	})
	return f
}

func (f *fake) accept() {
	defer f.wait.Done()
	for n := 0; ; n++ {
		c, err := f.ln.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		f.conns = append(f.conns, c)
		f.mu.Unlock()
		f.wait.Add(1)
		go func() {
			defer f.wait.Done()
			defer c.Close()
			raw := &bytes.Buffer{}
			f.script(&peer{Conn: c, r: bufio.NewReader(io.TeeReader(c, raw)), raw: raw, f: f, n: n})
		}()
	}
}

// request reads one request whole. It is nil when the connection ended first.
func (p *peer) request() *seen {
	s, body := p.head()
	if s == nil {
		return nil
	}
	s.body, s.err = io.ReadAll(body)
	return s
}

// head reads the head of a request and leaves the body on the wire.
func (p *peer) head() (*seen, io.Reader) {
	p.raw.Reset()
	waiting, _ := p.r.Peek(p.r.Buffered())
	p.raw.Write(waiting)
	req, err := http.ReadRequest(p.r)
	if err != nil {
		return nil, nil
	}
	raw, _, _ := bytes.Cut(p.raw.Bytes(), []byte("\r\n\r\n"))
	s := &seen{raw: string(raw) + "\r\n", method: req.Method, id: req.Header.Get("X-Request-Id")}
	p.f.mu.Lock()
	p.f.seen = append(p.f.seen, s)
	p.f.mu.Unlock()
	return s, req.Body
}

func (p *peer) send(text string) { _, _ = io.WriteString(p, text) }

// reset closes with RST.
func (p *peer) reset() {
	_ = p.Conn.(*net.TCPConn).SetLinger(0)
	_ = p.Close()
}

func (p *peer) block() { _, _ = io.Copy(io.Discard, p.r) }

// requests gives what was seen so far.
func (f *fake) requests() []*seen {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*seen(nil), f.seen...)
}

func (f *fake) connections() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.conns)
}

// answering is the script of a good upstream that always gives the same answer.
func answering(answer string) func(*peer) {
	return func(p *peer) {
		for p.request() != nil {
			p.send(answer)
		}
	}
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"

// sometimes is what the recorder of tests counts.
type recorder struct {
	mu                 sync.Mutex
	stale, unsolicited int
}

func (r *recorder) StaleConnection(_, _ string)  { r.mu.Lock(); r.stale++; r.mu.Unlock() }
func (r *recorder) UnsolicitedBytes(_, _ string) { r.mu.Lock(); r.unsolicited++; r.mu.Unlock() }
func (r *recorder) counts() (int, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stale, r.unsolicited
}

func defaults(urls ...string) Config {
	cfg := Config{
		Timeout: TimeoutConfig{Connect: units.Duration(time.Second), FirstByte: units.Duration(2 * time.Second),
			IdleBody: units.Duration(2 * time.Second)},
		Connections: ConnectionsConfig{Max: 16, Idle: units.Duration(4 * time.Second)},
	}
	for _, u := range urls {
		cfg.Targets = append(cfg.Targets, TargetConfig{URL: u, Weight: 1})
	}
	return cfg
}

// rig is an upstream under test.
type rig struct {
	*Upstream
	pools *Pools
	rec   *recorder
}

func newRig(t testing.TB, cfg Config) *rig {
	t.Helper()
	r := &rig{pools: NewPools(nil), rec: &recorder{}}
	t.Cleanup(r.pools.Close)
	u, err := New("orders", cfg, r.pools, r.rec)
	if err != nil {
		t.Fatal(err)
	}
	r.Upstream = u
	return r
}

// fastMemory is a response whose head is fasthttp's, as the h1 edge has it.
type fastMemory struct {
	*pipeline.MemoryResponse
	fast fasthttp.Response
}

func (m *fastMemory) FastHTTP() *fasthttp.Response { return &m.fast }

// do serves m and reads the answer to its end.
func (r *rig) do(m *pipeline.Memory) ([]byte, error) {
	if err := r.Serve(context.Background(), &m.Exchange); err != nil {
		return nil, err
	}
	return m.Sent.ReadBody()
}

func get(id string) *pipeline.Memory { return with("GET", id) }

func with(method, id string) *pipeline.Memory {
	m := pipeline.NewMemory(method, "http://api.example.com/a?x=1")
	m.ID = []byte(id)
	return m
}

func wantKind(t testing.TB, err error, kind pipeline.Refusal) {
	t.Helper()
	if pipeline.KindOf(err) != kind || kind != 0 && err == nil {
		t.Fatalf("error %v, want kind %v", err, kind)
	}
}

func wantOK(t testing.TB, body []byte, err error) {
	t.Helper()
	if err != nil || string(body) != "ok" {
		t.Fatalf("got %q, %v; want ok", body, err)
	}
}
