package redistest

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

const slots = 16384

var clusterConf = append([]string{
	"cluster-enabled yes",
	"cluster-config-file nodes.conf",
	"cluster-node-timeout 1000",
	"cluster-announce-ip 127.0.0.1",
	"cluster-replica-validity-factor 0",  // a replica that was long cut off may still be promoted
	"cluster-allow-replica-migration no", // so shards keep their members
}, dataConf...)

// Cluster is a Redis Cluster whose shards each have one primary at a time and keep their members. A failover needs the votes of
// more than half of the primaries, so at least 3 of them.
type Cluster struct {
	Addrs   []string  // of all servers
	Servers []*Server // first those that began as primaries, in the order of their slots

	t      testing.TB
	shards [][]*Server // members, by slot range
}

// StartCluster starts the given number of primaries with that many replicas each (node timeout 1 s), and returns when every node
// finds the cluster's state ok and every replica is in sync.
func StartCluster(t testing.TB, primaries, replicas int, args ...string) *Cluster {
	t.Helper()
	c := &Cluster{t: t, shards: make([][]*Server, primaries)}
	for i := range primaries * (replicas + 1) {
		s := launch(t, clusterConf, args...)
		c.Servers, c.Addrs = append(c.Servers, s), append(c.Addrs, s.Addr)
		c.shards[i%primaries] = append(c.shards[i%primaries], s)
	}
	for i, s := range c.Servers {
		s.awaitReady()
		s.must("CLUSTER", "SET-CONFIG-EPOCH", i+1)
	}
	for i, shard := range c.shards {
		shard[0].must("CLUSTER", "ADDSLOTSRANGE", c.firstSlot(i), c.firstSlot(i+1)-1)
	}
	for _, s := range c.Servers[1:] {
		c.Servers[0].must("CLUSTER", "MEET", "127.0.0.1", s.Port)
	}
	c.awaitMet()
	for _, shard := range c.shards {
		id := shard[0].must("CLUSTER", "MYID")
		for _, replica := range shard[1:] {
			replica.must("CLUSTER", "REPLICATE", id)
		}
	}
	c.AwaitReplicas()
	return c
}

// Patient has the nodes wait that long before they count another as dead.
func (c *Cluster) Patient(d time.Duration) {
	c.t.Helper()
	for _, s := range c.Servers {
		s.must("CONFIG", "SET", "cluster-node-timeout", d.Milliseconds())
	}
}

func (c *Cluster) firstSlot(shard int) int { return shard * slots / len(c.shards) }

// awaitMet waits until every node knows every other.
func (c *Cluster) awaitMet() {
	c.t.Helper()
	await(c.t, longBound, "all nodes met", func() string {
		for _, s := range c.Servers {
			for _, other := range c.Servers {
				if n := see(s).node(other.Addr); n == nil || n.has("handshake") {
					return fmt.Sprintf("%s has not met %s", s.Addr, other.Addr)
				}
			}
		}
		return ""
	})
}

// PrimaryOf gives the server that owns the key's slot in the eyes of more than half of the running nodes, dead or alive.
func (c *Cluster) PrimaryOf(key string) *Server {
	c.t.Helper()
	var owner *Server
	await(c.t, longBound, "a majority names the primary of "+key, func() string {
		slot, why := c.slotOf(key)
		if why != "" {
			return why
		}
		if owner = c.owner(slot, running(c.Servers)/2+1); owner == nil {
			return "no majority"
		}
		return ""
	})
	return owner
}

func (c *Cluster) slotOf(key string) (slot int, why string) {
	for _, s := range c.Servers {
		if !s.Running() {
			continue
		}
		if n, err := s.Do("CLUSTER", "KEYSLOT", key); err == nil {
			return int(n.(int64)), ""
		}
	}
	return 0, "no node answers"
}

func (c *Cluster) owner(slot, quorum int) *Server {
	return majority(c.Servers, c.Servers, quorum, func(by *Server) string { return see(by).owner(slot) })
}

