package observe

import (
	"strconv"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/prometheus/client_golang/prometheus"
)

// otherCode is the label of a call that ended without a code, or with one that nobody knows: a client left, or a stream broke.
const otherCode = 17

var callsDesc = prometheus.NewDesc("gateway_grpc_calls_total", "gRPC calls that ended, by their status code as the client got it: 0 to 16 or other.", []string{"route", "code"}, nil)

// codeOf is the status of a gRPC call, or otherCode; false: it is no call.
func codeOf(x *pipeline.Exchange, end pipeline.End) (code int, ok bool) {
	if !x.Calls() {
		return 0, false
	}
	code, ok = x.GRPCStatus()
	if !ok || code > otherCode || end.Kind == pipeline.ClientGone {
		code = otherCode
	}
	return code, true
}

// failedCall: its status stands for one of 500 or more, as the upstream gave it.
func failedCall(x *pipeline.Exchange, end pipeline.End) bool {
	code, ok := codeOf(x, end)
	return ok && code < otherCode && pipeline.GRPCAsHTTP(code) >= 500
}

func codeWord(code int) string {
	if code >= otherCode {
		return "other"
	}
	return strconv.Itoa(code)
}

// collectCalls shows those of a route that had any.
func (r *routeCounts) collectCalls(ch chan<- prometheus.Metric) {
	counts := r.calls.Load()
	if counts == nil {
		return
	}
	for code := range counts {
		if n := counts[code].Load(); n > 0 {
			ch <- prometheus.MustNewConstMetric(callsDesc, prometheus.CounterValue, float64(n), r.route, codeWord(code))
		}
	}
}

// call counts one.
func (r *routeCounts) call(code int) {
	counts := r.calls.Load()
	if counts == nil {
		r.calls.CompareAndSwap(nil, new(callCounts))
		counts = r.calls.Load()
	}
	counts[code].Add(1)
}
