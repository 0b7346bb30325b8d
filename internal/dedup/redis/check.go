package redis

import (
	"context"
	"errors"
	"fmt"

	"github.com/oncegate/oncegate/internal/redisconn"
)

// errFatal marks what waiting doesn't heal.
var errFatal = errors.New("redis")

func fatal(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errFatal}, args...)...)
}

func isFatal(err error) bool { return errors.Is(err, errFatal) }

// check says what makes a server unfit for records.
func (s *Store) check(n *node, info map[string]string) error {
	mode, clustered := info["redis_mode"], s.cfg.Mode == redisconn.Cluster
	switch policy := info["maxmemory_policy"]; {
	case mode == "sentinel":
		return fatal("%s is a sentinel: set mode to sentinel", n.addr)
	case mode == "cluster" && !clustered:
		return fatal("%s is a node of a cluster: set mode to cluster", n.addr)
	case mode == "standalone" && clustered:
		return fatal("%s is not a node of a cluster: set mode to single or sentinel", n.addr)
	case redisconn.TooOld(info["redis_version"]):
		return fatal("%s is Redis %s: at least %d.%d is needed", n.addr, info["redis_version"], redisconn.LeastMajor, redisconn.LeastMinor)
	case policy != "" && policy != "noeviction":
		return fatal("%s evicts records when its memory is full (maxmemory-policy %s), and writes would be executed twice: set maxmemory-policy to noeviction",
			n.addr, policy)
	}
	return nil
}

// warn tells once of what makes a server less safe than it should be.
func (s *Store) warn(ctx context.Context, n *node, seen *sighting) {
	switch {
	case seen.fields["aof_enabled"] == "0":
		s.tell(n, "appendonly", "redis keeps no append-only file: a restart forgets every key, and repeated writes execute again; set appendonly yes and appendfsync always")
	case seen.fields["aof_enabled"] == "1" && s.fsync(ctx, n) != "always":
		s.tell(n, "appendfsync", "redis may lose the last second of claims and results when its machine fails: set appendfsync always")
	}
	if s.cfg.WaitReplicas > seen.replicas {
		s.tell(n, "replicas", "redis has fewer replicas online than wait_replicas asks for: new keyed writes are refused until they are back",
			"replicas", seen.replicas, "wait_replicas", s.cfg.WaitReplicas)
	} else {
		s.untell(n, "replicas")
	}
	if seen.replicas > 0 && s.cfg.WaitReplicas == 0 {
		s.tell(n, "no wait", "redis has replicas, but wait_replicas is 0: a failover may forget the last claims and results")
	}
}

// fsync is the setting, once per server; many providers forbid CONFIG, and then nobody knows.
func (s *Store) fsync(ctx context.Context, n *node) string {
	if s.told[n.addr+" fsync asked"] {
		return "always"
	}
	setting, err := n.client.ConfigGet(ctx, "appendfsync").Result()
	if err != nil {
		return "always"
	}
	s.told[n.addr+" fsync asked"] = true
	return setting["appendfsync"]
}

func (s *Store) tell(n *node, what, message string, args ...any) {
	if id := n.addr + " " + what; !s.told[id] {
		s.told[id] = true
		s.log.Warn(message, append([]any{"server", n.addr}, args...)...)
	}
}

func (s *Store) untell(n *node, what string) { delete(s.told, n.addr+" "+what) }
