package upstream

import (
	"bytes"
	"context"
	"io"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/upstream/balance"
)

// plainRequest is a view without a copy, as the h1 edge has it.
type plainRequest struct {
	names, values [][]byte
	body          []byte
}

func (r *plainRequest) Method() []byte {
	if r.body != nil {
		return post
	}
	return getMethod
}

var post, getMethod, path, host = []byte("POST"), []byte("GET"), []byte("/v1/orders"), []byte("api.example.com")

func (r *plainRequest) Host() []byte      { return host }
func (r *plainRequest) Authority() []byte { return host }
func (r *plainRequest) Path() []byte      { return path }
func (r *plainRequest) Query() []byte     { return nil }
func (r *plainRequest) Header(name string) []byte {
	for i := range r.names {
		if strings.EqualFold(string(r.names[i]), name) {
			return r.values[i]
		}
	}
	return nil
}
func (r *plainRequest) Fields() int                  { return len(r.names) }
func (r *plainRequest) Field(i int) (_, _ []byte)    { return r.names[i], r.values[i] }
func (r *plainRequest) Strip(pipeline.Names)         {}
func (r *plainRequest) ContentLength() int64         { return int64(len(r.body)) }
func (r *plainRequest) LimitBody(int64)              {}
func (r *plainRequest) Body() io.Reader              { return nil }
func (r *plainRequest) Buffer(int64) ([]byte, error) { return r.body, nil }
func (r *plainRequest) Buffered() ([]byte, bool)     { return r.body, true }

// plainResponse is fasthttp's own.
type plainResponse struct{ r fasthttp.Response }

func (p *plainResponse) FastHTTP() *fasthttp.Response           { return &p.r }
func (p *plainResponse) Status() int                            { return p.r.StatusCode() }
func (p *plainResponse) SetStatus(c int)                        { p.r.SetStatusCode(c) }
func (p *plainResponse) Header(n string) []byte                 { return p.r.Header.Peek(n) }
func (p *plainResponse) Set(n string, v []byte)                 { p.r.Header.SetBytesV(n, v) }
func (p *plainResponse) Add(n string, v []byte)                 { p.r.Header.AddBytesV(n, v) }
func (p *plainResponse) Del(n string)                           { p.r.Header.Del(n) }
func (p *plainResponse) EachField(func(a, b []byte))            {}
func (*plainResponse) HasAny(pipeline.Names) bool               { return false }
func (p *plainResponse) SetBody(b []byte)                       { p.r.SetBody(b) }
func (p *plainResponse) SetStream(b io.ReadCloser, n int64)     { p.r.SetBodyStream(b, int(n)) }
func (p *plainResponse) Buffer(max int64) ([]byte, bool, error) { return p.r.Body(), true, nil }
func (p *plainResponse) Reset()                                 { p.r.Reset() }

// rawUpstream answers every request, bodies included, with the same kilobyte.
func rawUpstream(tb testing.TB, bodyLen int) *fake {
	answer := []byte("HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 06:00:00 GMT\r\nServer: raw\r\nContent-Type: application/json\r\nCache-Control: no-store\r\nContent-Length: 1024\r\n\r\n" + strings.Repeat("x", 1024))
	return newFake(tb, func(p *peer) {
		buf, n := make([]byte, 64<<10), 0
		for {
			m, err := p.Conn.Read(buf[n:])
			if err != nil {
				return
			}
			n += m
			if i := bytes.Index(buf[:n], []byte("\r\n\r\n")); i >= 0 && n >= i+4+bodyLen {
				n = 0
				_, _ = p.Conn.Write(answer)
			}
		}
	})
}

