package redis

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/ratelimit"
	"github.com/oncegate/oncegate/internal/ratelimit/leases"
	"github.com/oncegate/oncegate/internal/redisconn"
	"github.com/oncegate/oncegate/internal/redistest"
)

func ofCluster(c *redistest.Cluster) Config {
	return Config{Server: redisconn.Server{Mode: redisconn.Cluster, Addresses: c.Addrs[:2]}, Prefix: fresh()}
}

// load draws one token after the other of many buckets, until it is ended, and then tells of it.
type load struct {
	granted, errs atomic.Int64
	mu            sync.Mutex
	said          map[string]int
	stop          chan struct{}
	clients       sync.WaitGroup
}

func startLoad(t *testing.T, s *Source, clients, keys int) *load {
	l := &load{stop: make(chan struct{}), said: map[string]int{}}
	for i := range clients {
		l.clients.Go(func() {
			for n := i; ; n++ {
				select {
				case <-l.stop:
					return
				default:
				}
				g := draw(t, s, leases.Draw{Name: named(t, s, fmt.Sprint("k", n%keys)), Limit: slow, Want: 1})
				if g.Err != nil {
					l.errs.Add(1)
					l.mu.Lock()
					l.said[g.Err.Error()]++
					l.mu.Unlock()
					time.Sleep(time.Millisecond)
				}
				l.granted.Add(g.Tokens)
			}
		})
	}
	t.Cleanup(l.end)
	return l
}

// await waits until so many were granted.
func (l *load) await(t *testing.T, n int64) {
	t.Helper()
	await(t, 20*time.Second, "the load", func() bool { return l.granted.Load() >= n })
}

func (l *load) end() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.clients.Wait()
}

// spent is what the buckets miss.
func spent(t *testing.T, s *Source, keys int) (tokens float64) {
	t.Helper()
	for n := range keys {
		g := good(t, draw(t, s, leases.Draw{Name: named(t, s, fmt.Sprint("k", n)), Limit: slow}))
		tokens += slow.Burst() - g.Left
	}
	return tokens
}

// Edge case 17: slots that move while they are drawn from cost no answer, no token, and no CROSSSLOT.
func TestSlotsMoveUnderLoad(t *testing.T) {
	c := redistest.StartCluster(t, 3, 0)
	s := open(t, ofCluster(c), patient, Deps{})
	const keys = 40
	l := startLoad(t, s, 8, keys)
	l.await(t, 10*keys)
	for n := range keys {
		move(t, c, s.names.of(bucketKind, named(t, s, fmt.Sprint("k", n))))
	}
	l.end()
	if l.errs.Load() > 0 {
		t.Fatalf("%d errors: %v", l.errs.Load(), l.said)
	}
	if got := spent(t, s, keys); got < float64(l.granted.Load())-1 || got > float64(l.granted.Load())+1 {
		t.Fatalf("%d granted, %v spent", l.granted.Load(), got)
	}
	t.Logf("%d granted while %d slots moved", l.granted.Load(), keys)
}

