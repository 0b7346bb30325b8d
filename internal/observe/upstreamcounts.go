package observe

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// outcomes are the values of the outcome label.
var outcomes = [...]string{OutcomeSuccess, OutcomeError5xx, OutcomeTimeout, OutcomeFailed, OutcomeGone, OutcomeRefused}

// upstreamCounts are the numbers of one upstream.
type upstreamCounts struct {
	name     string
	outcomes [len(outcomes)]atomic.Uint64
	times    times
}

var (
	upstreamRequestsDesc = prometheus.NewDesc("gateway_upstream_requests_total", "Calls of upstreams by outcome, the tries of a call in one.", []string{"upstream", "outcome"}, nil)
	upstreamTimesDesc    = prometheus.NewDesc("gateway_upstream_duration_seconds", "Time of a call to the head of the upstream's answer, in all its tries.", []string{"upstream"}, nil)
)

// upstreamCollector shows the counts of all upstreams to Prometheus.
type upstreamCollector struct {
	upstreams *cached[string, *upstreamCounts]
}

// Describe implements prometheus.Collector.
func (c *upstreamCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- upstreamRequestsDesc
	ch <- upstreamTimesDesc
}

// Collect implements prometheus.Collector.
func (c *upstreamCollector) Collect(ch chan<- prometheus.Metric) {
	for _, u := range c.upstreams.all() {
		for i := range u.outcomes {
			if n := u.outcomes[i].Load(); n > 0 {
				ch <- prometheus.MustNewConstMetric(upstreamRequestsDesc, prometheus.CounterValue, float64(n), u.name, outcomes[i])
			}
		}
		ch <- u.times.metric(upstreamTimesDesc, u.name)
	}
}
