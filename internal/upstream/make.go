package upstream

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/upstream/balance"
	"github.com/oncegate/oncegate/internal/upstream/discover"
	"github.com/oncegate/oncegate/internal/upstream/eject"
	"github.com/oncegate/oncegate/internal/upstream/h1"
	"github.com/oncegate/oncegate/internal/upstream/health"
)

// New makes the upstream of a snapshot; what is known of its targets comes from pools. rec may be nil. It reads the file of
// trusted roots. Targets from DNS are those of the last answer, see FirstLook.
func New(name string, cfg Config, pools *Pools, rec Recorder) (*Upstream, error) {
	id, err := newIdentity(cfg.TLS, pools.log)
	if err != nil {
		return nil, fmt.Errorf("upstream %s: %w", name, err)
	}
	u := &Upstream{name: name, cfg: cfg, group: pools.group(name), rules: rulesOf(&cfg), hash: hashKeyOf(&cfg), tls: id, rec: rec}
	if u.checks, err = checksOf(cfg.Health); err != nil {
		return nil, fmt.Errorf("upstream %s: health: %w", name, err)
	}
	places, err := cfg.places()
	if err != nil {
		return nil, fmt.Errorf("upstream %s: %w", name, err)
	}
	u.group.mu.Lock()
	defer u.group.mu.Unlock()
	if cfg.DNS == nil {
		u.set.Store(u.makeLocked(places))
		return u, nil
	}
	if u.group.lookups != nil && u.group.source == *cfg.DNS {
		u.first = u.group.found.Addrs()
	}
	u.replaceLocked(u.first)
	return u, nil
}

// place is where a target is, and its weight.
type place struct {
	endpoint
	weight int
}

func (c *Config) places() ([]place, error) {
	if len(c.Targets) == 0 && c.DNS == nil {
		return nil, fmt.Errorf("has no targets")
	}
	places := make([]place, len(c.Targets))
	for i, t := range c.Targets {
		where, problem := parseTarget(t.URL)
		if problem != "" {
			return nil, fmt.Errorf("target %d: %s", i, problem)
		}
		where.speaks = c.protocolOf(where.scheme)
		places[i] = place{where, max(1, t.Weight)}
	}
	return places, nil
}

func rulesOf(cfg *Config) rules {
	e := &cfg.Ejection
	return rules{
		kind: balance.KindOf(cfg.Balance), slow: cfg.SlowStart.Std(), panic: float64(cfg.Panic),
		eject: eject.Settings{Consecutive: e.Consecutive, Connect: e.Connect, Time: e.Time.Std(), MaxTime: e.MaxTime.Std(), MaxShare: float64(e.MaxShare)},
	}
}

func checksOf(cfg *HealthConfig) (*health.Settings, error) {
	if cfg == nil {
		return nil, nil
	}
	expect, err := health.ParseStatuses(cfg.Expect)
	return &health.Settings{
		TCP: cfg.Type == "tcp", GRPC: cfg.Type == "grpc", Service: cfg.Service, Path: cfg.Path, Expect: expect, Interval: cfg.Interval.Std(), Timeout: cfg.Timeout.Std(),
		Unhealthy: cfg.Unhealthy, Healthy: cfg.Healthy,
	}, err
}

// replaceLocked takes the targets that DNS gave.
func (u *Upstream) replaceLocked(addrs []netip.Addr) {
	name, port := strings.ToLower(strings.TrimSuffix(u.cfg.DNS.Name, ".")), strconv.Itoa(u.cfg.DNS.Port)
	scheme := u.cfg.DNS.Scheme
	if scheme == "" {
		scheme = "http"
	}
	host := name
	if port != defaultPorts[scheme] {
		host = net.JoinHostPort(name, port)
	}
	places := make([]place, len(addrs))
	for i, a := range addrs {
		places[i] = place{endpoint{scheme: scheme, addr: net.JoinHostPort(a.String(), port), host: host, name: name, speaks: u.cfg.protocolOf(scheme)}, 1}
	}
	u.set.Store(u.makeLocked(places))
}

