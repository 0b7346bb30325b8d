package observe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// recordMetrics tell what goes on between keyed writes and their store.
type recordMetrics struct {
	checked  cached[[2]string, prometheus.Counter]
	calls    cached[[2]string, prometheus.Observer]
	finished *prometheus.CounterVec
	short    cached[string, prometheus.Counter]
	late     cached[string, prometheus.Counter]
	open     *prometheus.GaugeVec
	oldest   prometheus.Gauge
	lost     prometheus.Counter
	changes  prometheus.Counter
}

// Outcomes of a result that is given to the store; they are shown from the start, so that an alert on fenced or recreated has
// a zero to rise from.
var finishOutcomes = []string{"stored", "fenced", "recreated", "spooled"}

func (m *Metrics) addRecords() {
	r := &m.records
	r.checked.make = m.counters("gateway_dedup_status_checks_total", "What upstreams said of unknown outcomes.", "route", "verdict")
	short := add(m, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gateway_dedup_short_keys_total", Help: "Keyed writes whose key has fewer than 16 characters."}, []string{"route"}))
	r.short.make = func(route string) prometheus.Counter { return short.WithLabelValues(route) }
	late := add(m, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gateway_dedup_late_retries_total", Help: "Retries in the last tenth of keep.key: a little later they would have been executed again."}, []string{"route"}))
	r.late.make = func(route string) prometheus.Counter { return late.WithLabelValues(route) }
	times := add(m, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "gateway_dedup_store_seconds", Help: "Calls to the store of keyed writes.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
	}, []string{"op", "result"}))
	r.calls.make = func(l [2]string) prometheus.Observer { return times.WithLabelValues(l[0], l[1]) }
	r.finished = add(m, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gateway_dedup_results_total", Help: "Results given to the store: fenced means two executions, recreated a lost claim, spooled that the store did not take it yet."}, []string{"outcome"}))
	for _, o := range finishOutcomes {
		r.finished.WithLabelValues(o)
	}
	r.open = add(m, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "gateway_dedup_open", Help: "Records in flight or unknown, counted twice a minute."}, []string{"state"}))
	r.oldest = add(m, prometheus.NewGauge(prometheus.GaugeOpts{Name: "gateway_dedup_unknown_age_seconds", Help: "Age of the oldest unknown outcome."}))
	r.lost = add(m, prometheus.NewCounter(prometheus.CounterOpts{Name: "gateway_dedup_claims_lost_total", Help: "Claims and results that a store had acknowledged and lost, found by asking again after a failover."}))
	r.changes = add(m, prometheus.NewCounter(prometheus.CounterOpts{Name: "gateway_dedup_primary_changes_total", Help: "Changes of the store's primary: failovers and restarts."}))
}

// Records shows what waits at the records of keyed writes, read at every scrape; once in a process.
func (m *Metrics) Records(r interface {
	Backlog() int
	Waiting() int
}) {
	add(m, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gateway_dedup_backlog", Help: "Results that wait to be stored."}, func() float64 { return float64(r.Backlog()) }))
	add(m, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gateway_dedup_waiting", Help: "Duplicates that wait for a running request."}, func() float64 { return float64(r.Waiting()) }))
}

// Finished counts a result by what the store made of it.
func (m *Metrics) Finished(outcome string) { m.records.finished.WithLabelValues(outcome).Inc() }

// StoreTime measures a call to the store of keyed writes.
func (m *Metrics) StoreTime(op string, d time.Duration, failed bool) {
	result := "ok"
	if failed {
		result = "error"
	}
	m.records.calls.get([2]string{op, result}).Observe(d.Seconds())
}

// Checked counts what an upstream said of an unknown outcome.
func (m *Metrics) Checked(route, verdict string) {
	m.records.checked.get([2]string{route, verdict}).Inc()
}

// ShortKey counts a keyed write whose key is easily chosen twice.
func (m *Metrics) ShortKey(route string) { m.records.short.get(route).Inc() }

// LateRetry counts a repetition that came shortly before its key was forgotten.
func (m *Metrics) LateRetry(route string) { m.records.late.get(route).Inc() }

// OpenRecords shows what a survey found.
func (m *Metrics) OpenRecords(inFlight, unknown int, oldest time.Duration) {
	m.records.open.WithLabelValues("in_flight").Set(float64(inFlight))
	m.records.open.WithLabelValues("unknown").Set(float64(unknown))
	m.records.oldest.Set(oldest.Seconds())
}

// ClaimsLost counts records that a store had acknowledged and did not have any more.
func (m *Metrics) ClaimsLost(n int) { m.records.lost.Add(float64(n)) }

// PrimaryChanged counts changes of the store's primary.
func (m *Metrics) PrimaryChanged() { m.records.changes.Inc() }
