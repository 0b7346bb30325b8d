package redis

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/redisconn"
	"github.com/oncegate/oncegate/internal/redistest"
)

// hops counts what a client sends, by its own account.
type hops struct{ n int }

func (h *hops) DialHook(next goredis.DialHook) goredis.DialHook { return next }
func (h *hops) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, cmd goredis.Cmder) error { h.n++; return next(ctx, cmd) }
}
func (h *hops) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []goredis.Cmder) error { h.n++; return next(ctx, cmds) }
}

// still is a store without a background: nothing but the test uses its connections.
func still(t *testing.T, cfg Config) *Store {
	t.Helper()
	return stillWith(t, cfg, Deps{})
}

func stillWith(t *testing.T, cfg Config, deps Deps) *Store {
	t.Helper()
	s, err := assemble(cfg, deps, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.stop = func() {}
	t.Cleanup(func() { s.Close() })
	if err := s.watch(context.Background()); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOneRoundTripEach(t *testing.T) {
	t.Run("alone", func(t *testing.T) { testRoundTrips(t, redistest.Start(t), 0) })
	t.Run("wait", func(t *testing.T) {
		server, _ := replicated(t)
		testRoundTrips(t, server, 1)
	})
}

// replicated is a server with one replica.
func replicated(t *testing.T, args ...string) (primary, replica *redistest.Server) {
	t.Helper()
	primary, replica = redistest.Start(t, args...), redistest.Start(t, args...)
	follow(t, replica, primary)
	return primary, replica
}

func follow(t *testing.T, replica, primary *redistest.Server) {
	t.Helper()
	if _, err := replica.Do("REPLICAOF", "127.0.0.1", strconv.Itoa(primary.Port)); err != nil {
		t.Fatal(err)
	}
	await(t, 20*time.Second, "the replica is online", func() bool {
		return replica.Info("replication", "master_link_status") == "up" && strings.Contains(primary.Info("replication", "slave0"), "state=online")
	})
}

func testRoundTrips(t *testing.T, server *redistest.Server, wait int) {
	proxy := redistest.NewProxy(t, server.Addr)
	s := still(t, Config{Server: redisconn.Server{Mode: redisconn.Single, Addresses: []string{proxy.Addr}}, Prefix: fresh(), WaitReplicas: wait})
	warm, counted := numbered(0), &hops{}
	if _, err := begin(s, warm, claim(mine)); err != nil {
		t.Fatal(err)
	}
	s.fleet.place(0).client.AddHook(counted)
	key := numbered(1)
	one := func(what string, step func() error) {
		t.Helper()
		bursts, sent := proxy.Bursts(), counted.n
		if err := step(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if b, n := proxy.Bursts()-bursts, counted.n-sent; b != 1 || n != 1 {
			t.Errorf("%s took %d round trips on the wire, %d by the client's account", what, b, n)
		}
	}
	one("begin", func() error { _, err := begin(s, key, claim(mine)); return err })
	one("begin of a duplicate", func() error { _, err := begin(s, key, claim(his)); return err })
	one("renew", func() error { _, err := s.Renew(context.Background(), key, mine, time.Minute); return err })
	one("finish", func() error { _, err := finish(s, key, mine, result(record.Completed)); return err })
	one("replay", func() error { _, err := begin(s, key, claim(his)); return err })
	one("look", func() error { _, err := s.Look(context.Background(), key); return err })
	one("release", func() error { _, err := s.Release(context.Background(), warm, mine); return err })
	if _, err := server.Do("SCRIPT", "FLUSH"); err != nil {
		t.Fatal(err)
	}
	bursts := proxy.Bursts()
	if found, err := begin(s, numbered(2), claim(mine)); err != nil || found.Verdict != record.Acquired || proxy.Bursts()-bursts != 2 {
		t.Errorf("without its script: %+v, %v, %d round trips", found, err, proxy.Bursts()-bursts)
	}
	one("begin once the script is known again", func() error { _, err := begin(s, numbered(3), claim(mine)); return err })
}

// TestRepetitionsReachReplicas: what changes nothing is replicated all the same, so that a WAIT behind it means something.
func TestRepetitionsReachReplicas(t *testing.T) {
	server, replica := replicated(t)
	s := still(t, Config{Server: redisconn.Server{Mode: redisconn.Single, Addresses: []string{server.Addr}}, Prefix: fresh(), WaitReplicas: 1})
	key := numbered(1)
	moves := func(what string, want bool, step func()) {
		t.Helper()
		before := replica.Info("persistence", "rdb_changes_since_last_save")
		step() // waits for the replica
		if moved := replica.Info("persistence", "rdb_changes_since_last_save") != before; moved != want {
			t.Errorf("%s: replicated %v, want %v", what, moved, want)
		}
	}
	again := func() { _, _ = begin(s, key, claim(mine)) }
	again()
	moves("a claim sent again", true, again)
	moves("a duplicate", false, func() { _, _ = begin(s, key, claim(his)) })
	done := func() { _, _ = finish(s, key, mine, result(record.Completed)) }
	done()
	moves("a result sent again", true, done)
	replay := func() {
		if found, err := begin(s, key, claim(his)); err != nil || found.Verdict != record.Replay {
			t.Errorf("%+v, %v", found, err)
		}
	}
	moves("the first replay", true, replay)
	select {
	case p := <-s.proofs: // the background's part
		o := s.op(s.scripts.prove, p.key, p.token[:])
		if _, err := s.call(context.Background(), o); err != nil {
			t.Fatal(err)
		}
	default:
		t.Fatal("the proof was not noted")
	}
	moves("a later replay", false, replay)
}
