package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oncegate/oncegate/internal/config"
	"github.com/oncegate/oncegate/internal/ratelimit"
	"github.com/oncegate/oncegate/internal/ratelimit/leases"
	"github.com/oncegate/oncegate/internal/ratelimit/redis"
)

// giveBackTime is how long a stop waits until held leases were given back.
const giveBackTime = time.Second

// limits are the counters of this process, and from the first shared limit on those of the fleet. They outlive every reload.
type limits struct {
	memory *ratelimit.Memory
	seats  *ratelimit.MemorySeats
	fleet  *fleetLimits // nil until a limit is shared

	store ratelimit.Store
	sits  ratelimit.Seats
}

// fleetLimits are what the fleet counts.
type fleetLimits struct {
	source *redis.Source
	leases *leases.Store
}

func newLimits() *limits {
	l := &limits{memory: ratelimit.NewMemory(ratelimit.MemoryConfig{}), seats: ratelimit.NewMemorySeats(ratelimit.SeatsConfig{})}
	l.store, l.sits = ratelimit.NewTiers(l.memory, nil), ratelimit.NewSeatTiers(l.seats, nil)
	return l
}

// counters gives the stores of limits. The first document with a shared limit opens the store of the fleet: it is one for the
// process, and stays when later documents need it no more, because they may again.
func (s *State) counters(doc *config.Document) (ratelimit.Store, ratelimit.Seats, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.limits
	if l.fleet != nil || !sharesLimits(doc) {
		return l.store, l.sits, nil
	}
	there, err := redisConfig(doc.State.Redis)
	if err != nil {
		return nil, nil, fmt.Errorf("state.redis: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), redisTime)
	defer cancel()
	source, err := redis.Open(ctx, redis.Config{
		Mode: there.Mode, Addresses: there.Addresses, Master: there.Master, Username: there.Username, Password: there.Password,
		Database: there.Database, TLS: there.TLS, Prefix: there.Prefix,
	}, redis.Deps{Log: s.Logger, Recorder: s.Metrics})
	if err != nil {
		return nil, nil, fmt.Errorf("state.redis: %w", err)
	}
	l.fleet = &fleetLimits{source: source, leases: leases.New(leases.Config{}, source, l.memory, s.Metrics)}
	l.store, l.sits = ratelimit.NewTiers(l.memory, l.fleet.leases), ratelimit.NewSeatTiers(l.seats, source)
	s.Metrics.Gauge("gateway_fleet_gateways", "Gateways that share limits, by the last count.", func() float64 { return float64(source.Gateways()) })
	return l.store, l.sits, nil
}

func sharesLimits(doc *config.Document) bool {
	for _, cfg := range doc.RateLimits {
		if cfg.Scope == "shared" {
			return true
		}
	}
	return false
}

// close gives leases back and ends.
func (l *limits) close() error {
	if l.fleet == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), giveBackTime)
	defer cancel()
	return errors.Join(l.fleet.leases.Close(ctx), l.fleet.source.Close())
}
