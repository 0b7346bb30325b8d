package h1

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, // both belong to fasthttp: its clock never ends, its cleaner wakes up every ten seconds
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// config is short-tempered so that tests are quick.
func config() edge.Config {
	return edge.Config{
		Address: "127.0.0.1:0",
		Limits: edge.LimitsConfig{
			Header: 8 << 10, Headers: 20, Body: 1 << 20, Connections: 100,
			ReadTimeout: units.Duration(2 * time.Second), WriteTimeout: units.Duration(2 * time.Second), IdleTimeout: units.Duration(5 * time.Second),
		},
	}
}

// server is a running edge with what its exchanges ended with.
type server struct {
	*Edge
	t    testing.TB
	addr string
	ends chan end
	log  *lines
}

type end struct {
	pipeline.End
	method, path string
}

type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(p) }
func (l *lines) String() string              { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

type handle = func(ctx context.Context, x *pipeline.Exchange) error

// serve runs an edge with h until the test ends.
func serve(t testing.TB, cfg edge.Config, h handle) *server {
	t.Helper()
	s := &server{t: t, ends: make(chan end, 10000), log: &lines{}}
	atEnd := func(x *pipeline.Exchange, e pipeline.End) {
		s.ends <- end{e, string(x.Request.Method()), string(x.Request.Path())}
	}
	handler := pipeline.HandlerFunc(func(ctx context.Context, x *pipeline.Exchange) error {
		x.AtEnd(atEnd)
		return h(ctx, x)
	})
	s.start(cfg, handler)
	return s
}

func (s *server) start(cfg edge.Config, h pipeline.Handler) {
	s.t.Helper()
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	e, err := New(cfg, h, log)
	if err != nil {
		s.t.Fatal(err)
	}
	ln, err := edge.Listen(cfg, log)
	if err != nil {
		s.t.Fatal(err)
	}
	s.Edge, s.addr = e, ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- e.Serve(ln) }()
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := e.Shutdown(ctx); err != nil {
			s.t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != nil {
			s.t.Errorf("Serve: %v", err)
		}
	})
}

// ended waits for the next exchange to end.
func (s *server) ended() end {
	s.t.Helper()
	select {
	case e := <-s.ends:
		return e
	case <-time.After(5 * time.Second):
		s.t.Fatal("no exchange ended")
		panic("unreachable")
	}
}

// soon waits until something holds.
func (s *server) soon(what string, holds func() bool) {
	s.t.Helper()
	for by := time.Now().Add(5 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(by) {
			s.t.Fatalf("%s: not within 5 s", what)
		}
	}
}

// waitsIn tells whether a goroutine with call on its stack waits for this.
func waitsIn(this, call string) bool {
	buf := make([]byte, 1<<20)
	for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if head, calls, _ := strings.Cut(g, "\n"); strings.Contains(head, "["+this) && strings.Contains(calls, call) {
			return true
		}
	}
	return false
}

// client is a raw connection.
type client struct {
	net.Conn
	t  testing.TB
	br *bufio.Reader
}

func (s *server) dial() *client {
	s.t.Helper()
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.client(nc)
}

func (s *server) client(nc net.Conn) *client {
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	c := &client{nc, s.t, bufio.NewReader(nc)}
	s.t.Cleanup(func() { _ = nc.Close() })
	return c
}

func (c *client) send(text string) *client {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatalf("send: %v", err)
	}
	return c
}

// answer is one answer, read by the standard library.
type answer struct {
	*http.Response
	body string
	err  error // of reading the body
}

func (c *client) answer(method string) answer {
	c.t.Helper()
	a, err := c.tryAnswer(method)
	if err != nil {
		c.t.Fatalf("no answer: %v", err)
	}
	return a
}

func (c *client) tryAnswer(method string) (answer, error) {
	resp, err := http.ReadResponse(c.br, httptest.NewRequest(method, "/", nil))
	if err != nil {
		return answer{}, err
	}
	b, err := io.ReadAll(resp.Body)
	return answer{resp, string(b), err}, nil
}

// closed reports that the server closed the connection and nothing more came.
func (c *client) closed() error {
	rest, err := io.ReadAll(c.br)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("more came: %q", rest)
	}
	return nil
}

func (c *client) get(path string) answer {
	c.t.Helper()
	return c.send("GET " + path + " HTTP/1.1\r\nHost: a.example\r\n\r\n").answer("GET")
}

func (a answer) is(t testing.TB, status int, body string) {
	t.Helper()
	if a.StatusCode != status || a.body != body || a.err != nil {
		t.Fatalf("got %d %q %v, want %d %q", a.StatusCode, a.body, a.err, status, body)
	}
}

// problem checks a refusal and what every refusal carries.
func (a answer) problem(t testing.TB, kind pipeline.Refusal) {
	t.Helper()
	if a.StatusCode != kind.Status() || !strings.Contains(a.body, `"urn:oncegate:problem:`+kind.Slug()+`"`) {
		t.Fatalf("got %d %q, want %s", a.StatusCode, a.body, kind.Slug())
	}
	if ct := a.Header.Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("Content-Type %q", ct)
	}
	id := a.Header.Get("X-Request-Id")
	if id == "" || !strings.Contains(a.body, `"instance":"`+id+`"`) {
		t.Errorf("X-Request-Id %q in %s", id, a.body)
	}
	if a.Header.Get("Date") == "" {
		t.Error("no Date")
	}
}

// reply answers with a fixed body.
func reply(body string) handle {
	return func(_ context.Context, x *pipeline.Exchange) error {
		x.Response.SetBody([]byte(body))
		return nil
	}
}
