package observe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// limitMetrics tell what goes on between limits and the store that a fleet shares.
type limitMetrics struct {
	leases    cached[string, prometheus.Counter]
	tokens    cached[string, prometheus.Counter]
	fallbacks cached[[2]string, prometheus.Counter]
	calls     cached[string, prometheus.Counter]
	times     *prometheus.HistogramVec
	down      *prometheus.GaugeVec
	shed      *prometheus.CounterVec
	bound     prometheus.Gauge
}

func (m *Metrics) addLimits() {
	l := &m.limits
	leases := add(m, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gateway_ratelimit_leases_total", Help: "What became of leases of shared limits."}, []string{"event"}))
	l.leases.make = func(event string) prometheus.Counter { return leases.WithLabelValues(event) }
	tokens := add(m, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gateway_ratelimit_lease_tokens_total", Help: "Tokens of shared limits that were drawn, given back, lost or brought as debt."}, []string{"event"}))
	l.tokens.make = func(event string) prometheus.Counter { return tokens.WithLabelValues(event) }
	l.fallbacks.make = m.counters("gateway_ratelimit_fallback_total", "Decisions of shared limits that were made without their store.", "policy", "on_store_failure")
	calls := add(m, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gateway_ratelimit_store_calls_total", Help: "Calls to the store of shared limits."}, []string{"result"}))
	l.calls.make = func(result string) prometheus.Counter { return calls.WithLabelValues(result) }
	l.times = add(m, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "gateway_ratelimit_store_seconds", Help: "Round trips to the store of shared limits.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .02, .05},
	}, []string{"result"}))
	l.down = add(m, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "gateway_ratelimit_store_down", Help: "1 while a server of shared limits is not asked."}, []string{"server"}))
	l.shed = add(m, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gateway_shed_total", Help: "Requests refused because the process had too much to do."}, []string{"priority"}))
	l.bound = add(m, prometheus.NewGauge(prometheus.GaugeOpts{Name: "gateway_shed_bound", Help: "The learned bound of requests in flight; 0: none is learned."}))
}

// Lease counts what became of a lease of a shared limit, and of how many tokens.
func (m *Metrics) Lease(event string, tokens int64) {
	m.limits.leases.get(event).Inc()
	if tokens > 0 {
		m.limits.tokens.get(event).Add(float64(tokens))
	}
}

// Fallback counts a decision of a shared limit that was made without its store.
func (m *Metrics) Fallback(limit, policy string) {
	m.limits.fallbacks.get([2]string{limit, policy}).Inc()
}

// StoreState shows that a server of shared limits is not asked, or is asked again.
func (m *Metrics) StoreState(server string, down bool) {
	value := 0.0
	if down {
		value = 1
	}
	m.limits.down.WithLabelValues(server).Set(value)
}

// StoreCalls counts a round trip to the store of shared limits by its calls.
func (m *Metrics) StoreCalls(result string, n int, took time.Duration) {
	m.limits.calls.get(result).Add(float64(n))
	m.limits.times.WithLabelValues(result).Observe(took.Seconds())
}

// Shed counts a request that was refused because the process had too much to do.
func (m *Metrics) Shed(priority string) { m.limits.shed.WithLabelValues(priority).Inc() }

// Bound shows how many requests in flight the process lets in.
func (m *Metrics) Bound(requests int) { m.limits.bound.Set(float64(requests)) }

// Gauge shows a number that is read at every scrape; once in a process.
func (m *Metrics) Gauge(name, help string, read func() float64) {
	add(m, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
}
