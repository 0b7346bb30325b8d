package observe

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

func TestLayerWritesALine(t *testing.T) {
	sink := &buffer{}
	log := NewAccessLog(sink)
	o := New(NewMetrics(build), log, nil)
	x, end := fullExchange()
	o.Layer("orders")(handler(func(x *pipeline.Exchange) error { x.Replayed = true; return nil })).Serve(context.Background(), &x.Exchange)
	log.Write([]byte("served\n"))
	x.Finish(end)
	log.Close()
	line, isLast := strings.CutPrefix(sink.String(), "served\n")
	if !isLast {
		t.Fatalf("a line before the end: %s", sink.String())
	}
	var got struct {
		Route    string
		Trace    string `json:"trace_id"`
		Replayed bool
	}
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatal(err)
	}
	if got.Route != "orders" || !got.Replayed || got.Trace != fmt.Sprintf("%x", x.Trace.ID) {
		t.Errorf("%s", line)
	}
}

func TestRequestMetrics(t *testing.T) {
	m := NewMetrics(build)
	o := New(m, nil, nil)
	start := time.Now()
	ask(o, "orders", "GET", answerOK, pipeline.End{Status: 200, At: start.Add(time.Hour)})
	ask(o, "orders", "GET", answerOK, pipeline.End{Status: 200})
	ask(o, "orders", "BREW", answerOK, pipeline.End{Status: 201})
	ask(o, "orders", "POST", answerOK, pipeline.End{Status: 429, Kind: pipeline.RateLimited})
	ask(o, "orders", "POST", answerOK, pipeline.End{Kind: pipeline.ClientGone})
	ask(o, "orders", "PUT", answerOK, pipeline.End{Kind: pipeline.Internal})
	ask(o, "orders", "PUT", answerOK, pipeline.End{Status: 9000})
	ask(o, "", "GET", answerOK, pipeline.End{Status: 404, Kind: pipeline.NotFound})
	wantMetric(t, m,
		`gateway_requests_total{method="GET",route="orders",status="200"} 2`,
		`gateway_requests_total{method="other",route="orders",status="201"} 1`,
		`gateway_requests_total{method="POST",route="orders",status="429"} 1`,
		`gateway_requests_total{method="POST",route="orders",status="499"} 1`,
		`gateway_requests_total{method="PUT",route="orders",status="500"} 1`,
		`gateway_requests_total{method="PUT",route="orders",status="0"} 1`,
		`gateway_requests_total{method="GET",route="none",status="404"} 1`,
		`gateway_refusals_total{kind="rate-limited",route="orders"} 1`,
		`gateway_refusals_total{kind="client-gone",route="orders"} 1`,
		`gateway_refusals_total{kind="not-found",route="none"} 1`,
		`gateway_request_duration_seconds_bucket{route="orders",le="10"} 6`,
		`gateway_request_duration_seconds_count{route="orders"} 7`,
		`gateway_in_flight{route="orders"} 0`,
	)
	if text := exposition(t, m); strings.Contains(text, "BREW") || strings.Contains(text, `"9000"`) {
		t.Error("a label comes from a request")
	}
}

func TestEveryMethodHasItsLabel(t *testing.T) {
	for i, m := range methods {
		if got := methodIndex([]byte(m)); got != i {
			t.Errorf("%s: %d, want %d", m, got, i)
		}
	}
}

func TestInFlight(t *testing.T) {
	m := NewMetrics(build)
	x := pipeline.NewMemory("GET", "/")
	New(m, nil, nil).Layer("orders")(handler(answerOK)).Serve(context.Background(), &x.Exchange)
	wantMetric(t, m, `gateway_in_flight{route="orders"} 1`) // the answer still streams
	x.Finish(pipeline.End{Status: 200})
	wantMetric(t, m, `gateway_in_flight{route="orders"} 0`)
}

// A reload wraps the same route again: its numbers go on.
func TestNumbersOutliveReloads(t *testing.T) {
	m := NewMetrics(build)
	o := New(m, nil, nil)
	for range 2 {
		ask(o, "orders", "GET", answerOK, pipeline.End{Status: 200})
	}
	ask(New(m, nil, nil), "orders", "GET", answerOK, pipeline.End{Status: 200})
	wantMetric(t, m, `gateway_requests_total{method="GET",route="orders",status="200"} 3`)
}