// ReplicasOf gives the servers that follow s in the eyes of more than half of the running nodes, dead or alive.
func (c *Cluster) ReplicasOf(s *Server) []*Server {
	c.t.Helper()
	var replicas []*Server
	for _, member := range c.shards[c.shardOf(s)] {
		followed := majority(c.Servers, c.Servers, running(c.Servers)/2+1, func(by *Server) string { return see(by).followed(member.Addr) })
		if followed == s {
			replicas = append(replicas, member)
		}
	}
	return replicas
}

func (c *Cluster) shardOf(s *Server) int {
	c.t.Helper()
	i := slices.IndexFunc(c.shards, func(shard []*Server) bool { return slices.Contains(shard, s) })
	if i < 0 {
		c.t.Fatalf("redistest: %s is not of this cluster", s.Addr)
	}
	return i
}

// AwaitFailover returns the new primary of old's shard once all running nodes name the same one, which isn't old, it says so itself,
// and they all find the cluster's state ok.
func (c *Cluster) AwaitFailover(old *Server) *Server {
	c.t.Helper()
	slot := c.firstSlot(c.shardOf(old))
	var primary *Server
	await(c.t, longBound, "another primary than "+old.Addr, func() string {
		if primary = c.owner(slot, max(1, running(c.Servers))); primary == nil || primary == old {
			return "the nodes don't agree on another one"
		}
		if role := primary.Info("replication", "role"); role != "master" {
			return fmt.Sprintf("%s is %q", primary.Addr, role)
		}
		return c.troubled()
	})
	return primary
}

// Failover has a replica take over from its living primary (CLUSTER FAILOVER) and returns when it has begun: see AwaitFailover.
func (c *Cluster) Failover(replica *Server) {
	c.t.Helper()
	replica.must("CLUSTER", "FAILOVER")
}

// troubled names a running node that doesn't find the cluster's state ok; "" when there is none.
func (c *Cluster) troubled() string {
	for _, s := range c.Servers {
		if !s.Running() {
			continue
		}
		if state := s.info("CLUSTER", "INFO")["cluster_state"]; state != "ok" {
			return fmt.Sprintf("%s finds the state %q", s.Addr, state)
		}
	}
	return ""
}

// AwaitReplicas waits until the state is ok for every running node, and every running member of a shard is its agreed primary or a
// replica of that one with all its data, known as such to all.
func (c *Cluster) AwaitReplicas() {
	c.t.Helper()
	await(c.t, longBound, "the state is ok and all replicas are in sync", func() string {
		for i, shard := range c.shards {
			primary := c.owner(c.firstSlot(i), max(1, running(c.Servers)))
			if primary == nil {
				return fmt.Sprintf("no agreement on the primary of shard %d", i)
			}
			if why := c.trailing(shard, primary); why != "" {
				return why
			}
		}
		return c.troubled()
	})
}

func (c *Cluster) trailing(shard []*Server, primary *Server) string {
	for _, member := range shard {
		if member == primary || !member.Running() {
			continue
		}
		if why := behind(member, primary); why != "" {
			return why
		}
		for _, s := range c.Servers {
			if s.Running() && see(s).followed(member.Addr) != primary.Addr {
				return fmt.Sprintf("%s doesn't know that %s follows %s", s.Addr, member.Addr, primary.Addr)
			}
		}
	}
	return ""
}

// Heal restarts what is dead, resumes what is paused, and waits as AwaitReplicas does. A primary that comes back before the others
// missed it remains the primary.
func (c *Cluster) Heal() {
	c.t.Helper()
	for _, s := range c.Servers {
		s.revive()
	}
	c.AwaitReplicas()
	await(c.t, longBound, "no node is missed", func() string {
		for _, s := range c.Servers {
			if n := see(s).missing(); n != "" {
				return fmt.Sprintf("%s misses %s", s.Addr, n)
			}
		}
		return ""
	})
	c.AwaitReplicas() // a late failover of the outage would be seen here
}
