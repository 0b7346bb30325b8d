package fleet

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/redistest"
)

// Store is the Redis of a fleet.
type Store struct {
	Name    string
	servers []*redistest.Server
	mode    string // of state.redis: its first words
	seeds   []string

	Proxy    *redistest.Proxy    // in front of a single one, when asked for
	Sentinel *redistest.Sentinel // or nil
	Cluster  *redistest.Cluster  // or nil
}

// Single starts one server. proxied puts a proxy before it, which can part it from the gateways.
func Single(t testing.TB, proxied bool) *Store {
	t.Helper()
	server := redistest.Start(t, "--maxmemory-policy", "noeviction")
	s := &Store{Name: "single", servers: []*redistest.Server{server}, mode: "single", seeds: []string{server.Addr}}
	if proxied {
		s.Proxy = redistest.NewProxy(t, server.Addr)
		s.seeds = []string{s.Proxy.Addr}
	}
	return s
}

// Watched starts a primary with two replicas and three sentinels.
func Watched(t testing.TB) *Store {
	t.Helper()
	fleet := redistest.StartSentinel(t, 2, "--maxmemory-policy", "noeviction")
	return &Store{Name: "sentinel", servers: fleet.Servers, mode: "sentinel, master: " + fleet.Name, seeds: fleet.Addrs, Sentinel: fleet}
}

// Sharded starts a cluster of three primaries with a replica each.
func Sharded(t testing.TB) *Store {
	t.Helper()
	cluster := redistest.StartCluster(t, 3, 1, "--maxmemory-policy", "noeviction")
	return &Store{Name: "cluster", servers: cluster.Servers, mode: "cluster", seeds: cluster.Addrs, Cluster: cluster}
}

// Redis is state.redis of the gateways, as a flow mapping.
func (s *Store) Redis() string {
	return fmt.Sprintf("{ mode: %s, addresses: [%s], prefix: fleet }", s.mode, strings.Join(s.seeds, ", "))
}

// First is the server of a single one.
func (s *Store) First() *redistest.Server { return s.servers[0] }

// Primaries are the servers that run as such.
func (s *Store) Primaries() (all []*redistest.Server) {
	for _, one := range s.servers {
		if one.Running() && one.Info("replication", "role") == "master" {
			all = append(all, one)
		}
	}
	return all
}

var callsField = regexp.MustCompile(`^calls=(\d+)`)

// Scripts is how many scripts all primaries ran since they began: EVALSHA, EVAL and FCALL.
func (s *Store) Scripts() (n int64) {
	for _, one := range s.Primaries() {
		for _, command := range []string{"evalsha", "eval", "fcall"} {
			if m := callsField.FindStringSubmatch(one.Info("commandstats", "cmdstat_"+command)); m != nil {
				calls, _ := strconv.ParseInt(m[1], 10, 64)
				n += calls
			}
		}
	}
	return n
}

// Clients is how many connections all primaries have from outside.
func (s *Store) Clients() (n int) {
	for _, one := range s.Primaries() {
		if v, err := strconv.Atoi(one.Info("clients", "connected_clients")); err == nil {
			n += v
		}
	}
	return n
}

// Each sends a command to every primary.
func (s *Store) Each(args ...any) error {
	for _, one := range s.Primaries() {
		if _, err := one.Do(args...); err != nil {
			return fmt.Errorf("%v to %s: %w", args, one.Addr, err)
		}
	}
	return nil
}
