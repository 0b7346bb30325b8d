package chaos

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	dedupredis "github.com/oncegate/oncegate/internal/dedup/redis"
	"github.com/oncegate/oncegate/internal/redisconn"
	"github.com/oncegate/oncegate/internal/redistest"
)

// The faults of a Redis with replicas.
const (
	FailoverKill  = "failover-kill"  // the primary is killed
	FailoverSever = "failover-sever" // its replicas are cut off shortly before
	FailoverBoth  = "failover-both"  // and the gateways with it
	FailoverPause = "failover-pause" // it is paused, and comes back when another is the primary
	FailoverOrder = "failover-order" // a replica is promoted while it lives
	ReplicaPause  = "replica-pause"
)

// redisFleet is what Sentinel and Cluster have in common.
type redisFleet interface {
	primary() *redistest.Server
	replicas(of *redistest.Server) []*redistest.Server
	promote(old *redistest.Server)
	awaitFailover(old *redistest.Server) *redistest.Server
	heal()
	Patient(d time.Duration)
	state(dir, more string) string
	primaries() []*redistest.Server
	config() dedupredis.Config
}

// fleetStore is a Redis with replicas.
type fleetStore struct {
	losses
	redisFleet
	waits bool
	mu    sync.Mutex
	n     int
}

// RedisSentinel are gateways on a primary with two replicas. waits: a claim counts when a replica has it.
func RedisSentinel(gateways int, waits bool) Topology {
	return fleetTopology("sentinel", gateways, waits, func(t testing.TB, args []string) redisFleet {
		return sentinelFleet{redistest.StartSentinel(t, 2, args...)}
	})
}

// RedisCluster are gateways on a cluster of three primaries with a replica each.
func RedisCluster(gateways int, waits bool) Topology {
	return fleetTopology("cluster", gateways, waits, func(t testing.TB, args []string) redisFleet {
		return clusterFleet{redistest.StartCluster(t, 3, 1, args...)}
	})
}

func fleetTopology(name string, gateways int, waits bool, open func(testing.TB, []string) redisFleet) Topology {
	if waits {
		name += "-wait"
	}
	return Topology{Name: name, Gateways: gateways, Shared: true, Replicas: true, Open: func(t testing.TB) (Store, error) {
		args := []string{"--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction"}
		return &fleetStore{redisFleet: open(t, args), waits: waits}, nil
	}}
}

// State implements Store.
func (s *fleetStore) State(dir string) string {
	if s.waits {
		return s.state(dir, ", wait_replicas: 1")
	}
	return s.state(dir, "")
}

// Heal implements Store.
func (s *fleetStore) Heal() { s.heal() }

// Failovers is how many there were.
func (s *fleetStore) Failovers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// Dump gives the records at rest.
func (s *fleetStore) Dump() ([]Record, error) { return dumpRedis(s.config(), s.primaries()...) }

// Faults implements Store.
func (s *fleetStore) Faults() map[string]Disturb {
	return map[string]Disturb{
		FailoverKill:  s.failover(FailoverKill, (*redistest.Server).Kill),
		FailoverSever: s.failover(FailoverSever, s.sever),
		FailoverPause: s.failover(FailoverPause, (*redistest.Server).Pause),
		FailoverOrder: s.failover(FailoverOrder, s.promote),
		ReplicaPause: func(h *History, stop <-chan struct{}) error {
			defer h.Fault(FaultStore, ReplicaPause)()
			for _, r := range s.replicas(s.primary()) {
				r.Pause()
				defer r.Resume()
			}
			wait(1200*time.Millisecond, stop)
			return nil
		},
	}
}

// sever cuts the replicas off for a moment in which the primary goes on acknowledging, and kills it.
func (s *fleetStore) sever(primary *redistest.Server) {
	replicas := s.replicas(primary)
	for _, r := range replicas {
		r.Pause() // else they are back at once
	}
	_, _ = primary.Do("CLIENT", "KILL", "TYPE", "replica")
	wait(250*time.Millisecond, nil)
	primary.Kill()
	for _, r := range replicas {
		r.Resume()
	}
}

