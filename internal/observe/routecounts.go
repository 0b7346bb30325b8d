package observe

import (
	"strconv"
	"sync/atomic"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/prometheus/client_golang/prometheus"
)

// methods are the values of the method label. A client may send any word: it counts as other.
var methods = [...]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"}

// classes are hundreds of the status. A status outside 100 to 599 never goes out; if an edge reports one, it counts as 0.
const classes = 6

type (
	statusCounts [100]atomic.Uint64
	callCounts   [otherCode + 1]atomic.Uint64
)

// routeCounts are the numbers of one route. Counting is indexing an array and one atomic addition; the arrays of a method and
// a class of statuses are made when first used, so a route that is not asked costs little.
type routeCounts struct {
	route    string
	inFlight atomic.Int64
	sockets  atomic.Int64 // open WebSockets
	socketed atomic.Bool  // there was one
	requests [len(methods)][classes]atomic.Pointer[statusCounts]
	calls    atomic.Pointer[callCounts]
	refusals []atomic.Uint64 // by kind
	duration times
}

func newRouteCounts(route string) *routeCounts {
	return &routeCounts{route: route, refusals: make([]atomic.Uint64, len(pipeline.Refusals())+1)}
}

// count notes a request that ended.
func (r *routeCounts) count(x *pipeline.Exchange, end pipeline.End) {
	status := end.Status
	if status < 100 || status >= classes*100 {
		status = 0
	}
	slot := &r.requests[methodIndex(x.Request.Method())][status/100]
	counts := slot.Load()
	if counts == nil {
		slot.CompareAndSwap(nil, new(statusCounts))
		counts = slot.Load()
	}
	counts[status%100].Add(1)
	if kind := int(end.Kind); kind > 0 && kind < len(r.refusals) {
		r.refusals[kind].Add(1)
	}
	if code, ok := codeOf(x, end); ok {
		r.call(code)
	}
	if x.Switch.Granted && end.Status == 101 {
		return // its life says nothing about how quick answers are
	}
	r.duration.observe(took(x, end))
}

func methodIndex(method []byte) int {
	switch string(method) {
	case "GET":
		return 0
	case "HEAD":
		return 1
	case "POST":
		return 2
	case "PUT":
		return 3
	case "PATCH":
		return 4
	case "DELETE":
		return 5
	case "OPTIONS":
		return 6
	}
	return len(methods) - 1
}

var (
	requestsDesc = prometheus.NewDesc("gateway_requests_total", "Requests answered.", []string{"route", "method", "status"}, nil)
	refusalsDesc = prometheus.NewDesc("gateway_refusals_total", "Requests that the gateway refused itself, by kind of refusal.", []string{"route", "kind"}, nil)
	durationDesc = prometheus.NewDesc("gateway_request_duration_seconds", "Time from the request's head to the answer's last byte.", []string{"route"}, nil)
	socketsDesc  = prometheus.NewDesc("gateway_websockets", "Open WebSocket connections.", []string{"route"}, nil)
	inFlightDesc = prometheus.NewDesc("gateway_in_flight", "Requests being answered.", []string{"route"}, nil)
)

// routeCollector shows the counts of all routes to Prometheus.
type routeCollector struct {
	routes *cached[string, *routeCounts]
}

// Describe implements prometheus.Collector.
func (c *routeCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- requestsDesc
	ch <- refusalsDesc
	ch <- callsDesc
	ch <- inFlightDesc
	ch <- socketsDesc
	ch <- durationDesc
}

// Collect implements prometheus.Collector.
func (c *routeCollector) Collect(ch chan<- prometheus.Metric) {
	for _, r := range c.routes.all() {
		ch <- prometheus.MustNewConstMetric(inFlightDesc, prometheus.GaugeValue, float64(r.inFlight.Load()), r.route)
		if n := r.sockets.Load(); n > 0 || r.socketed.Load() {
			ch <- prometheus.MustNewConstMetric(socketsDesc, prometheus.GaugeValue, float64(n), r.route)
		}
		ch <- r.duration.metric(durationDesc, r.route)
		r.collectRequests(ch)
		r.collectCalls(ch)
		for kind := range r.refusals {
			if n := r.refusals[kind].Load(); n > 0 {
				ch <- prometheus.MustNewConstMetric(refusalsDesc, prometheus.CounterValue, float64(n), r.route, pipeline.Refusal(kind).Slug())
			}
		}
	}
}

func (r *routeCounts) collectRequests(ch chan<- prometheus.Metric) {
	for method := range r.requests {
		for class := range r.requests[method] {
			counts := r.requests[method][class].Load()
			if counts == nil {
				continue
			}
			for i := range counts {
				if n := counts[i].Load(); n > 0 {
					status := strconv.Itoa(class*100 + i)
					ch <- prometheus.MustNewConstMetric(requestsDesc, prometheus.CounterValue, float64(n), r.route, methods[method], status)
				}
			}
		}
	}
}

// Websockets counts a WebSocket of a route that opened, 1, or closed, -1.
func (m *Metrics) Websockets(route string, change int) {
	r := m.routes.get(route)
	r.socketed.Store(true)
	r.sockets.Add(int64(change))
}
