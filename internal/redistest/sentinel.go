package redistest

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"testing"
	"time"
)

const (
	monitored = "oncegate"
	quorum    = 2
)

// downAfter is each sentinel's patience in ms. Were they alike, all three would miss the primary at once and each vote for itself,
// again and again; so the second one to miss it leads, and the third is a voter.
var downAfter = []int{500, 800, 1300}

// quick are Sentinel's own periods in ms. Failover keeps its rules and only waits less. The ping's must be below every patience,
// which begins with a link while the first ping comes one period later; and 5 of them must exceed 1 s, or the replicas' INFO, which comes
// every 1 s during an outage, counts as stale and no replica as good. A busy machine must not put it to rest for 30 s (tilt).
var quick = []any{"SENTINEL", "DEBUG", "ping-period", 300, "info-period", 300, "publish-period", 300,
	"tilt-trigger", 10000, "tilt-period", 1000, "min-link-reconnect-period", 1000}

// Sentinel is a primary with replicas, watched by three sentinels of which two must agree.
type Sentinel struct {
	Name      string    // under which the sentinels know the primary
	Addrs     []string  // of the sentinels
	Servers   []*Server // first the one that began as the primary
	Sentinels []*Server

	t testing.TB
}

// StartSentinel starts 1 primary, the given number of replicas and 3 sentinels (quorum 2, down after 800 ms in the eyes
// of two), and returns when every replica is in sync and every sentinel knows all. args go to the servers, not to the sentinels.
func StartSentinel(t testing.TB, replicas int, args ...string) *Sentinel {
	t.Helper()
	s := &Sentinel{Name: monitored, t: t}
	for range replicas + 1 {
		s.Servers = append(s.Servers, launch(t, dataConf, args...))
	}
	primary := s.Servers[0]
	for _, server := range s.Servers {
		server.awaitReady()
	}
	for _, replica := range s.Servers[1:] {
		replica.must("REPLICAOF", "127.0.0.1", primary.Port)
		replica.must("CONFIG", "REWRITE")
	}
	s.awaitReplicasOf(primary)
	for _, patience := range downAfter { // only now: they ask a primary for its replicas at once, then seldom
		watcher := launch(t, watcherConf(primary, patience), "--sentinel")
		watcher.greeting = quick
		s.Sentinels = append(s.Sentinels, watcher)
	}
	for _, watcher := range s.Sentinels {
		s.Addrs = append(s.Addrs, watcher.Addr)
		watcher.awaitReady()
	}
	s.awaitKnown()
	return s
}

func watcherConf(primary *Server, patience int) []string {
	return []string{
		fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d %d", monitored, primary.Port, quorum),
		fmt.Sprintf("sentinel down-after-milliseconds %s %d", monitored, patience),
		"sentinel failover-timeout " + monitored + " 2000", // a split vote is tried again after twice that
		"sentinel parallel-syncs " + monitored + " 8",
	}
}

// Primary gives the server that a quorum of the running sentinels name, dead or alive.
func (s *Sentinel) Primary() *Server {
	s.t.Helper()
	var primary *Server
	await(s.t, longBound, "a quorum names the primary", func() string {
		if primary = majority(s.Servers, s.Sentinels, quorum, s.named); primary == nil {
			return "no quorum"
		}
		return ""
	})
	return primary
}

// named is the primary's address in the eyes of one sentinel.
func (s *Sentinel) named(by *Server) string {
	reply, _ := by.Do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", s.Name)
	pair, _ := reply.([]any)
	if len(pair) != 2 {
		return ""
	}
	host, _ := pair[0].(string)
	port, _ := pair[1].(string)
	return net.JoinHostPort(host, port)
}

// Patient has the sentinels wait that long before they count a primary as dead: a machine that stands still for a moment is none.
func (s *Sentinel) Patient(d time.Duration) {
	s.t.Helper()
	for _, watcher := range s.Sentinels {
		watcher.must("SENTINEL", "SET", s.Name, "down-after-milliseconds", d.Milliseconds())
	}
}

