package redis

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/goleak"

	"github.com/oncegate/oncegate/internal/ratelimit"
	"github.com/oncegate/oncegate/internal/ratelimit/leases"
	"github.com/oncegate/oncegate/internal/redisconn"
	"github.com/oncegate/oncegate/internal/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var prefixes atomic.Int64

// fresh gives a prefix that nothing was written under.
func fresh() string { return fmt.Sprintf("t%d", prefixes.Add(1)) }

func single(s *redistest.Server) Config {
	return Config{Server: redisconn.Server{Mode: redisconn.Single, Addresses: []string{s.Addr}}, Prefix: fresh()}
}

func through(p *redistest.Proxy) Config {
	return Config{Server: redisconn.Server{Mode: redisconn.Single, Addresses: []string{p.Addr}}, Prefix: fresh()}
}

// patient is for tests of something else than time, on a machine that may be busy.
const patient = 3 * time.Second

// open opens a source that is ready. Its calls have that long.
func open(t testing.TB, cfg Config, wait time.Duration, deps Deps) *Source {
	t.Helper()
	cfg.patience = wait
	s, err := prepare(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	if s, err = s.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	await(t, 20*time.Second, "the source is ready", func() bool { _, ok := s.Name(nil); return ok })
	return s
}

func await(t testing.TB, bound time.Duration, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(bound); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v until %s", bound, what)
		}
	}
}

// set fills in what only the configuration can.
func set[T any](l *ratelimit.Limit, field string, v T) {
	f := reflect.ValueOf(l).Elem().FieldByName(field)
	*(*T)(unsafe.Pointer(f.UnsafeAddr())) = v
}

func bucket(rate, burst float64) *ratelimit.Limit {
	l := &ratelimit.Limit{}
	set(l, "rate", rate)
	set(l, "burst", burst)
	set(l, "shared", true)
	return l
}

func quota(q ratelimit.Quota) *ratelimit.Limit {
	l := bucket(float64(q.Count)/q.Length().Seconds(), float64(q.Count))
	set(l, "kind", ratelimit.Window)
	set(l, "quota", q)
	return l
}

func slots(n float64, failure ratelimit.Failure) *ratelimit.Limit {
	l := bucket(0, n)
	set(l, "kind", ratelimit.Slots)
	set(l, "failure", failure)
	return l
}

// draw asks and waits; a second answer fails the test.
func draw(t testing.TB, s *Source, d leases.Draw) leases.Grant {
	t.Helper()
	got, count := make(chan leases.Grant, 2), atomic.Int64{}
	s.Draw(d, func(g leases.Grant) {
		if count.Add(1) > 1 {
			t.Error("a draw was answered twice")
		}
		got <- g
	})
	select {
	case g := <-got:
		return g
	case <-time.After(10 * time.Second):
		t.Fatal("a draw was never answered")
		return leases.Grant{}
	}
}

func named(t testing.TB, s *Source, key string) leases.Name {
	t.Helper()
	name, ok := s.Name([]byte(key))
	if !ok {
		t.Fatal("no secret")
	}
	return name
}

func good(t testing.TB, g leases.Grant) leases.Grant {
	t.Helper()
	if g.Err != nil {
		t.Fatal(g.Err)
	}
	return g
}

// pages collects what a source logs.
type pages struct {
	mu    sync.Mutex
	lines []string
}

func (p *pages) Enabled(context.Context, slog.Level) bool { return true }
func (p *pages) WithAttrs([]slog.Attr) slog.Handler       { return p }
func (p *pages) WithGroup(string) slog.Handler            { return p }
func (p *pages) Handle(_ context.Context, r slog.Record) error {
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = append(p.lines, line)
	return nil
}

func (p *pages) has(part string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Contains(strings.Join(p.lines, "\n"), part)
}

// counts is a recorder.
type counts struct {
	downs, ups          atomic.Int64
	ok, failed, refused atomic.Int64
}

func (c *counts) StoreState(_ string, down bool) {
	if down {
		c.downs.Add(1)
	} else {
		c.ups.Add(1)
	}
}

func (c *counts) StoreCalls(result string, n int, _ time.Duration) {
	map[string]*atomic.Int64{resultOK: &c.ok, resultFailed: &c.failed, resultRefused: &c.refused}[result].Add(int64(n))
}