func TestPanicIsRecovered(t *testing.T) {
	m, sink := NewMetrics(build), &buffer{}
	o := New(m, nil, NewLogger(sink, slog.LevelInfo))
	x := pipeline.NewMemory("GET", "/")
	err := o.Layer("orders")(handler(func(x *pipeline.Exchange) error {
		x.Response.SetBody([]byte("half an answer"))
		panic("broken\nhere")
	})).Serve(context.Background(), &x.Exchange)
	if err != pipeline.Internal {
		t.Fatalf("error %v", err)
	}
	if len(x.Sent.Body()) > 0 {
		t.Error("the half answer is still there")
	}
	x.Finish(pipeline.End{Status: 500, Kind: pipeline.Internal, Err: err})
	wantMetric(t, m, `gateway_in_flight{route="orders"} 0`, `gateway_refusals_total{kind="internal",route="orders"} 1`)
	var got struct {
		Level, Msg, Route, Panic, Stack string
		ID                              string `json:"request_id"`
	}
	if err := json.Unmarshal([]byte(sink.String()), &got); err != nil || sink.lines() != 1 {
		t.Fatalf("%v: %s", err, sink.String())
	}
	if got.Level != "ERROR" || got.Msg != "panic" || got.Route != "orders" || got.ID != "test-id" || got.Panic != "broken\nhere" || !strings.Contains(got.Stack, "TestPanicIsRecovered") {
		t.Errorf("%+v", got)
	}
}

func TestOutcomes(t *testing.T) {
	for _, c := range []struct {
		end    pipeline.End
		broken bool
		want   string
	}{
		{pipeline.End{Status: 200}, false, "success"},
		{pipeline.End{Status: 404}, false, "success"},
		{pipeline.End{Status: 500}, false, "error_5xx"},
		{pipeline.End{Status: 200}, true, "failed"},
		{pipeline.End{Kind: pipeline.UpstreamTimeout}, false, "timeout"},
		{pipeline.End{Kind: pipeline.UpstreamFailed}, false, "failed"},
		{pipeline.End{Kind: pipeline.ResultUnavailable}, false, "failed"},
		{pipeline.End{Kind: pipeline.OutcomeUnknown, Status: 504}, false, "timeout"},
		{pipeline.End{Kind: pipeline.OutcomeUnknown, Status: 502}, false, "failed"},
		{pipeline.End{Kind: pipeline.ClientGone}, false, "gone"},
		{pipeline.End{Kind: pipeline.TooLarge}, false, "refused"},
	} {
		x := &pipeline.Exchange{Attempt: pipeline.Attempt{Broken: c.broken}}
		if got := outcomeOf(x, c.end); got != c.want {
			t.Errorf("%+v: %s, want %s", c.end, got, c.want)
		}
	}
}

func TestUpstreamMetrics(t *testing.T) {
	m := NewMetrics(build)
	o := New(m, nil, nil)
	ask(o, "orders", "GET", func(x *pipeline.Exchange) error {
		x.Attempt = pipeline.Attempt{Upstream: "up", Count: 3, Duration: 3 * time.Second}
		return nil
	}, pipeline.End{Status: 503})
	ask(o, "orders", "GET", func(x *pipeline.Exchange) error {
		x.Attempt.Upstream = "untouched" // the breaker refused: nothing was sent
		return pipeline.UpstreamOpen
	}, pipeline.End{Status: 503, Kind: pipeline.UpstreamOpen})
	wantMetric(t, m,
		`gateway_upstream_requests_total{outcome="error_5xx",upstream="up"} 1`,
		`gateway_upstream_duration_seconds_count{upstream="up"} 1`,
		`gateway_upstream_duration_seconds_bucket{upstream="up",le="2.5"} 0`,
	)
	if strings.Contains(exposition(t, m), "untouched") {
		t.Error("an upstream that was not called is counted")
	}
}