// Failover asks a sentinel to promote a replica although the primary lives, and returns when it has begun: see AwaitFailover.
func (s *Sentinel) Failover() {
	s.t.Helper()
	await(s.t, longBound, "a failover begins", func() string {
		var err error
		for _, watcher := range s.Sentinels {
			if !watcher.Running() {
				continue
			}
			if _, err = watcher.Do("SENTINEL", "FAILOVER", s.Name); err == nil {
				return ""
			}
		}
		return fmt.Sprint("no sentinel begins: ", err)
	})
}

// AwaitFailover returns the new primary once all running sentinels (at least a quorum) name the same one, which isn't old, and it
// says so itself.
func (s *Sentinel) AwaitFailover(old *Server) *Server {
	s.t.Helper()
	var primary *Server
	await(s.t, longBound, "another primary than "+old.Addr, func() string {
		voters := max(quorum, running(s.Sentinels))
		if primary = majority(s.Servers, s.Sentinels, voters, s.named); primary == nil || primary == old {
			return "the sentinels don't agree on another one"
		}
		if role := primary.Info("replication", "role"); role != "master" {
			return fmt.Sprintf("%s is %q", primary.Addr, role)
		}
		return ""
	})
	return primary
}

// AwaitReplicas waits until every other running server is a replica of the primary with all its data.
func (s *Sentinel) AwaitReplicas() {
	s.t.Helper()
	s.awaitReplicasOf(s.Primary())
}

func (s *Sentinel) awaitReplicasOf(primary *Server) {
	s.t.Helper()
	await(s.t, longBound, "all replicas of "+primary.Addr+" are in sync", func() string {
		for _, server := range s.Servers {
			if server == primary || !server.Running() {
				continue
			}
			if why := behind(server, primary); why != "" {
				return why
			}
		}
		return ""
	})
}

// Heal restarts what is dead, resumes what is paused, and waits until one server is the primary, all others its replicas in sync,
// and every sentinel content. A primary that comes back before the sentinels missed it remains the primary.
func (s *Sentinel) Heal() {
	s.t.Helper()
	for _, server := range slices.Concat(s.Servers, s.Sentinels) {
		server.revive()
	}
	s.awaitKnown()
	s.AwaitReplicas()
	s.awaitKnown() // a late failover of the outage would be seen here
}

// awaitKnown waits until all sentinels see one living primary, all of its replicas living, and each other.
func (s *Sentinel) awaitKnown() {
	s.t.Helper()
	replicas, others := strconv.Itoa(len(s.Servers)-1), strconv.Itoa(len(s.Sentinels)-1)
	await(s.t, longBound, "all sentinels know all", func() string {
		if majority(s.Servers, s.Sentinels, len(s.Sentinels), s.named) == nil {
			return "they don't agree on the primary"
		}
		for _, watcher := range s.Sentinels {
			reply, _ := watcher.Do("SENTINEL", "MASTER", s.Name)
			m := pairs(reply)
			if m["flags"] != "master" || m["num-slaves"] != replicas || m["num-other-sentinels"] != others {
				return fmt.Sprintf("%s sees %s, %s replicas, %s sentinels", watcher.Addr, m["flags"], m["num-slaves"], m["num-other-sentinels"])
			}
			reply, _ = watcher.Do("SENTINEL", "REPLICAS", s.Name)
			list, _ := reply.([]any)
			for _, r := range list {
				if m := pairs(r); m["flags"] != "slave" || m["master-link-status"] != "ok" {
					return fmt.Sprintf("%s sees replica %s %s, link %s", watcher.Addr, m["name"], m["flags"], m["master-link-status"])
				}
			}
		}
		return ""
	})
}

// pairs reads an array of names and values.
func pairs(reply any) map[string]string {
	list, _ := reply.([]any)
	fields := map[string]string{}
	for pair := range slices.Chunk(list, 2) {
		if len(pair) == 2 {
			fields[fmt.Sprint(pair[0])] = fmt.Sprint(pair[1])
		}
	}
	return fields
}

func running(servers []*Server) (n int) {
	for _, s := range servers {
		if s.Running() {
			n++
		}
	}
	return n
}
