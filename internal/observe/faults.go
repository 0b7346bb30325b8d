package observe

import "github.com/prometheus/client_golang/prometheus"

var faultsDesc = prometheus.NewDesc("gateway_connection_faults_total", "Connections and requests that ended before they could be routed, and are in no other count.", []string{"at", "fault"}, nil)

// faultCollector shows what the port and its edges count.
type faultCollector struct {
	read func(yield func(at, fault string, n uint64))
}

// WatchFaults has each scrape ask read, which must not block and gives constant words. It is called once.
func (m *Metrics) WatchFaults(read func(yield func(at, fault string, n uint64))) {
	m.registry.MustRegister(&faultCollector{read})
}

// Describe implements prometheus.Collector.
func (c *faultCollector) Describe(ch chan<- *prometheus.Desc) { ch <- faultsDesc }

// Collect implements prometheus.Collector.
func (c *faultCollector) Collect(ch chan<- prometheus.Metric) {
	c.read(func(at, fault string, n uint64) {
		ch <- prometheus.MustNewConstMetric(faultsDesc, prometheus.CounterValue, float64(n), at, fault)
	})
}