// A call that a fallback gives up is counted as it ended; what the client gets in the end is the last call's, or nobody's.
func TestCallsThatAFallbackGivesUp(t *testing.T) {
	m := NewMetrics(build)
	o := New(m, nil, nil)
	call := func(x *pipeline.Exchange, upstream string, tries int, took time.Duration) {
		x.Attempt.Upstream = upstream
		x.Attempt.Count += tries
		x.Attempt.Duration += took
	}
	ask(o, "orders", "GET", func(x *pipeline.Exchange) error { // answered by the gateway, after two calls
		call(x, "first", 2, 3*time.Second)
		m.GaveUp(x, pipeline.End{Kind: pipeline.UpstreamTimeout, Err: pipeline.UpstreamTimeout})
		call(x, "second", 1, time.Millisecond)
		m.GaveUp(x, pipeline.End{Status: 503})
		return nil
	}, pipeline.End{Status: 200})
	ask(o, "orders", "GET", func(x *pipeline.Exchange) error { // answered by the second
		call(x, "first", 1, time.Second)
		m.GaveUp(x, pipeline.End{Kind: pipeline.UpstreamFailed, Err: pipeline.UpstreamFailed})
		call(x, "second", 3, 2*time.Millisecond)
		x.Attempt.Join(pipeline.Attempt{Upstream: "second", Count: 1, Duration: time.Millisecond}) // hedged
		return nil
	}, pipeline.End{Status: 200})
	ask(o, "orders", "GET", func(x *pipeline.Exchange) error { // the first refused without a call, the second was not called either
		x.Attempt.Upstream = "first"
		m.GaveUp(x, pipeline.End{Kind: pipeline.UpstreamOpen, Err: pipeline.UpstreamOpen})
		x.Attempt.Upstream = "second"
		return pipeline.UpstreamOpen
	}, pipeline.End{Status: 503, Kind: pipeline.UpstreamOpen})
	wantMetric(t, m,
		`gateway_upstream_requests_total{outcome="timeout",upstream="first"} 1`,
		`gateway_upstream_requests_total{outcome="failed",upstream="first"} 1`,
		`gateway_upstream_requests_total{outcome="error_5xx",upstream="second"} 1`,
		`gateway_upstream_requests_total{outcome="success",upstream="second"} 1`,
		`gateway_upstream_duration_seconds_count{upstream="first"} 2`,
		`gateway_upstream_duration_seconds_sum{upstream="first"} 4`,
		`gateway_upstream_duration_seconds_count{upstream="second"} 2`,
		`gateway_upstream_duration_seconds_sum{upstream="second"} 0.004`,
	)
	if text := exposition(t, m); strings.Count(text, "\ngateway_upstream_requests_total{") != 4 {
		t.Errorf("more is counted: %s", grep(text, "gateway_upstream_requests_total"))
	}
}

func TestTrace(t *testing.T) {
	const known = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	begin := func(parent, state string) *pipeline.Memory {
		x := pipeline.NewMemory("GET", "/")
		if parent != "" {
			x.WithHeader("Traceparent", parent)
		}
		x.WithHeader("tracestate", state)
		Begin(&x.Exchange)
		return x
	}
	x := begin(known, "a=b")
	if got := fmt.Sprintf("%x %x %x %s", x.Trace.ID, x.Trace.Parent, x.Trace.Flags, x.Trace.State); got != "0af7651916cd43dd8448eb211c80319c b7ad6b7169203331 1 a=b" {
		t.Errorf("continued as %s", got)
	}
	if x.Trace.Span == x.Trace.Parent || x.Trace.Span == [8]byte{} {
		t.Errorf("span %x is not ours", x.Trace.Span)
	}
	seen := map[[16]byte]bool{}
	for _, parent := range []string{"", "nonsense", strings.ToUpper(known), strings.Replace(known, "0af7651916cd43dd8448eb211c80319c", strings.Repeat("0", 32), 1)} {
		x := begin(parent, "a=b")
		if x.Trace.ID == [16]byte{} || seen[x.Trace.ID] || x.Trace.Parent != [8]byte{} || x.Trace.Span == [8]byte{} || x.Trace.State != nil || x.Trace.Flags != 3 {
			t.Errorf("%q: %+v", parent, x.Trace)
		}
		seen[x.Trace.ID] = true
	}
}
