package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/answer"
	"github.com/oncegate/oncegate/internal/breaker"
	"github.com/oncegate/oncegate/internal/config"
	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/embedded"
	"github.com/oncegate/oncegate/internal/dedup/memory"
	"github.com/oncegate/oncegate/internal/observe"
	"github.com/oncegate/oncegate/internal/ratelimit"
	"github.com/oncegate/oncegate/internal/upstream"
)

// State is what outlives a configuration: pools, breakers, buckets and records, keyed by identity. Settings travel with each
// call, so a reload changes a rate without emptying a bucket.
type State struct {
	Metrics  *observe.Metrics
	Observer *observe.Observer
	Logger   *slog.Logger

	pools  *upstream.Pools
	limits *ratelimit.Memory

	mu       sync.Mutex
	breakers map[string]*breaker.Breaker
	records  *dedup.Records
	// closeStore ends the store below the records; nil for memory.
	closeStore func() error
}

// NewState makes empty state. The store of records opens when the first route needs it.
func NewState(metrics *observe.Metrics, observer *observe.Observer, logger *slog.Logger) *State {
	s := &State{
		Metrics: metrics, Observer: observer, Logger: logger,
		pools:    upstream.NewPools(),
		limits:   ratelimit.NewMemory(ratelimit.MemoryConfig{}),
		breakers: make(map[string]*breaker.Breaker),
	}
	if err := metrics.Watch("gateway_ratelimit_overflow_total", "Requests counted in a shared overflow bucket, because the cap of buckets was reached.", s.limits.Overflowed); err != nil {
		logger.Error("a metric is missing", "error", err)
	}
	return s
}

// breakerGauge reports state changes as a metric.
type breakerGauge struct {
	metrics *observe.Metrics
	logger  *slog.Logger
}

func (g breakerGauge) BreakerState(name string, s breaker.State) {
	g.metrics.SetBreakerState(name, int(s))
	if s == breaker.Closed { // the first state, too: nothing to worry about
		g.logger.Info("breaker is closed", "upstream", name)
		return
	}
	g.logger.Warn("breaker changed state", "upstream", name, "state", s.String())
}

// Breaker gives the breaker of an upstream, the same one over reloads.
func (s *State) Breaker(upstream string) *breaker.Breaker {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.breakers[upstream]
	if b == nil {
		b = breaker.New(upstream, breakerGauge{s.Metrics, s.Logger})
		s.breakers[upstream] = b
	}
	return b
}

// store opens the records of keyed writes at the first call; later calls give the same.
func (s *State) store(cfg config.StateConfig) (*dedup.Records, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.records != nil {
		return s.records, nil
	}
	var sealer *answer.Sealer
	if key := cfg.EncryptionKey.Reveal(); key != "" {
		var err error
		if sealer, err = answer.NewSealer([]byte(key)); err != nil {
			return nil, fmt.Errorf("state.encryption_key: %w", err)
		}
	}
	if cfg.Store == "memory" {
		s.Logger.Warn("state.store is memory: records of keyed writes are lost at exit, use it for development only")
		store := memory.New(memory.Options{})
		s.records = dedup.NewRecords(store, store.Secret(), s.Logger).Sealed(sealer)
		return s.records, nil
	}
	store, err := embedded.Open(filepath.Join(cfg.Path, "dedup"), embedded.Options{Log: s.Logger})
	if err != nil {
		return nil, fmt.Errorf("opening state.path %s: %w", cfg.Path, err)
	}
	s.records, s.closeStore = dedup.NewRecords(store, store.Secret(), s.Logger).Sealed(sealer), store.Close
	return s.records, nil
}

// Sweep closes what the live snapshot does not name.
func (s *State) Sweep(live *Snapshot) {
	ups := make([]*upstream.Upstream, 0, len(live.Upstreams))
	for _, u := range live.Upstreams {
		ups = append(ups, u)
	}
	s.pools.Sweep(ups)
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.breakers {
		if _, named := live.Upstreams[name]; !named {
			delete(s.breakers, name)
		}
	}
}

// backlogTime is how long a stop waits for results that the store did not take yet.
const backlogTime = 5 * time.Second

// Close ends everything; no exchange may be running.
func (s *State) Close() error {
	s.pools.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.records == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), backlogTime)
	defer cancel()
	err := s.records.Close(ctx)
	if s.closeStore != nil {
		err = errors.Join(err, s.closeStore())
	}
	return err
}
