package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"

	goredis "github.com/redis/go-redis/v9"

	"github.com/oncegate/oncegate/internal/redisconn"
)

// scout finds the primaries. It is used by one goroutine at a time.
type scout struct {
	cfg     Config
	fleet   *fleet
	clients map[string]*goredis.Client // to sentinels, and to cluster nodes of any role
	login   map[string]bool            // sentinels that ask for the password
}

func newScout(cfg Config, f *fleet) *scout {
	return &scout{cfg: cfg, fleet: f, clients: map[string]*goredis.Client{}, login: map[string]bool{}}
}

// discover renews the fleet's view. A fatal error is one that waiting doesn't heal.
func (s *scout) discover(ctx context.Context) error {
	switch s.cfg.Mode {
	case redisconn.Sentinel:
		return s.askSentinels(ctx)
	case redisconn.Cluster:
		return s.askCluster(ctx)
	}
	n := s.fleet.known(s.cfg.Addresses[0], "")
	if n == nil {
		return fatal("address %q is not host:port", s.cfg.Addresses[0])
	}
	s.fleet.replace(func(int) *node { return n })
	return nil
}

// askSentinels asks all: one that was cut off names an old primary, but in an older epoch.
func (s *scout) askSentinels(ctx context.Context) error {
	best, epoch, unknown := "", int64(-1), 0
	var errs []error
	for _, addr := range s.cfg.Addresses {
		primary, e, err := s.askSentinel(ctx, addr)
		switch {
		case err == nil && e > epoch:
			best, epoch = primary, e
		case says(err, "ERR") || says(err, "WRONGPASS") || says(err, "NOPERM"):
			unknown++
			errs = append(errs, fmt.Errorf("%s: %w", addr, err))
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", addr, err))
		}
	}
	switch {
	case best != "":
	case unknown == len(s.cfg.Addresses):
		return fatal("no sentinel knows a primary by the name %q: set addresses to the sentinels and master to the name in their configuration: %w",
			s.cfg.Master, errors.Join(errs...))
	default:
		return fmt.Errorf("no sentinel answers: %w", errors.Join(errs...))
	}
	n := s.fleet.known(best, "")
	if n == nil {
		return fmt.Errorf("the sentinels name %q", best)
	}
	s.fleet.replace(func(int) *node { return n })
	return nil
}

func (s *scout) askSentinel(ctx context.Context, addr string) (primary string, epoch int64, err error) {
	ctx, cancel := within(ctx, probeTimeout)
	defer cancel()
	about, err := s.sentinel(addr).Do(ctx, "sentinel", "master", s.cfg.Master).StringSlice()
	if says(err, "NOAUTH") && !s.login[addr] {
		s.login[addr] = true
		_ = s.clients[addr].Close()
		delete(s.clients, addr)
		about, err = s.sentinel(addr).Do(ctx, "sentinel", "master", s.cfg.Master).StringSlice()
	}
	if err != nil {
		return "", 0, err
	}
	fields := map[string]string{}
	for pair := range slices.Chunk(about, 2) {
		if len(pair) == 2 {
			fields[pair[0]] = pair[1]
		}
	}
	epoch, err = strconv.ParseInt(fields["config-epoch"], 10, 64)
	return net.JoinHostPort(fields["ip"], fields["port"]), epoch, err
}

// sentinel is a client without a name and password: most sentinels have none, and would refuse one.
func (s *scout) sentinel(addr string) *goredis.Client {
	if s.clients[addr] == nil {
		opts := clientOptions(s.cfg, addr)
		opts.DB, opts.ReadTimeout = 0, probeTimeout
		if !s.login[addr] {
			opts.Username, opts.Password = "", ""
		}
		s.clients[addr] = goredis.NewClient(opts)
	}
	return s.clients[addr]
}

// askCluster asks one node after the other until one answers.
func (s *scout) askCluster(ctx context.Context) error {
	var errs []error
	seeds := slices.Concat(s.fleet.addresses(), s.cfg.Addresses)
	s.forget(seeds)
	for i, addr := range seeds {
		if slices.Contains(seeds[:i], addr) {
			continue
		}
		ranges, err := s.askNode(ctx, addr)
		if err == nil && len(ranges) > 0 {
			return s.take(ranges, addr)
		}
		if says(err, "ERR") {
			return fatal("%s is not a node of a cluster: set mode to single or sentinel: %w", addr, err)
		}
		if says(err, "WRONGPASS") || says(err, "NOAUTH") || says(err, "NOPERM") {
			return fatal("%s: set username and password, and allow the user to use the cluster's commands: %w", addr, err)
		}
		errs = append(errs, fmt.Errorf("%s: %w", addr, err))
	}
	return fmt.Errorf("no node of the cluster answers: %w", errors.Join(errs...))
}

func (s *scout) askNode(ctx context.Context, addr string) ([]goredis.ClusterSlot, error) {
	ctx, cancel := within(ctx, probeTimeout)
	defer cancel()
	if s.clients[addr] == nil {
		opts := clientOptions(s.cfg, addr)
		opts.ReadTimeout = probeTimeout
		s.clients[addr] = goredis.NewClient(opts)
	}
	//lint:ignore SA1019 CLUSTER SHARDS needs Redis 7, and 6.2 is served
	ranges, err := s.clients[addr].ClusterSlots(ctx).Result()
	if err == nil && len(ranges) == 0 {
		err = errors.New("it has no slots")
	}
	return ranges, err
}

// take makes the view of a cluster's slots.
func (s *scout) take(ranges []goredis.ClusterSlot, from string) error {
	owners := make([]*node, slots)
	for _, r := range ranges {
		if len(r.Nodes) == 0 {
			continue
		}
		n := s.fleet.known(r.Nodes[0].Addr, from) // the first is the primary
		for slot := max(0, r.Start); slot <= min(r.End, slots-1); slot++ {
			owners[slot] = n
		}
	}
	s.fleet.replace(func(slot int) *node { return owners[slot] })
	return nil
}

// forget closes the clients to nodes that are known no more.
func (s *scout) forget(except []string) {
	for addr, c := range s.clients {
		if !slices.Contains(except, addr) {
			_ = c.Close()
			delete(s.clients, addr)
		}
	}
}

func (s *scout) close() {
	for _, c := range s.clients {
		_ = c.Close()
	}
}