// move has the next primary take over the slot of a key, as redis-cli does.
func move(t *testing.T, c *redistest.Cluster, key string) {
	t.Helper()
	do := func(s *redistest.Server, args ...any) any {
		t.Helper()
		v, err := s.Do(args...)
		if err != nil {
			t.Fatal(args, err)
		}
		return v
	}
	await(t, 10*time.Second, "all know each other's epochs", func() bool { // else an older claim of the slot may win for a while
		return epochs(c.Servers[0]) == epochs(c.Servers[1]) && epochs(c.Servers[0]) == epochs(c.Servers[2])
	})
	from := c.PrimaryOf(key)
	to := c.Servers[0]
	for i, s := range c.Servers {
		if s == from {
			to = c.Servers[(i+1)%3]
		}
	}
	slot := do(from, "CLUSTER", "KEYSLOT", key)
	fromID, toID := do(from, "CLUSTER", "MYID"), do(to, "CLUSTER", "MYID")
	do(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", fromID)
	do(from, "CLUSTER", "SETSLOT", slot, "MIGRATING", toID)
	time.Sleep(2 * time.Millisecond) // draws meet the slot between
	for _, k := range do(from, "CLUSTER", "GETKEYSINSLOT", slot, 100).([]any) {
		do(from, "MIGRATE", "127.0.0.1", to.Port, k, 0, 1000)
	}
	for _, s := range []*redistest.Server{to, from, c.Servers[0], c.Servers[1], c.Servers[2]} {
		do(s, "CLUSTER", "SETSLOT", slot, "NODE", toID)
	}
}

// epochs are those of all nodes' claims, as one knows them.
func epochs(s *redistest.Server) string {
	text, _ := s.Do("CLUSTER", "NODES")
	var list []string
	for line := range strings.Lines(fmt.Sprint(text)) {
		if f := strings.Fields(line); len(f) > 6 {
			list = append(list, f[0]+" "+f[6])
		}
	}
	slices.Sort(list)
	return strings.Join(list, ",")
}

// A shard that dies costs its own keys' answers only, until a replica has taken over.
func TestClusterFailover(t *testing.T) {
	c := redistest.StartCluster(t, 3, 1)
	rec := &counts{}
	s := open(t, ofCluster(c), 200*time.Millisecond, Deps{Recorder: rec})
	name := named(t, s, "k")
	key := s.names.of(bucketKind, name)
	good(t, draw(t, s, leases.Draw{Name: name, Limit: slow, Want: 100}))
	old := c.PrimaryOf(key)
	other := elsewhereThan(t, c, s, old)
	await(t, 5*time.Second, "the replica has it", func() bool {
		n, err := c.ReplicasOf(old)[0].Do("DBSIZE")
		return err == nil && n.(int64) > 0
	})
	old.Kill()
	begin := time.Now()
	await(t, 5*time.Second, "it is noticed", func() bool { draw(t, s, leases.Draw{Name: name, Limit: slow}); return rec.downs.Load() > 0 })
	if g := draw(t, s, leases.Draw{Name: other, Limit: slow, Want: 1}); g.Err != nil {
		t.Fatalf("another shard: %v", g.Err)
	}
	c.AwaitFailover(old)
	promoted := time.Now()
	var g leases.Grant
	await(t, 10*time.Second, "service again", func() bool { g = draw(t, s, leases.Draw{Name: name, Limit: slow, Want: 1}); return g.Err == nil })
	t.Logf("promoted after %v, in service %v later", promoted.Sub(begin), time.Since(promoted))
	if g.Left > 900 || g.Fresh {
		t.Fatalf("%+v", g)
	}
	if charges := []ratelimit.Charge{charge(slots(1, ratelimit.FailDeny), "k")}; true {
		if ok, err := s.Acquire(t.Context(), charges); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
}

// elsewhereThan is a name in another shard.
func elsewhereThan(t *testing.T, c *redistest.Cluster, s *Source, than *redistest.Server) leases.Name {
	for n := range 100 {
		name := named(t, s, fmt.Sprint("other", n))
		if c.PrimaryOf(s.names.of(bucketKind, name)) != than {
			return name
		}
	}
	t.Fatal("all keys in one shard")
	return leases.Name{}
}

// After a failover by the sentinels service is back, what was replicated still counts, and a kill costs at most what was not.
func TestSentinelFailover(t *testing.T) {
	fleet := redistest.StartSentinel(t, 1)
	rec := &counts{}
	cfg := Config{Server: redisconn.Server{Mode: redisconn.Sentinel, Addresses: fleet.Addrs, Master: fleet.Name}, Prefix: fresh()}
	s := open(t, cfg, 200*time.Millisecond, Deps{Recorder: rec})
	const keys = 20
	name := named(t, s, "k0")
	for round, fail := range []func(old *redistest.Server){
		func(*redistest.Server) { fleet.Failover() },
		func(old *redistest.Server) { old.Kill() },
	} {
		l := startLoad(t, s, 4, keys)
		l.await(t, 10*keys)
		l.end()
		fleet.AwaitReplicas()
		l = startLoad(t, s, 4, keys)
		before := spent(t, s, keys)
		old := fleet.Primary()
		granted := l.granted.Load()
		fail(old)
		fleet.AwaitFailover(old)
		promoted := time.Now()
		await(t, 10*time.Second, "service again", func() bool { return draw(t, s, leases.Draw{Name: name, Limit: slow, Want: 1}).Err == nil })
		back := time.Since(promoted)
		l.end()
		t.Logf("round %d: in service %v after the promotion, errors: %v", round, back, l.said)
		if after := spent(t, s, keys); after < before {
			t.Errorf("round %d: %v were spent before and %v after; %d granted since", round, before, after, l.granted.Load()-granted)
		}
		if named(t, s, "k0") != name {
			t.Error("the name changed")
		}
		fleet.Heal()
	}
	if _, err := fleet.Primary().Do("GET", s.names.secret()); err != nil {
		t.Error(err)
	}
}

// A primary that was made a replica says READONLY: that is no answer but a reason to stop asking, until it is one again.
func TestReadOnlyIsDown(t *testing.T) {
	srv, other := redistest.Start(t), redistest.Start(t)
	rec := &counts{}
	s := open(t, single(srv), patient, Deps{Recorder: rec})
	name := named(t, s, "k")
	good(t, draw(t, s, leases.Draw{Name: name, Limit: slow, Want: 1}))
	if _, err := srv.Do("REPLICAOF", "127.0.0.1", other.Port); err != nil {
		t.Fatal(err)
	}
	said := ""
	await(t, 5*time.Second, "it is down", func() bool {
		if g := draw(t, s, leases.Draw{Name: name, Limit: slow, Want: 1}); g.Err != nil {
			said += g.Err.Error() + "\n"
		}
		return rec.downs.Load() == 1
	})
	if !strings.Contains(said, "READONLY") {
		t.Fatal(said)
	}
	if _, err := srv.Do("REPLICAOF", "NO", "ONE"); err != nil {
		t.Fatal(err)
	}
	await(t, 5*time.Second, "it is up", func() bool { return draw(t, s, leases.Draw{Name: name, Limit: slow}).Err == nil })
}
