package redis

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/auth/revoke"
	"github.com/oncegate/oncegate/internal/redisconn"
	"github.com/oncegate/oncegate/internal/redistest"
)

// What one node revokes, the other knows soon, and one that comes later from the start.
func TestTwoNodes(t *testing.T) {
	cfg := at(redistest.Start(t).Addr)
	a, b := newNode(t, cfg), newNode(t, cfg)
	if !a.list.Known(time.Now()) {
		t.Fatal("not known at the start")
	}
	a.shares(jti("1"))
	b.awaits("1")
	b.shares(revoke.Entry{Issuer: "https://id.test/", Subject: "bob", Before: time.Now(), Until: time.Now().Add(time.Hour)})
	bob := revoke.Token{Issuer: "https://id.test/", Subject: "bob", Issued: float64(time.Now().Unix() - 5)}
	await(t, "bob is void", func() bool { return a.list.Void(&bob) })
	late := newNode(t, cfg)
	if !late.void("1") || !late.list.Void(&bob) || late.list.Len() != 2 {
		t.Error("a node that comes later does not know all at once")
	}
	other := newNode(t, at(cfg.Addresses[0]))
	if other.list.Len() != 0 {
		t.Error("a fleet with another prefix knows it")
	}
}

// Redis is emptied, restarted without a disk, killed for a while: who remembers tells it again.
func TestLossesAreHealed(t *testing.T) {
	srv := redistest.Start(t)
	cfg := at(srv.Addr)
	a, b := newNode(t, cfg), newNode(t, cfg)
	check := func(ids ...string) {
		t.Helper()
		store := open(t, cfg)
		await(t, "the store knows all again", func() bool {
			all, _, err := store.Since(t.Context(), "")
			if err != nil || len(all) != len(ids) {
				return false
			}
			for _, e := range all {
				if !strings.Contains(strings.Join(ids, " "), e.ID) {
					t.Errorf("%+v", e)
				}
			}
			return true
		})
		if late := newNode(t, cfg); late.list.Len() != len(ids) {
			t.Errorf("a new node knows %d", late.list.Len())
		}
	}
	a.shares(jti("1"))
	b.awaits("1")
	do(t, srv, "FLUSHALL")
	check("1")
	srv.Restart()
	check("1")
	srv.Kill()
	if err := a.revoke(jti("2")); err == nil || !a.void("2") {
		t.Errorf("revoked here, and said that it is not shared: %v", err)
	}
	srv.Restart()
	b.awaits("2")
	check("1", "2")
	do(t, srv, "FLUSHALL")
	b.shares(jti("3")) // another life begins before anybody has noticed
	a.awaits("3")
	check("1", "2", "3")
}

// A partition, which says nothing: calls end within their time, the list goes on, and all is well afterwards.
func TestStall(t *testing.T) {
	srv := redistest.Start(t)
	direct := at(srv.Addr)
	proxy := redistest.NewProxy(t, srv.Addr)
	behind := direct
	behind.Addresses = []string{proxy.Addr}
	a, b := newNode(t, behind), newNode(t, direct)
	a.shares(jti("1"))
	b.awaits("1")
	proxy.Stall()
	began := time.Now()
	if err := a.revoke(jti("2")); err == nil {
		t.Error("a call through a partition went well")
	}
	if took := time.Since(began); took > callTimeout+3*time.Second {
		t.Errorf("it took %v", took)
	}
	b.shares(jti("3"))
	if !a.void("1") || !a.void("2") || !a.list.Known(time.Now()) {
		t.Error("within the grace the list serves")
	}
	proxy.Heal()
	a.awaits("3")
	b.awaits("2")
	if got := do(t, srv, "HGET", direct.Prefix+":rv1:{rv}:head", "seq"); got != "3" {
		t.Errorf("%v additions: one was repeated", got)
	}
}