func benchExchange(body []byte) (*pipeline.Exchange, *plainResponse) {
	req := &plainRequest{body: body}
	for _, f := range []string{"User-Agent: bench/1", "Accept: */*", "Content-Type: application/json", "Accept-Encoding: gzip", "X-Tenant: acme"} {
		n, v, _ := strings.Cut(f, ": ")
		req.names, req.values = append(req.names, []byte(n)), append(req.values, []byte(v))
	}
	resp := &plainResponse{}
	m := pipeline.NewMemory("GET", "/")
	x := &pipeline.Exchange{}
	x.Begin(req, resp, nil)
	x.ID, x.ClientIP, x.Trace.ID, x.Trace.Span = []byte("0123456789abcdef"), m.ClientIP, [16]byte{1}, [8]byte{2}
	return x, resp
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchOurs(b *testing.B, body []byte) {
	r := newRig(b, defaults(rawUpstream(b, len(body)).url))
	x, resp := benchExchange(body)
	ctx := context.Background()
	b.ReportAllocs()
	cpu := cpuTime()
	for b.Loop() {
		x.Effect, x.Attempt = 0, pipeline.Attempt{}
		x.Deadline = time.Now().Add(10 * time.Second)
		resp.r.Reset()
		if err := r.Serve(ctx, x); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N), "cpu-ns/op")
}

func benchHostClient(b *testing.B, body []byte) {
	f := rawUpstream(b, len(body))
	client := &fasthttp.HostClient{Addr: f.ln.Addr().String(), NoDefaultUserAgentHeader: true, DisableHeaderNamesNormalizing: true,
		DisablePathNormalizing: true, ReadBufferSize: 16 << 10}
	b.Cleanup(client.CloseIdleConnections)
	x, _ := benchExchange(body)
	var req fasthttp.Request
	var resp fasthttp.Response
	b.ReportAllocs()
	cpu := cpuTime()
	for b.Loop() {
		req.Reset()
		resp.Reset()
		req.Header.SetMethodBytes(x.Request.Method())
		req.SetRequestURIBytes(path)
		req.Header.SetHostBytes(host)
		for i := range x.Request.Fields() {
			n, v := x.Request.Field(i)
			req.Header.AddBytesKV(n, v)
		}
		req.Header.SetBytesV("X-Request-Id", x.ID)
		req.Header.Set("Traceparent", "00-01000000000000000000000000000000-0200000000000000-00")
		req.Header.Set("X-Forwarded-For", "192.0.2.1")
		req.Header.Set("X-Forwarded-Proto", "http")
		req.Header.SetBytesV("X-Forwarded-Host", host)
		if body != nil {
			req.SetBodyRaw(body)
		}
		if err := client.DoDeadline(&req, &resp, time.Now().Add(10*time.Second)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N), "cpu-ns/op")
}

func BenchmarkGet(b *testing.B) {
	b.Run("ours", func(b *testing.B) { benchOurs(b, nil) })
	b.Run("hostclient", func(b *testing.B) { benchHostClient(b, nil) })
}

func BenchmarkPost1K(b *testing.B) {
	body := bytes.Repeat([]byte("b"), 1024)
	b.Run("ours", func(b *testing.B) { benchOurs(b, body) })
	b.Run("hostclient", func(b *testing.B) { benchHostClient(b, body) })
}

// The hot path allocates nothing: a warm connection, a short answer, with and without a short body.
func TestExchangeAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector empties pools at random")
	}
	for _, body := range [][]byte{nil, []byte("{}")} {
		r := newRig(t, defaults(rawUpstream(t, len(body)).url))
		x, resp := benchExchange(body)
		serve := func() {
			x.Effect, x.Attempt = 0, pipeline.Attempt{}
			resp.r.Reset()
			if err := r.Serve(context.Background(), x); err != nil {
				t.Fatal(err)
			}
		}
		serve()
		if n := testing.AllocsPerRun(200, serve); n > 0.1 {
			t.Errorf("%v allocations with %d bytes of body", n, len(body))
		}
	}
}

// BenchmarkPick is the whole way from an upstream of 100 targets to the one that is called.
func BenchmarkPick(b *testing.B) {
	for _, kind := range []string{"round_robin", "least_request", "ewma", "hash"} {
		b.Run(kind, func(b *testing.B) {
			var urls []string
			for i := range 100 {
				urls = append(urls, "http://10.0.0."+strconv.Itoa(i)+":80")
			}
			cfg := several(urls...)
			cfg.Balance = kind
			r := newRig(b, cfg)
			x, _ := benchExchange(nil)
			now := balance.Now(time.Now()) // a call knows it
			b.ReportAllocs()
			for b.Loop() {
				var tried balance.Tried
				s := r.set.Load()
				if s.pick(&tried, r.hash.of(x), now) == nil {
					b.Fatal("none")
				}
			}
		})
	}
}
