package h1

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/oncegate/oncegate/internal/pipeline"
)

var plainRequest = []byte("GET /v1/orders/17?x=1 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: bench\r\nAccept: */*\r\nX-Request-Id: 0123456789abcdef\r\n\r\n")

// kilobyte is the usual small answer.
var kilobyte = make([]byte, 1024)

// roundTrip sends one request and reads its answer, without allocating.
func roundTrip(t testing.TB, c net.Conn, request, buf []byte, want int) {
	if _, err := c.Write(request); err != nil {
		t.Fatal(err)
	}
	for got := 0; got < want; {
		n, err := c.Read(buf[got:])
		if got += n; err != nil {
			t.Fatal(err)
		}
	}
}

// warm makes a connection and learns how long the answer is.
func warm(t testing.TB, addr string, request, buf []byte) (net.Conn, int) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_, _ = c.Write(request)
	var answer bytes.Buffer
	a, err := http.ReadResponse(bufio.NewReader(io.TeeReader(c, &answer)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, a.Body); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		roundTrip(t, c, request, buf, answer.Len())
	}
	return c, answer.Len()
}

// quick serves h without the bookkeeping of the other tests.
func quick(t testing.TB, h handle) string {
	cfg := config()
	s := &server{t: t, log: &lines{}}
	s.start(cfg, pipeline.HandlerFunc(h))
	return s.addr
}

func TestNothingIsAllocated(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector has pools forget")
	}
	post := []byte("POST /v1/orders HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 11\r\n\r\nhello world")
	big, room := make([]byte, 20<<10), make([]byte, 20)
	for name, c := range map[string]struct {
		request []byte
		h       handle
	}{
		"answer":   {plainRequest, func(_ context.Context, x *pipeline.Exchange) error { x.Response.SetBody(kilobyte); return nil }},
		"refusal":  {plainRequest, func(context.Context, *pipeline.Exchange) error { return pipeline.RateLimited }},
		"long":     {plainRequest, func(_ context.Context, x *pipeline.Exchange) error { x.Response.SetBody(big); return nil }},
		"liveness": {plainRequest, func(_ context.Context, x *pipeline.Exchange) error { x.Gone(); return nil }},
		"fresh id": {post, func(_ context.Context, x *pipeline.Exchange) error { return nil }},
		"body":     {post, func(_ context.Context, x *pipeline.Exchange) error { _, err := x.Request.Buffer(100); return err }},
		"echo": {post, func(_ context.Context, x *pipeline.Exchange) error {
			b, _ := x.Request.Buffered()
			x.Response.SetBody(b)
			return nil
		}},
		"body read":   {post, func(_ context.Context, x *pipeline.Exchange) error { _, _ = x.Request.Body().Read(room); return nil }},
		"body unread": {post, func(_ context.Context, x *pipeline.Exchange) error { return pipeline.Unauthenticated }},
	} {
		buf := make([]byte, 64<<10)
		conn, size := warm(t, quick(t, c.h), c.request, buf)
		if n := testing.AllocsPerRun(300, func() { roundTrip(t, conn, c.request, buf, size) }); n >= 1 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// cpu is the time this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkEdge(b *testing.B) {
	addr := quick(b, func(_ context.Context, x *pipeline.Exchange) error { x.Response.SetBody(kilobyte); return nil })
	loopback(b, addr)
}

// BenchmarkBare is a plain fasthttp server with the same answer: what BenchmarkEdge is measured against.
func BenchmarkBare(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) { ctx.Response.SetBody(kilobyte) }}
	go func() { _ = s.Serve(ln) }()
	b.Cleanup(func() { _ = s.Shutdown() })
	loopback(b, ln.Addr().String())
}

func loopback(b *testing.B, addr string) {
	buf := make([]byte, 64<<10)
	c, size := warm(b, addr, plainRequest, buf)
	runtime.GC()
	b.ReportAllocs()
	start := cpu()
	for b.Loop() {
		roundTrip(b, c, plainRequest, buf, size)
	}
	b.ReportMetric(float64((cpu()-start).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

// BenchmarkInMemory leaves the kernel out: what one request costs in our own code and fasthttp's.
func BenchmarkInMemory(b *testing.B) {
	for name, h := range map[string]handle{
		"answer":  func(_ context.Context, x *pipeline.Exchange) error { x.Response.SetBody(kilobyte); return nil },
		"refusal": func(context.Context, *pipeline.Exchange) error { return pipeline.RateLimited },
	} {
		b.Run(name, func(b *testing.B) {
			e, err := New(config(), pipeline.HandlerFunc(h), nil)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			feed(b, e.adopt, e.app.Server())
		})
	}
}

func BenchmarkInMemoryBare(b *testing.B) {
	b.ReportAllocs()
	s := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) { ctx.Response.SetBody(kilobyte) }}
	feed(b, func(c net.Conn) *conn { return nil }, s)
}

// feed serves b.N requests on one connection that never waits.
func feed(b *testing.B, adopt func(net.Conn) *conn, s *fasthttp.Server) {
	n := 0
	src := &feeder{more: func() bool { n++; return n <= b.N }}
	var nc net.Conn = src
	if c := adopt(src); c != nil {
		nc = c
	}
	b.ResetTimer()
	if err := s.ServeConn(nc); err != nil {
		b.Fatal(err)
	}
}

type feeder struct {
	net.Conn
	more func() bool
}

func (f *feeder) Read(p []byte) (int, error) {
	if !f.more() {
		return 0, io.EOF
	}
	return copy(p, plainRequest), nil
}
func (f *feeder) Write(p []byte) (int, error)      { return len(p), nil }
func (f *feeder) Close() error                     { return nil }
func (f *feeder) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }
func (f *feeder) LocalAddr() net.Addr              { return f.RemoteAddr() }
func (f *feeder) SetDeadline(time.Time) error      { return nil }
func (f *feeder) SetReadDeadline(time.Time) error  { return nil }
func (f *feeder) SetWriteDeadline(time.Time) error { return nil }