// After a failover the new primary may lack the newest: it is told again.
func TestSentinelFailover(t *testing.T) {
	if testing.Short() {
		t.Skip("a failover takes seconds")
	}
	fleet := redistest.StartSentinel(t, 1)
	cfg := Config{Server: redisconn.Server{Mode: redisconn.Sentinel, Addresses: fleet.Addrs, Master: fleet.Name}, Prefix: "t"}
	a, b := newNode(t, cfg), newNode(t, cfg)
	a.shares(jti("1"))
	b.awaits("1")
	old := fleet.Primary()
	old.Kill()
	_ = a.revoke(jti("2"))
	fleet.AwaitFailover(old)
	b.awaits("2")
	if !b.void("1") {
		t.Error("a failover revived a token")
	}
}

func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("a cluster takes seconds")
	}
	fleet := redistest.StartCluster(t, 3, 0)
	cfg := Config{Server: redisconn.Server{Mode: redisconn.Cluster, Addresses: fleet.Addrs}, Prefix: "t"}
	a, b := newNode(t, cfg), newNode(t, cfg)
	a.shares(jti("1"))
	b.awaits("1")
}

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
	plain, locked, clustered := redistest.Start(t), redistest.Start(t), redistest.Start(t, "--cluster-enabled", "yes")
	do(t, locked, "CONFIG", "SET", "requirepass", "hunter2")
	with := func(srv *redistest.Server, mode, password string) Config {
		return Config{Server: redisconn.Server{Mode: mode, Addresses: []string{srv.Addr}, Password: password, Master: "m"}, Prefix: "t"}
	}
	for _, c := range []struct {
		what, want string
		cfg        Config
	}{
		{"no password", "check username and password", with(locked, redisconn.Single, "")},
		{"a wrong password", "check username and password", with(locked, redisconn.Single, "hunter3")},
		{"a node as a single server", "set mode to cluster", with(clustered, redisconn.Single, "")},
		{"a single server as a cluster", "set mode to single", with(plain, redisconn.Cluster, "")},
		{"a server as a sentinel", "no sentinel knows", with(plain, redisconn.Sentinel, "")},
	} {
		s, err := Open(t.Context(), c.cfg, Deps{})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: %v", c.what, err)
		}
		if err == nil {
			s.Close()
		}
	}
	if s, err := Open(t.Context(), with(locked, redisconn.Single, "hunter2"), Deps{}); err != nil {
		t.Error(err)
	} else {
		s.Close()
	}
}

// What is unwise is logged.
func TestEvictionIsWarnedOf(t *testing.T) {
	for warns, args := range map[bool][]string{true: {"--maxmemory", "100mb", "--maxmemory-policy", "volatile-ttl"}, false: {"--maxmemory-policy", "volatile-ttl"}} {
		log := &pages{}
		s, err := Open(t.Context(), at(redistest.Start(t, args...).Addr), Deps{Log: logger(log)})
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if log.has("maxmemory-policy") != warns {
			t.Errorf("%v: %v", args, log.lines)
		}
	}
}

// A server that can't be reached, or says nothing, is no error, and delays the start by no more than its bound.
func TestUnreachableIsNoError(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent := l.Addr().String()
	defer l.Close()
	srv := redistest.Start(t)
	srv.Kill()
	for _, cfg := range []Config{
		at(silent), at(srv.Addr), {Server: redisconn.Server{Mode: redisconn.Cluster, Addresses: []string{srv.Addr}}, Prefix: "t"}, {Server: redisconn.Server{Mode: redisconn.Sentinel, Master: "m", Addresses: []string{srv.Addr, silent}}, Prefix: "t"},
	} {
		log, began := &pages{}, time.Now()
		s, err := Open(t.Context(), cfg, Deps{Log: logger(log)})
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > startTime+3*time.Second || !log.has("can't be used yet") {
			t.Errorf("%s %v: after %v", cfg.Mode, cfg.Addresses, took)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := s.Add(t.Context(), jti("1")); err == nil {
			t.Error("a closed store takes an entry")
		}
	}
	n := newNode(t, at(srv.Addr))
	if n.list.Known(time.Now()) {
		t.Error("known though nobody answered")
	}
	srv.Restart()
	await(t, "the list is known", func() bool { return n.list.Known(time.Now()) })
}
