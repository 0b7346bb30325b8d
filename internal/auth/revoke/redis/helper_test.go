package redis

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/oncegate/oncegate/internal/auth/revoke"
	"github.com/oncegate/oncegate/internal/redisconn"
	"github.com/oncegate/oncegate/internal/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const bound = 20 * time.Second // of waits, on a machine that may be busy

var prefixes atomic.Int64

// at gives a configuration under a prefix that nothing was written under.
func at(addr string) Config {
	return Config{Server: redisconn.Server{Mode: redisconn.Single, Addresses: []string{addr}}, Prefix: fmt.Sprintf("t%d", prefixes.Add(1))}
}

func open(t *testing.T, cfg Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), cfg, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// node is what a gateway has: a list that follows a store of its own.
type node struct {
	t     *testing.T
	list  *revoke.List
	fleet *revoke.Follower
}

func newNode(t *testing.T, cfg Config) *node {
	t.Helper()
	n := &node{t: t, list: revoke.New(revoke.Config{Grace: time.Minute})}
	n.fleet = revoke.Follow(n.list, open(t, cfg), revoke.FollowConfig{Every: 100 * time.Millisecond})
	t.Cleanup(n.fleet.Close)
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	n.fleet.Await(ctx)
	return n
}

func jti(id string) revoke.Entry {
	return revoke.Entry{Issuer: "https://id.test/", ID: id, Until: time.Now().Add(time.Hour)}
}

// revoke is what an admin does here; it tells whether the others were told.
func (n *node) revoke(e revoke.Entry) error {
	n.t.Helper()
	if err := n.list.Revoke(e, time.Now()); err != nil {
		n.t.Fatal(err)
	}
	return n.fleet.Add(n.t.Context(), e)
}

func (n *node) shares(e revoke.Entry) {
	n.t.Helper()
	if err := n.revoke(e); err != nil {
		n.t.Error(err)
	}
}

func (n *node) void(id string) bool {
	return n.list.Void(&revoke.Token{Issuer: "https://id.test/", ID: id})
}

// awaits waits until the node knows that the token is void.
func (n *node) awaits(id string) {
	n.t.Helper()
	await(n.t, "token "+id+" is void", func() bool { return n.void(id) })
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(bound); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v until %s", bound, what)
		}
	}
}

// do asks the server itself.
func do(t *testing.T, srv *redistest.Server, args ...any) any {
	t.Helper()
	reply, err := srv.Do(args...)
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return reply
}

func logger(p *pages) *slog.Logger { return slog.New(p) }

// pages collects what is logged.
type pages struct {
	mu    sync.Mutex
	lines []string
}

func (p *pages) Enabled(context.Context, slog.Level) bool { return true }
func (p *pages) WithAttrs([]slog.Attr) slog.Handler       { return p }
func (p *pages) WithGroup(string) slog.Handler            { return p }
func (p *pages) Handle(_ context.Context, r slog.Record) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = append(p.lines, r.Message)
	return nil
}

func (p *pages) has(part string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Contains(strings.Join(p.lines, "\n"), part)
}
