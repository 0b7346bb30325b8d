package gateway

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/oncegate/oncegate/internal/auth/dpop/redis"
	"github.com/oncegate/oncegate/internal/breaker"
	"github.com/oncegate/oncegate/internal/flags"
	"github.com/oncegate/oncegate/internal/observe"
	"github.com/oncegate/oncegate/internal/shed"
	"github.com/oncegate/oncegate/internal/traffic"
	"github.com/oncegate/oncegate/internal/upstream"
)

// State is what outlives a configuration: pools, breakers, buckets and records, keyed by identity. Settings travel with each
// call, so a reload changes a rate without emptying a bucket.
type State struct {
	Metrics  *observe.Metrics
	Observer *observe.Observer
	Logger   *slog.Logger

	pools   *upstream.Pools
	limits  *limits
	shed    *shed.Shedder
	mirrors *traffic.Mirrors
	live    atomic.Pointer[Snapshot] // whose upstreams are in force

	mu       sync.Mutex
	guarded  map[string]*guards          // by upstream
	flagSets map[flags.Config]*flags.Set // what documents name
	records  *records                    // nil until a route needs them
	revoked  *revocations                // nil until a fleet shares them
	replays  *redis.Replays              // nil until a fleet shares used proofs
}

// NewState makes empty state. The store of records opens when the first route needs it.
func NewState(metrics *observe.Metrics, observer *observe.Observer, logger *slog.Logger) *State {
	s := &State{
		Metrics: metrics, Observer: observer, Logger: logger,
		pools:   upstream.NewPools(logger),
		limits:  newLimits(),
		shed:    shed.New(metrics),
		mirrors: traffic.NewMirrors(metrics),

		guarded: make(map[string]*guards), flagSets: make(map[flags.Config]*flags.Set),
	}
	metrics.WatchBulkheads(s.bulkheads)
	if err := metrics.Watch("gateway_ratelimit_overflow_total", "Requests counted in a shared overflow bucket, because the cap of buckets was reached.", s.limits.memory.Overflowed); err != nil {
		logger.Error("a metric is missing", "error", err)
	}
	metrics.WatchTargets(s.targetStats)
	return s
}

// breakerGauge reports state changes as a metric.
type breakerGauge struct {
	metrics *observe.Metrics
	logger  *slog.Logger
}

func (g breakerGauge) BreakerState(name string, s breaker.State, why breaker.Reason) {
	g.metrics.SetBreakerState(name, int(s))
	if s == breaker.Open {
		g.metrics.BreakerOpened(name, string(why))
	}
	if s == breaker.Closed { // the first state, too: nothing to worry about
		g.logger.Info("breaker is closed", "upstream", name)
		return
	}
	g.logger.Warn("breaker changed state", "upstream", name, "state", s.String(), "reason", string(why))
}

// Live puts in force what belongs to a snapshot's upstreams, and closes what it does not name.
func (s *State) Live(live *Snapshot) {
	ups := make([]*upstream.Upstream, 0, len(live.Upstreams))
	for _, u := range live.Upstreams {
		ups = append(ups, u)
	}
	s.pools.Live(ups)
	s.live.Store(live)
	s.forget(live)
	s.forgetFlags(live.flags)
}

// Close ends everything; no exchange may be running.
func (s *State) Close() error {
	s.mirrors.Close()
	s.pools.Close()
	s.forgetFlags(nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	err := errors.Join(s.limits.close(), s.revoked.close(), s.closeProofs())
	if s.records == nil {
		return err
	}
	return errors.Join(err, s.records.close())
}
