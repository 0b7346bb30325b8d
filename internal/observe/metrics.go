package observe

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"
)

// BuildInfo is what the binary says of itself; gateway_build_info shows the version, Go and fasthttp.
type BuildInfo struct{ Version, Commit, Go, Fasthttp, Fiber string }

// Metrics holds everything that is counted, in a registry of its own. It implements the small recorder interfaces of other
// packages. Strings given to it become labels: they must come from the document or be constants, and be owned.
type Metrics struct {
	registry  *prometheus.Registry
	routes    cached[string, *routeCounts]
	decisions cached[[2]string, prometheus.Counter]
	dedup     cached[[2]string, prometheus.Counter]
	shadowed  cached[[2]string, prometheus.Counter]
	records   recordMetrics
	limits    limitMetrics
	guards    guardMetrics

	credentials, keyFetches, discarded, addresses, secrets cached[[2]string, prometheus.Counter]

	build BuildInfo

	introspections cached[string, *introspectionCounts]

	upstreams  cached[string, *upstreamCounts]
	breakers   *prometheus.GaugeVec
	reloads    *prometheus.CounterVec
	lastReload prometheus.Gauge
	accessLog  atomic.Pointer[AccessLog]
}

// NewMetrics makes the registry, with the collectors of the process and of the Go runtime.
func NewMetrics(build BuildInfo) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), build: build}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.addRoutes()
	m.decisions.make = m.counters("gateway_ratelimit_decisions_total", "Decisions of rate limits.", "policy", "decision")
	m.dedup.make = m.counters("gateway_dedup_total", "Keyed writes by what became of them.", "route", "result")
	m.shadowed.make = m.counters("gateway_shadow_refused_total", "What breakers and bulkheads would have refused on routes in shadow.", "route", "policy")
	m.addUpstreams()
	m.addRecorders()
	m.addRecords()
	m.addLimits()
	m.addGuards()
	m.reloads = add(m, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gateway_config_reloads_total", Help: "Attempts to reload the configuration."}, []string{"result"}))
	m.reloads.WithLabelValues("success")
	m.reloads.WithLabelValues("failure")
	m.lastReload = add(m, prometheus.NewGauge(prometheus.GaugeOpts{Name: "gateway_config_last_reload_success", Help: "1 when the newest configuration is in force, 0 when it was refused."}))
	m.lastReload.Set(1)
	info := add(m, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "gateway_build_info", Help: "Always 1; the labels tell what runs."}, []string{"version", "goversion", "fasthttp"}))
	info.WithLabelValues(build.Version, build.Go, build.Fasthttp).Set(1)
	add(m, prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "gateway_access_log_dropped_total", Help: "Log lines that never reached the sink."}, m.linesDropped))
	return m
}

// Build is what the binary says of itself.
func (m *Metrics) Build() BuildInfo { return m.build }

func (m *Metrics) addRoutes() {
	m.routes.make = newRouteCounts
	m.registry.MustRegister(&routeCollector{&m.routes})
}

func (m *Metrics) addUpstreams() {
	m.upstreams.make = func(name string) *upstreamCounts { return &upstreamCounts{name: name} }
	m.registry.MustRegister(&upstreamCollector{&m.upstreams})
	m.breakers = add(m, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "gateway_breaker_state", Help: "0 closed, 1 half-open, 2 open."}, []string{"upstream"}))
}

// add registers a collector; a name that is taken is a programming error.
func add[C prometheus.Collector](m *Metrics, c C) C {
	m.registry.MustRegister(c)
	return c
}

// counters registers a counter of two labels.
func (m *Metrics) counters(name, help, first, second string) func([2]string) prometheus.Counter {
	vec := add(m, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{first, second}))
	return func(labels [2]string) prometheus.Counter { return vec.WithLabelValues(labels[0], labels[1]) }
}

func (m *Metrics) linesDropped() float64 {
	if log := m.accessLog.Load(); log != nil {
		return float64(log.Dropped())
	}
	return 0
}

// Decision counts what a rate limit decided.
func (m *Metrics) Decision(policy, decision string) {
	m.decisions.get([2]string{policy, decision}).Inc()
}

// Shadowed counts what a policy of a route in shadow would have refused.
func (m *Metrics) Shadowed(route, policy string) { m.shadowed.get([2]string{route, policy}).Inc() }

// Dedup counts what became of a keyed write.
func (m *Metrics) Dedup(route, result string) { m.dedup.get([2]string{route, result}).Inc() }

// called counts the last call that an exchange made, its tries in one; not when a fallback gave that up, which counted it.
func (m *Metrics) called(x *pipeline.Exchange, end pipeline.End) {
	a := &x.Attempt
	if a.Count <= a.Counted.Count {
		return
	}
	m.UpstreamDone(a.Upstream, outcomeOf(x, end), a.Duration-a.Counted.Duration)
	a.Counted = pipeline.Counted{Count: a.Count, Duration: a.Duration}
}

// UpstreamDone counts a call of an upstream; outcome is one of the Outcome constants.
func (m *Metrics) UpstreamDone(upstream, outcome string, d time.Duration) {
	u := m.upstreams.get(upstream)
	for i, o := range outcomes {
		if o == outcome {
			u.outcomes[i].Add(1)
		}
	}
	u.times.observe(d)
}

// SetBreakerState shows the state of an upstream's breaker: 0 closed, 1 half-open, 2 open.
func (m *Metrics) SetBreakerState(upstream string, state int) {
	m.breakers.WithLabelValues(upstream).Set(float64(state))
}

// Reload counts an attempt to load a new configuration.
func (m *Metrics) Reload(ok bool) {
	result, value := "failure", 0.0
	if ok {
		result, value = "success", 1
	}
	m.reloads.WithLabelValues(result).Inc()
	m.lastReload.Set(value)
}

// Watch shows a count that another package keeps, read at every scrape. The name must be free.
func (m *Metrics) Watch(name, help string, read func() uint64) error {
	c := prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(read()) })
	if err := m.registry.Register(c); err != nil {
		return fmt.Errorf("metric %s: %w", name, err)
	}
	return nil
}

// Write writes the text exposition.
func (m *Metrics) Write(w io.Writer) error {
	return m.write(w, expfmt.NewFormat(expfmt.TypeTextPlain))
}

// Exposition renders all metrics in the format that an Accept field asks for; text when it asks for none we have.
func (m *Metrics) Exposition(accept string) (contentType string, body []byte, err error) {
	format := expfmt.NegotiateAccept(http.Header{"Accept": {accept}}, expfmt.DefaultAcceptedFormats()...)
	var buf bytes.Buffer
	if err := m.write(&buf, format); err != nil {
		return "", nil, err
	}
	return string(format), buf.Bytes(), nil
}

func (m *Metrics) write(w io.Writer, format expfmt.Format) error {
	families, err := m.registry.Gather()
	if err != nil {
		return fmt.Errorf("gather metrics: %w", err)
	}
	enc := expfmt.NewEncoder(w, format)
	for _, family := range families {
		if err := enc.Encode(family); err != nil {
			return fmt.Errorf("encode metric %s: %w", family.GetName(), err)
		}
	}
	return nil
}
