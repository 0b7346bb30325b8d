package observe

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Calls have a code in their line and in a metric, from wherever it stands; what else came of them is other.
func TestCalls(t *testing.T) {
	m := NewMetrics(build)
	sink := &buffer{}
	log := NewAccessLog(sink)
	o := New(m, log, nil)
	for _, c := range []struct {
		head, late string
		kind       pipeline.Refusal
		others     bool
	}{
		{head: "0"}, {late: "5"}, {late: "14"}, {head: "16", kind: pipeline.Unauthenticated}, {late: "17"}, {late: "4711"}, {late: "many"}, {}, {head: "0", kind: pipeline.ClientGone},
		{head: "0", others: true},
	} {
		x := pipeline.NewMemory("POST", "/a.B/C").WithHeader("Content-Type", "application/grpc")
		x.HTTP2 = !c.others
		end := pipeline.End{Status: 200, Kind: c.kind}
		_ = o.Layer("rpc")(handler(func(x *pipeline.Exchange) error {
			x.Attempt.Count, x.Attempt.Upstream = 1, "u"
			if c.head != "" {
				x.Response.Set("Grpc-Status", []byte(c.head))
			}
			if c.late != "" {
				x.Trailers = &pipeline.Trailers{}
				x.Trailers.Add("grpc-status", c.late)
			}
			return nil
		})).Serve(t.Context(), &x.Exchange)
		x.Finish(end)
	}
	log.Close()
	wantMetric(t, m,
		`gateway_grpc_calls_total{code="0",route="rpc"} 1`, `gateway_grpc_calls_total{code="5",route="rpc"} 1`, `gateway_grpc_calls_total{code="14",route="rpc"} 1`,
		`gateway_grpc_calls_total{code="16",route="rpc"} 1`, `gateway_grpc_calls_total{code="other",route="rpc"} 5`,
		`gateway_upstream_requests_total{outcome="error_5xx",upstream="u"} 1`,
	)
	var codes []string
	for dec := json.NewDecoder(strings.NewReader(sink.String())); dec.More(); {
		var line struct {
			Code *string `json:"grpc_status"`
		}
		if err := dec.Decode(&line); err != nil {
			t.Fatal(err)
		}
		if line.Code == nil {
			codes = append(codes, "-")
		} else {
			codes = append(codes, *line.Code)
		}
	}
	want := []string{"0", "5", "14", "16", "other", "other", "other", "other", "other", "-"}
	if len(codes) != len(want) {
		t.Fatalf("%q", codes)
	}
	for i := range want {
		if codes[i] != want[i] {
			t.Errorf("%q, want %q", codes, want)
			break
		}
	}
}

// An unknown outcome is a time-out when that is what made it one, though every gRPC answer is a 200.
func TestUpstreamOutcomeOfCalls(t *testing.T) {
	for status, want := range map[int]string{504: OutcomeTimeout, 502: OutcomeFailed, 503: OutcomeFailed} {
		x := pipeline.NewMemory("POST", "/a.B/C")
		x.Problem.Status = status
		if got := outcomeOf(&x.Exchange, pipeline.End{Status: 200, Kind: pipeline.OutcomeUnknown}); got != want {
			t.Errorf("%d: %s", status, got)
		}
	}
}
