package observe

import (
	"bytes"
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// buffer is a sink that may be read while it is written, and that can be made to block.
type buffer struct {
	mu     sync.Mutex
	data   bytes.Buffer
	writes int
	gate   chan struct{} // nil: open; else every Write waits for a value
	begun  chan struct{} // when not nil, told before waiting
}

func (b *buffer) Write(p []byte) (int, error) {
	if b.begun != nil {
		b.begun <- struct{}{}
	}
	if b.gate != nil {
		<-b.gate
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writes++
	return b.data.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.String()
}

func (b *buffer) lines() int { return strings.Count(b.String(), "\n") }

var build = BuildInfo{Version: "v1.2.3", Go: "go1.26", Fasthttp: "v1.77.0"}

func handler(f func(x *pipeline.Exchange) error) pipeline.Handler {
	return pipeline.HandlerFunc(func(_ context.Context, x *pipeline.Exchange) error { return f(x) })
}

func answerOK(*pipeline.Exchange) error { return nil }

// ask passes one request through the layer of a route and ends it.
func ask(o *Observer, route, method string, f func(x *pipeline.Exchange) error, end pipeline.End) error {
	x := pipeline.NewMemory(method, "/v1/orders")
	err := o.Layer(route)(handler(f)).Serve(context.Background(), &x.Exchange)
	x.Finish(end)
	return err
}

func exposition(t *testing.T, m *Metrics) string {
	t.Helper()
	_, body, err := m.Exposition("")
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func wantMetric(t *testing.T, m *Metrics, lines ...string) {
	t.Helper()
	text := exposition(t, m)
	for _, line := range lines {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no %s in\n%s", line, grep(text, line))
		}
	}
}

// grep keeps the lines of the same metric.
func grep(text, line string) string {
	name, _, _ := strings.Cut(line, "{")
	name, _, _ = strings.Cut(name, " ")
	var out []string
	for _, l := range strings.Split(text, "\n") {
		if strings.HasPrefix(l, name) {
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n")
}

// fullExchange has every fact that an access line shows.
func fullExchange() (*pipeline.Memory, pipeline.End) {
	x := pipeline.NewMemory("POST", "/v1/orders?token=secret")
	x.WithHeader("Cookie", "session=secret").WithHeader("Authorization", "Bearer secret").WithHeader("Idempotency-Key", "secret")
	x.ID = []byte("req-1")
	x.Trace.ID = [16]byte{0x4b, 0xf9, 15: 0x36}
	x.Client = pipeline.Client{Identity: "main|u1-secret", Subject: "u1", Issuer: "main"}
	x.Peer = netip.MustParseAddrPort("[fe80::1%secret]:4711")
	x.ClientIP = netip.MustParseAddr("192.0.2.9")
	x.Start = time.Date(2026, 11, 23, 7, 8, 9, 10_000_000, time.UTC)
	x.Attempt = pipeline.Attempt{Upstream: "orders", Target: "127.0.0.1:9001", Count: 2, Duration: 12345 * time.Microsecond}
	return x, pipeline.End{Status: 201, BytesIn: 11, BytesOut: 222, At: x.Start.Add(15*time.Millisecond + 678*time.Microsecond)}
}