// makeLocked makes a set. Whoever holds the group's lock may.
func (u *Upstream) makeLocked(places []place) *set {
	s := &set{group: u.group, rules: &u.rules}
	seats := make([]balance.Seat, len(places))
	seen := map[poolKey]int{}
	for i, p := range places {
		key := nodeKey{keyOf(p.endpoint, u.tls), 0}
		key.again = seen[key.poolKey]
		seen[key.poolKey]++
		n := u.group.nodeLocked(key, p.endpoint, u.tls)
		s.targets = append(s.targets, u.target(s, p, n))
		seats[i] = balance.Seat{ID: fmt.Sprintf("%s://%s#%d", p.scheme, p.addr, key.again), Weight: p.weight, Load: &n.load}
	}
	s.balance = balance.New(u.rules.kind, seats, &u.group.total)
	return s
}

func (u *Upstream) target(s *set, p place, n *node) *target {
	cfg := &u.cfg
	t := &target{
		upstream: u.name, addr: p.addr, host: p.host, name: p.name, url: p.String(), weight: p.weight,
		node: n, set: s, conns: n.conns, rec: u.rec,
		limits: h1.Limits{
			Connect: cfg.Timeout.Connect.Std(), FirstByte: cfg.Timeout.FirstByte.Std(), Try: cfg.Timeout.Try.Std(),
			IdleBody: cfg.Timeout.IdleBody.Std(), Idle: cfg.Connections.Idle.Std(), Max: cfg.Connections.Max,
		},
	}
	if cfg.DNS != nil {
		t.url = p.scheme + "://" + p.addr
	}
	if encrypted(p.scheme) {
		t.tls = u.tls
	}
	t.limits.Watch = t
	return t
}

// FirstLook asks DNS for the targets of upstreams that know none yet, for two seconds at most. What is not found by then is
// asked for in the background, once the upstream is live.
func FirstLook(ctx context.Context, ups []*Upstream) {
	var wait sync.WaitGroup
	for _, u := range ups {
		if d := u.cfg.DNS; d != nil && len(u.first) == 0 {
			wait.Go(func() {
				addrs, _, err := discover.New(d.Resolver, d.Family).Lookup(ctx, d.Name, firstLook)
				u.group.mu.Lock()
				defer u.group.mu.Unlock()
				u.group.asked[lookupResult(err)].Add(1)
				if err != nil {
					u.group.log.Warn("DNS gave no target at first, it is asked again", "upstream", u.name, "name", d.Name, "error", err.Error())
					return
				}
				u.first = addrs
				u.replaceLocked(addrs)
			})
		}
	}
	wait.Wait()
}

// hashKey is what hash balancing looks at.
type hashKey struct {
	by     byte // 0: nothing
	header string
}

const (
	byNothing = iota
	byClient
	byIP
	byHeader
)

func hashKeyOf(cfg *Config) hashKey {
	name, header := strings.CutPrefix(cfg.HashBy, "header:")
	switch {
	case cfg.Balance != "hash":
		return hashKey{}
	case header:
		return hashKey{byHeader, name}
	case cfg.HashBy == "ip":
		return hashKey{by: byIP}
	}
	return hashKey{by: byClient}
}

// of is the exchange's key. Who has no identity, or did not send the field, is known by the address.
func (h hashKey) of(x *pipeline.Exchange) uint64 {
	switch h.by {
	case byNothing:
		return 0
	case byClient:
		if !x.Client.Anonymous() {
			return balance.Key(x.Client.Identity)
		}
	case byHeader:
		if v := x.Request.Header(h.header); len(v) > 0 {
			return balance.Key(v)
		}
	}
	ip := x.ClientIP.As16()
	return balance.Key(ip[:])
}