// failover harms the primary and waits until another one has taken over and the fleet is whole again.
func (s *fleetStore) failover(name string, harm func(*redistest.Server)) Disturb {
	return func(h *History, _ <-chan struct{}) error {
		defer h.Fault(FaultStore, name)()
		old := s.primary()
		seen := watchOffsets(old)
		wait(100*time.Millisecond, nil)
		harm(old)
		next := s.awaitFailover(old)
		from := seen.stop().before(next)
		s.heal()
		taken := time.Now() // until it was told, the old primary went on; one that was killed comes back as a primary, too
		if !s.waits {
			s.add(from, taken)
		}
		s.mu.Lock()
		s.n++
		s.mu.Unlock()
		return nil
	}
}

// offsets are moments at which a primary's replication offset was at most so high.
type offsets struct {
	begun time.Time
	quit  chan struct{}
	ended chan struct{}
	all   []offset
}

type offset struct {
	at time.Time
	n  int64
}

func watchOffsets(s *redistest.Server) *offsets {
	o := &offsets{begun: time.Now(), quit: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(o.ended)
		for wait(2*time.Millisecond, o.quit) {
			at := time.Now()
			n, err := strconv.ParseInt(s.Info("replication", "master_repl_offset"), 10, 64)
			if err != nil {
				return // it is gone
			}
			o.all = append(o.all, offset{at, n})
		}
	}()
	return o
}

func (o *offsets) stop() *offsets {
	close(o.quit)
	<-o.ended
	return o
}

// before gives the last moment whose every acknowledged write the promoted server has.
func (o *offsets) before(promoted *redistest.Server) time.Time {
	has, err := strconv.ParseInt(promoted.Info("replication", "second_repl_offset"), 10, 64)
	from := o.begun.Add(-2 * time.Second)
	if err != nil || has < 0 {
		return from
	}
	for _, s := range o.all {
		if s.n < has {
			from = s.at
		}
	}
	return from
}

type sentinelFleet struct{ *redistest.Sentinel }

func (s sentinelFleet) primary() *redistest.Server { return s.Primary() }

func (s sentinelFleet) replicas(of *redistest.Server) (all []*redistest.Server) {
	for _, r := range s.Servers {
		if r != of {
			all = append(all, r)
		}
	}
	return all
}

func (s sentinelFleet) promote(*redistest.Server) { s.Failover() }

func (s sentinelFleet) awaitFailover(old *redistest.Server) *redistest.Server {
	return s.AwaitFailover(old)
}

func (s sentinelFleet) heal() { s.Heal() }

func (s sentinelFleet) state(dir, more string) string {
	return redisState(dir, "sentinel", fmt.Sprintf(", master: %s%s", s.Name, more), s.Addrs)
}

func (s sentinelFleet) primaries() []*redistest.Server { return []*redistest.Server{s.Primary()} }

func (s sentinelFleet) config() dedupredis.Config {
	return dedupredis.Config{Server: redisconn.Server{Mode: redisconn.Sentinel, Addresses: s.Addrs, Master: s.Name}}
}

type clusterFleet struct{ *redistest.Cluster }

// primary is that of some slot.
func (c clusterFleet) primary() *redistest.Server { return c.PrimaryOf(strconv.Itoa(rand.IntN(1000))) }

func (c clusterFleet) replicas(of *redistest.Server) []*redistest.Server { return c.ReplicasOf(of) }

func (c clusterFleet) promote(old *redistest.Server) { c.Failover(c.ReplicasOf(old)[0]) }

func (c clusterFleet) awaitFailover(old *redistest.Server) *redistest.Server {
	return c.AwaitFailover(old)
}

func (c clusterFleet) heal() { c.Heal() }

func (c clusterFleet) state(dir, more string) string {
	return redisState(dir, "cluster", more, c.Addrs)
}

func (c clusterFleet) primaries() (all []*redistest.Server) {
	for _, s := range c.Servers {
		if s.Running() && s.Info("replication", "role") == "master" {
			all = append(all, s)
		}
	}
	return all
}

func (c clusterFleet) config() dedupredis.Config {
	return dedupredis.Config{Server: redisconn.Server{Mode: redisconn.Cluster, Addresses: c.Addrs}}
}
