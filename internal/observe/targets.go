package observe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TargetStats are the numbers of one target of an upstream at this moment.
type TargetStats struct {
	Target                        string // host:port
	Up, Healthy                   bool   // Up: it is picked; Healthy: as active checks see it
	InFlight                      int
	Latency                       time.Duration
	EjectedErrors, EjectedConnect uint64
}

// UpstreamStats are the numbers of one upstream and of its targets.
type UpstreamStats struct {
	Upstream string
	Targets  []TargetStats
	Panic    bool
	Panics   uint64

	Discovered                    bool // the rest counts only then
	Stale                         bool
	Lookups, Empty, FailedLookups uint64
}

func targetDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, append([]string{"upstream"}, labels...), nil)
}

var (
	targetUpDesc        = targetDesc("gateway_target_up", "1 while a target gets calls: it is not ejected, unhealthy or drained.", "target")
	targetHealthyDesc   = targetDesc("gateway_target_healthy", "1 while active checks find a target well; always 1 without them.", "target")
	targetInFlightDesc  = targetDesc("gateway_target_in_flight", "Calls that run at a target.", "target")
	targetLatencyDesc   = targetDesc("gateway_target_latency_seconds", "Usual time to a target's answer's head, as ewma balancing sees it; 0: not known.", "target")
	targetEjectionsDesc = targetDesc("gateway_target_ejections_total", "Ejections of a target by reason: errors or connect.", "target", "reason")
	panicDesc           = targetDesc("gateway_upstream_panic", "1 while too few targets are usable, so that all are used.")
	panicsDesc          = targetDesc("gateway_upstream_panics_total", "How often too few targets were usable.")
	lookupsDesc         = targetDesc("gateway_dns_lookups_total", "DNS look-ups for an upstream's targets, by result.", "result")
	staleDesc           = targetDesc("gateway_dns_stale", "1 while the newest look-up failed and the last good answer stands.")
)

// targetCollector asks for the numbers at every scrape: what is gone leaves no series behind, however often addresses change.
type targetCollector struct{ read func() []UpstreamStats }

// WatchTargets shows the targets of upstreams, read at every scrape; once in a process.
func (m *Metrics) WatchTargets(read func() []UpstreamStats) { add(m, &targetCollector{read}) }

// Describe implements prometheus.Collector.
func (c *targetCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{targetUpDesc, targetHealthyDesc, targetInFlightDesc, targetLatencyDesc, targetEjectionsDesc,
		panicDesc, panicsDesc, lookupsDesc, staleDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *targetCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	for _, u := range c.read() {
		seen := map[string]bool{} // a document may name an address twice
		for _, t := range u.Targets {
			if seen[t.Target] {
				continue
			}
			seen[t.Target] = true
			gauge(targetUpDesc, oneIf(t.Up), u.Upstream, t.Target)
			gauge(targetHealthyDesc, oneIf(t.Healthy), u.Upstream, t.Target)
			gauge(targetInFlightDesc, float64(t.InFlight), u.Upstream, t.Target)
			gauge(targetLatencyDesc, t.Latency.Seconds(), u.Upstream, t.Target)
			counter(targetEjectionsDesc, t.EjectedErrors, u.Upstream, t.Target, "errors")
			counter(targetEjectionsDesc, t.EjectedConnect, u.Upstream, t.Target, "connect")
		}
		gauge(panicDesc, oneIf(u.Panic), u.Upstream)
		counter(panicsDesc, u.Panics, u.Upstream)
		if u.Discovered {
			gauge(staleDesc, oneIf(u.Stale), u.Upstream)
			counter(lookupsDesc, u.Lookups, u.Upstream, "success")
			counter(lookupsDesc, u.Empty, u.Upstream, "empty")
			counter(lookupsDesc, u.FailedLookups, u.Upstream, "failure")
		}
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
