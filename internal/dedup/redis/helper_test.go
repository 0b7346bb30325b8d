package redis

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/redisconn"
	"github.com/oncegate/oncegate/internal/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	_ dedup.Store   = (*Store)(nil)
	_ dedup.Secrets = (*Store)(nil)
)

var prefixes atomic.Int64

// fresh gives a prefix that nothing was written under.
func fresh() string { return fmt.Sprintf("t%d", prefixes.Add(1)) }

// durable are arguments of a server that loses nothing by a crash of its process.
var durable = []string{"--appendonly", "yes", "--appendfsync", "always"}

func single(s *redistest.Server) Config {
	return Config{Server: redisconn.Server{Mode: redisconn.Single, Addresses: []string{s.Addr}}, Prefix: fresh()}
}

// open opens a store that is ready.
func open(t testing.TB, cfg Config, deps Deps) *Store {
	t.Helper()
	s, err := Open(context.Background(), cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	awaitReady(t, s)
	return s
}

func awaitReady(t testing.TB, s *Store) {
	t.Helper()
	await(t, 20*time.Second, "the store is ready", func() bool { return s.ready() == nil })
}

func await(t testing.TB, bound time.Duration, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(bound); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v until %s", bound, what)
		}
	}
}

// pages collects what a store logs.
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

func (p *pages) all() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.lines...)
}

// counts is a recorder.
type counts struct{ lost, changes, calls, failures atomic.Int64 }

func (c *counts) StoreTime(_ string, _ time.Duration, failed bool) {
	c.calls.Add(1)
	if failed {
		c.failures.Add(1)
	}
}
func (c *counts) ClaimsLost(n int) { c.lost.Add(int64(n)) }
func (c *counts) PrimaryChanged()  { c.changes.Add(1) }

var (
	fp   = record.Fingerprint{1}
	mine = record.Token{1}
	his  = record.Token{2}
)

func numbered(n int) (k record.Key) {
	h := uint64(n+1) * 0x9e3779b97f4a7c15
	for i := range k {
		k[i] = byte(h >> (8 * (i % 8)))
		if i%8 == 7 {
			h *= 0xbf58476d1ce4e5b9
		}
	}
	return k
}

func token(n int) (t record.Token) {
	k := numbered(n + 1<<20)
	copy(t[:], k[:])
	return t
}

func claim(t record.Token) record.Claim {
	return record.Claim{Fingerprint: fp, Token: t, Lease: time.Minute, KeepKey: time.Hour, Route: "orders", Grant: true}
}

func result(s record.State) record.Result {
	r := record.Result{State: s, Fingerprint: fp, Route: "orders", Status: 201, RequestID: "id", Location: "/o/1", KeepAnswer: time.Hour, KeepKey: 2 * time.Hour}
	if s == record.Completed {
		r.Answer = []byte("the answer")
	}
	return r
}

// begin and finish call with the time that a layer gives.
func begin(s *Store, key record.Key, c record.Claim) (record.Found, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return s.Begin(ctx, key, c)
}

func finish(s *Store, key record.Key, t record.Token, r record.Result) (record.Outcome, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	return s.Finish(ctx, key, t, r)
}

func sentinel(s *redistest.Sentinel, wait int) Config {
	return Config{Server: redisconn.Server{Mode: redisconn.Sentinel, Addresses: s.Addrs, Master: s.Name}, Prefix: fresh(), WaitReplicas: wait}
}

func cluster(c *redistest.Cluster, wait int) Config {
	return Config{Server: redisconn.Server{Mode: redisconn.Cluster, Addresses: c.Addrs[:2]}, Prefix: fresh(), WaitReplicas: wait}
}

func logger(p *pages) *slog.Logger { return slog.New(p) }
