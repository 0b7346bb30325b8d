package gateway

import (
	"context"
	"fmt"
	"time"

	"github.com/oncegate/oncegate/internal/auth/revoke"
	"github.com/oncegate/oncegate/internal/auth/revoke/redis"
	"github.com/oncegate/oncegate/internal/config"
)

// revocations are what the fleet has revoked. They outlive every reload.
type revocations struct {
	list  *revoke.List
	store *redis.Store
	fleet *revoke.Follower
}

// shareRevocations gives the list and the store of revocations; nil when they are this process's own. The first document with
// an issuer whose tokens can be revoked, and with a Redis, opens them: until then nothing could be revoked.
func (s *State) shareRevocations(doc *config.Document) (*revoke.List, revoke.Store, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.revoked == nil && len(doc.State.Redis.Addresses) > 0 && revokes(doc) {
		opened, err := s.openRevocations(doc.State.Redis)
		if err != nil {
			return nil, nil, fmt.Errorf("state.redis: %w", err)
		}
		s.revoked = opened
	}
	if s.revoked == nil {
		return nil, nil, nil
	}
	return s.revoked.list, s.revoked.fleet, nil
}

func revokes(doc *config.Document) bool {
	for _, i := range doc.Issuers {
		if i.Revocation {
			return true
		}
	}
	return false
}

// openRevocations waits until it is known what was revoked, but not for long.
func (s *State) openRevocations(cfg config.RedisConfig) (*revocations, error) {
	there, err := redisConfig(cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), redisTime)
	defer cancel()
	store, err := redis.Open(ctx, redis.Config{Server: there.Server, Prefix: there.Prefix}, redis.Deps{Log: s.Logger})
	if err != nil {
		return nil, err
	}
	list := revoke.New(revoke.Config{Grace: cfg.RevocationGrace.Std()})
	r := &revocations{list: list, store: store, fleet: revoke.Follow(list, store, revoke.FollowConfig{Log: s.Logger})}
	r.fleet.Await(ctx)
	s.Metrics.Gauge("gateway_revocations", "Revocations that are kept; some may be over.", func() float64 { return float64(list.Len()) })
	s.Metrics.Gauge("gateway_revocations_known", "1 while it is known what other gateways revoked; else issuers with revocation are answered 503.", func() float64 {
		if list.Known(time.Now()) {
			return 1
		}
		return 0
	})
	return r, nil
}

func (r *revocations) close() error {
	if r == nil {
		return nil
	}
	r.fleet.Close()
	return r.store.Close()
}
