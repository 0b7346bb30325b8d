package redis

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/ratelimit/leases"
	"github.com/oncegate/oncegate/internal/redisconn"
	"github.com/oncegate/oncegate/internal/redistest"
)

func hmacOf(secret, key string) string {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(key))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func logger(p *pages) *slog.Logger { return slog.New(p) }

func TestConfigIsValidated(t *testing.T) {
	for want, cfg := range map[string]Config{
		"mode":     {Server: redisconn.Server{Mode: "ring", Addresses: []string{"a:1"}}, Prefix: "p"},
		"address":  {Server: redisconn.Server{Mode: redisconn.Single}, Prefix: "p"},
		"one":      {Server: redisconn.Server{Mode: redisconn.Single, Addresses: []string{"a:1", "b:1"}}, Prefix: "p"},
		"master":   {Server: redisconn.Server{Mode: redisconn.Sentinel, Addresses: []string{"a:1"}}, Prefix: "p"},
		"database": {Server: redisconn.Server{Mode: redisconn.Cluster, Addresses: []string{"a:1"}, Database: 1}, Prefix: "p"},
		"prefix":   {Server: redisconn.Server{Mode: redisconn.Single, Addresses: []string{"a:1"}}, Prefix: "a{b}"},
	} {
		if s, err := Open(t.Context(), cfg, Deps{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v %v", want, s, err)
		}
	}
}

// What waiting doesn't heal is an error at the start that says what to change.
func TestWrongSetupIsAnError(t *testing.T) {
	plain, locked := redistest.Start(t), redistest.Start(t)
	if _, err := locked.Do("CONFIG", "SET", "requirepass", "hunter2"); err != nil {
		t.Fatal(err)
	}
	clustered := redistest.Start(t, "--cluster-enabled", "yes")
	at := func(s *redistest.Server, mode, password string) Config {
		return Config{Server: redisconn.Server{Mode: mode, Addresses: []string{s.Addr}, Password: password, Master: "m"}, Prefix: fresh()}
	}
	taken := single(plain)
	if _, err := plain.Do("SET", taken.Prefix+":rl1:secret", "of another program"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, want string
		cfg        Config
	}{
		{"no password", "check username and password", at(locked, redisconn.Single, "")},
		{"a wrong password", "check username and password", at(locked, redisconn.Single, "hunter3")},
		{"a node as a single server", "set mode to cluster", at(clustered, redisconn.Single, "")},
		{"a single server as a cluster", "set mode to single", at(plain, redisconn.Cluster, "")},
		{"a server as a sentinel", "no sentinel knows", at(plain, redisconn.Sentinel, "")},
		{"a prefix in use", "set prefix", taken},
	} {
		s, err := Open(t.Context(), c.cfg, Deps{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.what, err)
		}
		if err == nil {
			s.Close()
		} else if strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: the password is in %v", c.what, err)
		}
	}
}

