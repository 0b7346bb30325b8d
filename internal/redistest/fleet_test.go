package redistest

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// knows has a real client find its way by the addresses alone.
func knows(t *testing.T, client redis.UniversalClient) {
	t.Helper()
	defer client.Close()
	for _, key := range []string{"a", "b", "c", "d"} { // of different slots
		if err := client.Set(t.Context(), key, "v", 0).Err(); err != nil {
			t.Errorf("SET %s: %v", key, err)
		}
	}
}

func TestSentinelFailsOver(t *testing.T) {
	begun := time.Now()
	s := StartSentinel(t, 2)
	t.Logf("started in %v", time.Since(begun))
	old := s.Primary()
	if old != s.Servers[0] || len(s.Addrs) != 3 || s.Name != "oncegate" {
		t.Fatalf("primary %s, sentinels %v, name %s", old.Addr, s.Addrs, s.Name)
	}
	knows(t, redis.NewFailoverClient(&redis.FailoverOptions{MasterName: s.Name, SentinelAddrs: s.Addrs}))
	if _, err := old.Do("SET", "k", "v"); err != nil {
		t.Fatal(err)
	}
	s.AwaitReplicas()
	begun = time.Now()
	old.Kill()
	fresh := s.AwaitFailover(old)
	took := time.Since(begun)
	t.Logf("failed over in %v", took)
	if fresh == old || s.Primary() != fresh || took > 10*time.Second {
		t.Fatalf("new primary %s of %s after %v", fresh.Addr, old.Addr, took)
	}
	if v, err := fresh.Do("GET", "k"); err != nil || v != "v" {
		t.Fatalf("GET gives %v, %v", v, err)
	}
	begun = time.Now()
	s.Heal()
	t.Logf("healed in %v", time.Since(begun))
	if role := old.Info("replication", "role"); role != "slave" || s.Primary() != fresh {
		t.Fatalf("the old primary is %q, the primary %s", role, s.Primary().Addr)
	}
	if v, err := old.Do("GET", "k"); err != nil || v != "v" {
		t.Fatalf("the old primary has %v, %v", v, err)
	}
}

func TestSentinelFailsOverOnDemand(t *testing.T) {
	s := StartSentinel(t, 1)
	old := s.Primary()
	s.Failover()
	if fresh := s.AwaitFailover(old); fresh != s.Servers[1] {
		t.Fatalf("new primary %s", fresh.Addr)
	}
	s.Heal()
	if role := old.Info("replication", "role"); role != "slave" {
		t.Fatalf("the old primary is %q", role)
	}
}

func TestSentinelFailsOverFromAPausedPrimary(t *testing.T) {
	s := StartSentinel(t, 1)
	old := s.Primary()
	s.Sentinels[0].Kill() // two are a quorum
	old.Pause()
	fresh := s.AwaitFailover(old)
	old.Resume()
	s.AwaitReplicas()
	s.Heal()
	if s.Primary() != fresh || !s.Sentinels[0].Running() {
		t.Fatalf("the primary is %s, not %s", s.Primary().Addr, fresh.Addr)
	}
}

func TestClusterFailsOver(t *testing.T) {
	begun := time.Now()
	c := StartCluster(t, 3, 1)
	t.Logf("started in %v", time.Since(begun))
	if len(c.Addrs) != 6 {
		t.Fatalf("%d servers", len(c.Addrs))
	}
	knows(t, redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs[:1]}))
	old := c.PrimaryOf("k")
	if _, err := old.Do("SET", "k", "v"); err != nil {
		t.Fatal(err)
	}
	replicas := c.ReplicasOf(old)
	if len(replicas) != 1 || len(c.ReplicasOf(replicas[0])) != 0 {
		t.Fatalf("%d replicas", len(replicas))
	}
	c.AwaitReplicas()
	begun = time.Now()
	old.Kill()
	fresh := c.AwaitFailover(old)
	t.Logf("failed over in %v", time.Since(begun))
	if fresh != replicas[0] || c.PrimaryOf("k") != fresh {
		t.Fatalf("new primary %s", fresh.Addr)
	}
	if v, err := fresh.Do("GET", "k"); err != nil || v != "v" {
		t.Fatalf("GET gives %v, %v", v, err)
	}
	begun = time.Now()
	c.Heal()
	t.Logf("healed in %v", time.Since(begun))
	if back := c.ReplicasOf(fresh); len(back) != 1 || back[0] != old {
		t.Fatalf("%d replicas of the new primary", len(back))
	}
	c.Failover(old)
	if again := c.AwaitFailover(fresh); again != old {
		t.Fatalf("%s took over, not %s", again.Addr, old.Addr)
	}
}

func TestClusterOfOne(t *testing.T) {
	c := StartCluster(t, 1, 0)
	if c.PrimaryOf("any") != c.Servers[0] {
		t.Fatal("the only server owns no slot")
	}
}
