package redis

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/oncegate/oncegate/internal/auth/dpop"
	"github.com/oncegate/oncegate/internal/auth/revoke/redis"
	"github.com/oncegate/oncegate/internal/redisconn"
	"github.com/oncegate/oncegate/internal/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var prefixes atomic.Int64

func at(addr string) redis.Config {
	return redis.Config{Server: redisconn.Server{Mode: redisconn.Single, Addresses: []string{addr}}, Prefix: fmt.Sprintf("p%d", prefixes.Add(1))}
}

func open(t testing.TB, cfg redis.Config) *Replays {
	t.Helper()
	r, err := Open(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func numbered(i int) dpop.Proof {
	p := dpop.Proof{Owner: "alice", Now: time.Now(), Ends: time.Now().Add(time.Minute)}
	binary.LittleEndian.PutUint64(p.ID[:], uint64(i))
	return p
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// Of all gateways that are shown one proof at once, one takes it.
func TestOneGatewayIsFirst(t *testing.T) {
	srv := redistest.Start(t)
	cfg := at(srv.Addr)
	gateways := []*Replays{open(t, cfg), open(t, cfg), open(t, cfg)}
	for i := range 20 {
		var first atomic.Int32
		var all sync.WaitGroup
		for _, g := range gateways {
			all.Go(func() {
				fresh, err := g.First(within(t), numbered(i))
				if err != nil {
					t.Error(err)
				}
				if fresh {
					first.Add(1)
				}
			})
		}
		all.Wait()
		if first.Load() != 1 {
			t.Fatalf("proof %d: %d were first", i, first.Load())
		}
	}
	if fresh, err := open(t, at(srv.Addr)).First(within(t), numbered(0)); !fresh || err != nil {
		t.Errorf("under another prefix: %v %v", fresh, err)
	}
}

// What is kept ends by itself, a little after the proof.
func TestProofsEnd(t *testing.T) {
	srv := redistest.Start(t)
	r := open(t, at(srv.Addr))
	if _, err := r.First(within(t), numbered(1)); err != nil {
		t.Fatal(err)
	}
	keys, err := srv.Do("KEYS", r.stem+"*")
	if list, ok := keys.([]any); err != nil || !ok || len(list) != 1 {
		t.Fatalf("%v %v", keys, err)
	}
	left, err := srv.Do("PTTL", keys.([]any)[0])
	if ms, ok := left.(int64); err != nil || !ok || ms < 60_000 || ms > 66_000 {
		t.Errorf("%v ms left, %v", left, err)
	}
}

// Redis that is down is an error for each proof, not for the start; when it is back, proofs are taken again.
func TestRedisDown(t *testing.T) {
	srv := redistest.Start(t)
	r := open(t, at(srv.Addr))
	srv.Kill()
	if fresh, err := r.First(within(t), numbered(1)); fresh || err == nil {
		t.Error("taken without a store")
	}
	late := open(t, at(srv.Addr))
	if fresh, err := late.First(within(t), numbered(1)); fresh || err == nil {
		t.Error("taken without a store, since the start")
	}
	srv.Restart()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		fresh, err := late.First(ctx, numbered(2))
		cancel()
		if fresh && err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if fresh, err := r.First(within(t), numbered(3)); fresh || err == nil {
		t.Error("taken after Close")
	}
}

func TestWrongPassword(t *testing.T) {
	cfg := at(redistest.Start(t).Addr)
	cfg.Username, cfg.Password = "nobody", "wrong"
	if _, err := Open(t.Context(), cfg, nil); err == nil || !strings.Contains(err.Error(), "password") {
		t.Error(err)
	}
}

// BenchmarkFirst is what a fleet adds to a request with a proof.
func BenchmarkFirst(b *testing.B) {
	r := open(b, at(redistest.Start(b).Addr))
	i := 0
	for b.Loop() {
		i++
		if fresh, err := r.First(b.Context(), numbered(i)); !fresh || err != nil {
			b.Fatal(err)
		}
	}
}