// A server that can't be reached is waited for.
func TestUnreachableIsNoError(t *testing.T) {
	srv := redistest.Start(t)
	srv.Kill()
	page := &pages{}
	cfg := single(srv)
	cfg.patience = patient
	begin := time.Now()
	s, err := Open(t.Context(), cfg, Deps{Log: logger(page)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if took := time.Since(begin); took > startTime+time.Second || !page.has("can't be used yet") {
		t.Fatalf("after %v", took)
	}
	if _, ok := s.Name([]byte("k")); ok || alive(s) != 1 {
		t.Fatal("a name without a secret")
	}
	srv.Restart()
	await(t, 10*time.Second, "it is in service", func() bool {
		name, ok := s.Name([]byte("k"))
		return ok && draw(t, s, leases.Draw{Name: name, Limit: slow, Want: 1}).Tokens == 1
	})
}

// What is unwise is logged.
func TestWarnings(t *testing.T) {
	srv := redistest.Start(t, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
	page := &pages{}
	s := open(t, single(srv), patient, Deps{Log: logger(page)})
	if !page.has("maxmemory-policy") {
		t.Error("eviction is no warning")
	}
	if err := s.check(&node{}, map[string]string{"redis_version": "6.0.16", "redis_mode": "standalone"}); err != nil || !page.has("6.0.16") {
		t.Errorf("an old version: %v", err)
	}
}

// Gateways counts those alive, keeps the number through an outage, and one that closes is missed at once.
func TestGateways(t *testing.T) {
	srv := redistest.Start(t)
	cfg := single(srv)
	ofA, ofB := &counts{}, &counts{}
	a, b, c := open(t, cfg, patient, Deps{Recorder: ofA}), open(t, cfg, patient, Deps{Recorder: ofB}), open(t, cfg, patient, Deps{})
	all := func(n int) func() bool { return func() bool { return alive(a) == n && alive(b) == n } }
	began := time.Now()
	await(t, 5*time.Second, "three are alive", all(3))
	if took := time.Since(began); took > 3*firstBeat+time.Second {
		t.Errorf("that was known after %v", took)
	}
	if _, sure := a.Gateways(); sure && time.Since(began) < sureAfter/2 {
		t.Error("a number that was just read is sure")
	}
	c.Close()
	await(t, 5*time.Second, "two are alive", all(2))
	await(t, 5*time.Second, "it is sure", func() bool { _, sure := a.Gateways(); return sure })
	srv.Kill()
	failed := func(c *counts) bool { return c.failed.Load()+c.refused.Load() >= 2 }
	await(t, 5*aliveBeat, "their beats fail", func() bool { return failed(ofA) && failed(ofB) })
	if _, sure := a.Gateways(); !all(2)() || !sure {
		t.Fatalf("%d, %d after an outage", alive(a), alive(b))
	}
}

// Opening and closing leaves nothing behind: no goroutine, no connection. Whoever waits is answered.
func TestCloseLeavesNothing(t *testing.T) {
	srv := redistest.Start(t)
	cfg := single(srv)
	before, mine := runtime.NumGoroutine(), clients(t, srv)
	for i := range 100 {
		s, err := Open(t.Context(), cfg, Deps{})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 20)
		if name, ok := s.Name([]byte("k")); ok {
			for range 20 {
				s.Draw(leases.Draw{Name: name, Limit: slow, Want: 1}, func(g leases.Grant) { done <- g.Err })
			}
			s.Close()
			for range 20 {
				if err := <-done; err != nil && i == 0 {
					t.Log(err)
				}
			}
		}
		s.Close()
		name := leases.Name{}
		s.Draw(leases.Draw{Name: name, Limit: slow}, func(g leases.Grant) { done <- g.Err })
		if err := <-done; !errors.Is(err, ErrDown) {
			t.Fatalf("after Close: %v", err)
		}
	}
	await(t, 5*time.Second, "the goroutines end", func() bool { return runtime.NumGoroutine() <= before+2 })
	await(t, 5*time.Second, "the connections end", func() bool { return clients(t, srv) <= mine+1 })
}

func clients(t *testing.T, srv *redistest.Server) int {
	t.Helper()
	list, err := srv.Do("CLIENT", "LIST")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(list.(string), "name=oncegate")
}

// A listener that accepts and says nothing delays the start by no more than its bound.
func TestSilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	begin := time.Now()
	s, err := Open(t.Context(), Config{Server: redisconn.Server{Mode: redisconn.Single, Addresses: []string{l.Addr().String()}}, Prefix: fresh()}, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if took := time.Since(begin); took > startTime+time.Second {
		t.Fatalf("after %v", took)
	}
}

func alive(s *Source) int { n, _ := s.Gateways(); return n }

// A beat that comes after the goodbye would have a gateway that has left counted for as long as one that died.
func TestNobodyComesBackAfterGoodbye(t *testing.T) {
	srv := redistest.Start(t)
	cfg := single(srv)
	for range 30 {
		s := open(t, cfg, patient, Deps{})
		s.poke() // a beat, just now
		s.Close()
		if n, err := srv.Do("ZCARD", s.names.alive()); err != nil || n != int64(0) {
			t.Fatalf("%v alive after all left, %v", n, err)
		}
	}
}
