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
	source, err := redis.Open(ctx, redis.Config{Server: there.Server, Prefix: there.Prefix}, redis.Deps{Log: s.Logger, Recorder: s.Metrics})
	if err != nil {
		return nil, nil, fmt.Errorf("state.redis: %w", err)
	}
	l.fleet = &fleetLimits{source: source, leases: leases.New(leases.Config{}, source, l.memory, s.Metrics)}
	l.store, l.sits = ratelimit.NewTiers(l.memory, l.fleet.leases), ratelimit.NewSeatTiers(l.seats, source)
	s.Metrics.Gauge("gateway_fleet_gateways", "Gateways that share limits, by the last count.", func() float64 { n, _ := source.Gateways(); return float64(n) })
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

// Usage is what there is of one client's part of a limit.
type Usage struct {
	ratelimit.Usage
	Held    int64 // of a shared bucket: tokens that this gateway has drawn, part of Left
	Reached bool  // of a shared limit: the store was asked
	Known   bool  // Left says something; when the store was not reached, what this gateway knew last
}

// LimitUsage looks at a bucket, a quota or places, and changes nothing. key is of ratelimit.Limit.AppendKeyOf.
func (s *State) LimitUsage(ctx context.Context, key []byte, l *ratelimit.Limit) (u Usage) {
	fleet := s.fleetLimits()
	u.Known = true
	switch {
	case fleet != nil && l.Shared():
		return fleet.usage(ctx, key, l)
	case l.Kind() == ratelimit.Slots:
		u.Left = l.Burst() - float64(s.limits.seats.Taken(key, l))
	default:
		u.Usage = s.limits.memory.Usage(key, l)
	}
	return u
}

// ForgetLimit makes a bucket full, or a quota unused. Of a shared one other gateways may hold a lease still, and take up to a
// second until they ask again. An error says that nothing was changed.
func (s *State) ForgetLimit(ctx context.Context, key []byte, l *ratelimit.Limit) error {
	if fleet := s.fleetLimits(); fleet != nil && l.Shared() {
		if err := fleet.source.Forget(ctx, key, l); err != nil {
			return err
		}
		fleet.leases.Forget(key)
	}
	s.limits.memory.Forget(key, l) // of a shared one: what was counted here while the store was down
	return nil
}

func (s *State) fleetLimits() *fleetLimits {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.limits.fleet
}

func (f *fleetLimits) usage(ctx context.Context, key []byte, l *ratelimit.Limit) (u Usage) {
	held, level, known := f.leases.Usage(key, l)
	grant, err := f.source.Usage(ctx, key, l)
	u = Usage{Held: held, Reached: err == nil, Known: known || err == nil}
	if u.Left = level; u.Reached {
		u.Left = min(l.Burst(), grant.Left+float64(held))
	}
	_, _, cost := l.Spec()
	switch missing := float64(cost) - u.Left; {
	case l.Kind() == ratelimit.Bucket:
		u.Wait, u.Reset = l.Wait(missing), l.Wait(l.Burst()-u.Left)
	case l.Kind() == ratelimit.Slots || u.Left >= l.Burst():
	default:
		if u.Reset = grant.Ends; l.Quota().Rolling {
			u.Reset = grant.Next // until there is one more, of what is spent
		}
		if missing > 0 {
			u.Wait = u.Reset
		}
	}
	return u
}
