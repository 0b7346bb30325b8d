package observe

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Authenticated counts a credential that was accepted; cached: it had been verified before.
func (m *Metrics) Authenticated(issuer string, cached bool) {
	result := "verified"
	if cached {
		result = "cached"
	}
	m.credentials.get([2]string{issuer, result}).Inc()
}

// Refused counts a credential that was not accepted. The reason is one of auth's fixed words: operators see which check
// failed, clients never do.
func (m *Metrics) Refused(issuer, reason string) {
	if issuer == "" {
		issuer = Unrouted
	}
	m.credentials.get([2]string{issuer, reason}).Inc()
}

// KeysFetched counts an attempt to fetch an issuer's key set.
func (m *Metrics) KeysFetched(issuer string, err error) {
	result := "success"
	if err != nil {
		result = "failure"
	}
	m.keyFetches.get([2]string{issuer, result}).Inc()
}

// Introspected counts a question to an issuer's introspection endpoint that was sent; err: it brought no answer.
func (m *Metrics) Introspected(issuer string, took time.Duration, err error) {
	c := m.introspections.get(issuer)
	if err != nil {
		c.failed.Add(1)
	} else {
		c.answered.Add(1)
	}
	c.times.observe(took)
}

// introspectionCounts are the numbers of one issuer's endpoint.
type introspectionCounts struct {
	answered, failed atomic.Uint64
	times            times
}

var (
	introspectionsDesc     = prometheus.NewDesc("gateway_auth_introspections_total", "Questions to introspection endpoints.", []string{"issuer", "result"}, nil)
	introspectionTimesDesc = prometheus.NewDesc("gateway_auth_introspection_duration_seconds", "Time of questions to introspection endpoints.", []string{"issuer"}, nil)
)

// introspectionCollector shows the counts of all endpoints to Prometheus.
type introspectionCollector struct {
	issuers *cached[string, *introspectionCounts]
}

// Describe implements prometheus.Collector.
func (c *introspectionCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- introspectionsDesc
	ch <- introspectionTimesDesc
}

// Collect implements prometheus.Collector.
func (c *introspectionCollector) Collect(ch chan<- prometheus.Metric) {
	for issuer, n := range c.issuers.all() {
		ch <- prometheus.MustNewConstMetric(introspectionsDesc, prometheus.CounterValue, float64(n.answered.Load()), issuer, "success")
		ch <- prometheus.MustNewConstMetric(introspectionsDesc, prometheus.CounterValue, float64(n.failed.Load()), issuer, "failure")
		ch <- n.times.metric(introspectionTimesDesc, issuer)
	}
}

// StaleConnection counts a kept connection that the upstream had closed by the time it was wanted.
func (m *Metrics) StaleConnection(upstream, _ string) {
	m.discarded.get([2]string{upstream, "stale"}).Inc()
}

// UnsolicitedBytes counts a connection given up because bytes came on it that nobody had asked for.
func (m *Metrics) UnsolicitedBytes(upstream, _ string) {
	m.discarded.get([2]string{upstream, "unsolicited"}).Inc()
}

// SecretsChecked counts a look at what a document takes from elsewhere; source is "file" or "vault:" with its name.
func (m *Metrics) SecretsChecked(source, result string) {
	m.secrets.get([2]string{source, result}).Inc()
}

// AddressRefused counts a request that was kept out by its address: by the list of a route, or by that of the port when
// route is "".
func (m *Metrics) AddressRefused(route string) {
	scope := "route"
	if route == "" {
		scope, route = "listen", Unrouted
	}
	m.addresses.get([2]string{scope, route}).Inc()
}

func (m *Metrics) addRecorders() {
	m.addresses.make = m.counters("gateway_addresses_refused_total", "Requests that were kept out by their address.", "scope", "route")
	m.secrets.make = m.counters("gateway_secrets_checks_total", "Looks at secrets outside of the document.", "source", "result")
	m.credentials.make = m.counters("gateway_auth_total", "Credentials by issuer and by what became of them.", "issuer", "result")
	m.keyFetches.make = m.counters("gateway_auth_key_fetches_total", "Fetches of key sets.", "issuer", "result")
	m.introspections.make = func(string) *introspectionCounts { return &introspectionCounts{} }
	m.registry.MustRegister(&introspectionCollector{&m.introspections})
	m.discarded.make = m.counters("gateway_upstream_connections_discarded_total", "Kept connections that could not be used again.", "upstream", "reason")
}
