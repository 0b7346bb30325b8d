package observe

import (
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/prometheus/client_golang/prometheus"
)

// guardMetrics count what stands before an upstream.
type guardMetrics struct {
	retries, missed, hedges, mirrored, fallbacks, versions, openings cached[[2]string, prometheus.Counter]

	flags     *prometheus.CounterVec
	bulkheads *bulkheadCollector
}

func (m *Metrics) addGuards() {
	g := &m.guards
	g.retries.make = m.counters("gateway_upstream_retries_total", "Further tries by what the try before came to.", "upstream", "reason")
	g.missed.make = m.counters("gateway_upstream_retries_refused_total", "Retries that were due and not made.", "upstream", "reason")
	g.hedges.make = m.counters("gateway_upstream_hedges_total", "Second calls beside a slow one: which of the two won, or that the budget allowed none.", "upstream", "result")
	g.mirrored.make = m.counters("gateway_mirrored_total", "Copies of requests: sent, failed, dropped for want of room, skipped for their body.", "upstream", "result")
	g.fallbacks.make = m.counters("gateway_fallbacks_total", "Answers of a fallback.", "route", "what")
	g.versions.make = m.counters("gateway_api_version_requests_total", "Requests by version of an API.", "route", "version")
	g.openings.make = m.counters("gateway_breaker_openings_total", "Openings of breakers by what opened them.", "upstream", "reason")
	g.flags = add(m, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gateway_flags_reads_total", Help: "Readings of a changed file of feature flags."}, []string{"result"}))
	g.bulkheads = add(m, &bulkheadCollector{})
}

// Retried counts a further try.
func (m *Metrics) Retried(upstream, why string) { m.guards.retries.get([2]string{upstream, why}).Inc() }

// RetryRefused counts a retry that was not made.
func (m *Metrics) RetryRefused(upstream, why string) {
	m.guards.missed.get([2]string{upstream, why}).Inc()
}

// BreakerOpened counts an opening.
func (m *Metrics) BreakerOpened(upstream, why string) {
	m.guards.openings.get([2]string{upstream, why}).Inc()
}

// Hedged counts a second call.
func (m *Metrics) Hedged(upstream string, second, budget bool) {
	result := "first"
	switch {
	case !budget:
		result = "no_budget"
	case second:
		result = "second"
	}
	m.guards.hedges.get([2]string{upstream, result}).Inc()
}

// BulkheadState is one upstream's bulkhead at a scrape.
type BulkheadState struct {
	Upstream                   string
	InFlight, Waiting, Learned int
	Refused                    uint64
}

// WatchBulkheads has each scrape ask read, which must not block. It is called once, before anything is scraped.
func (m *Metrics) WatchBulkheads(read func() []BulkheadState) { m.guards.bulkheads.read = read }

type bulkheadCollector struct{ read func() []BulkheadState }

var (
	bulkheadInFlight = prometheus.NewDesc("gateway_bulkhead_in_flight", "Calls that hold a place.", []string{"upstream"}, nil)
	bulkheadWaiting  = prometheus.NewDesc("gateway_bulkhead_waiting", "Calls that wait for a place.", []string{"upstream"}, nil)
	bulkheadLearned  = prometheus.NewDesc("gateway_bulkhead_learned", "Calls at once that adaptive has found; 0: nothing yet.", []string{"upstream"}, nil)
	bulkheadRefused  = prometheus.NewDesc("gateway_bulkhead_refused_total", "Calls that got no place.", []string{"upstream"}, nil)
)

// Describe implements prometheus.Collector.
func (c *bulkheadCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{bulkheadInFlight, bulkheadWaiting, bulkheadLearned, bulkheadRefused} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *bulkheadCollector) Collect(ch chan<- prometheus.Metric) {
	if c.read == nil {
		return
	}
	for _, s := range c.read() {
		ch <- prometheus.MustNewConstMetric(bulkheadInFlight, prometheus.GaugeValue, float64(s.InFlight), s.Upstream)
		ch <- prometheus.MustNewConstMetric(bulkheadWaiting, prometheus.GaugeValue, float64(s.Waiting), s.Upstream)
		ch <- prometheus.MustNewConstMetric(bulkheadLearned, prometheus.GaugeValue, float64(s.Learned), s.Upstream)
		ch <- prometheus.MustNewConstMetric(bulkheadRefused, prometheus.CounterValue, float64(s.Refused), s.Upstream)
	}
}

// Mirrored counts a copy of a request.
func (m *Metrics) Mirrored(upstream, result string) {
	m.guards.mirrored.get([2]string{upstream, result}).Inc()
}

// GaveUp counts the call of an upstream whose answer a fallback is about to replace.
func (m *Metrics) GaveUp(x *pipeline.Exchange, end pipeline.End) { m.called(x, end) }

// FellBack counts an answer of a fallback.
func (m *Metrics) FellBack(route, what string) { m.guards.fallbacks.get([2]string{route, what}).Inc() }

// VersionUsed counts a request to a version of an API.
func (m *Metrics) VersionUsed(route, version string) {
	m.guards.versions.get([2]string{route, version}).Inc()
}

// FlagsRead counts a reading of the file of feature flags.
func (m *Metrics) FlagsRead(err error) {
	result := "success"
	if err != nil {
		result = "failure"
	}
	m.guards.flags.WithLabelValues(result).Inc()
}
