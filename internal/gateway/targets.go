package gateway

import (
	"github.com/oncegate/oncegate/internal/observe"
	"github.com/oncegate/oncegate/internal/upstream"
)

// targetStats are the live upstreams as the metrics show them.
func (s *State) targetStats() []observe.UpstreamStats {
	live := s.live.Load()
	if live == nil {
		return nil
	}
	all := make([]observe.UpstreamStats, 0, len(live.Upstreams))
	for name, u := range live.Upstreams {
		i := u.Info()
		stats := observe.UpstreamStats{Upstream: name, Panic: i.Panic, Panics: i.Panics, Discovered: i.Discovered, Stale: i.Stale,
			Lookups: i.Lookups, Empty: i.Empty, FailedLookups: i.FailedLookups}
		for _, t := range u.Targets() {
			stats.Targets = append(stats.Targets, observe.TargetStats{Target: t.Address, Up: t.State == upstream.Up || t.State == upstream.Starting,
				Healthy: t.Healthy, InFlight: t.InFlight, Latency: t.Latency, EjectedErrors: t.EjectedErrors, EjectedConnect: t.EjectedDials})
		}
		all = append(all, stats)
	}
	return all
}
