package observe

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// The names and labels of the contract.
func TestContractNames(t *testing.T) {
	m := NewMetrics(build)
	o := New(m, nil, nil)
	ask(o, "orders", "GET", func(x *pipeline.Exchange) error {
		x.Attempt = pipeline.Attempt{Upstream: "up", Count: 1}
		return nil
	}, pipeline.End{Status: 504, Kind: pipeline.UpstreamTimeout})
	m.Decision("per-client", "allowed")
	m.Decision("per-client", "allowed")
	m.Decision("per-client", "refused")
	m.Dedup("orders", "replayed")
	m.SetBreakerState("up", 2)
	m.Reload(true)
	m.Reload(false)
	wantMetric(t, m,
		`gateway_requests_total{method="GET",route="orders",status="504"} 1`,
		`gateway_request_duration_seconds_count{route="orders"} 1`,
		`gateway_refusals_total{kind="upstream-timeout",route="orders"} 1`,
		`gateway_in_flight{route="orders"} 0`,
		`gateway_upstream_requests_total{outcome="timeout",upstream="up"} 1`,
		`gateway_upstream_duration_seconds_count{upstream="up"} 1`,
		`gateway_breaker_state{upstream="up"} 2`,
		`gateway_ratelimit_decisions_total{decision="allowed",policy="per-client"} 2`,
		`gateway_ratelimit_decisions_total{decision="refused",policy="per-client"} 1`,
		`gateway_dedup_total{result="replayed",route="orders"} 1`,
		`gateway_config_reloads_total{result="success"} 1`,
		`gateway_config_reloads_total{result="failure"} 1`,
		`gateway_config_last_reload_success 0`,
		`gateway_build_info{fasthttp="v1.77.0",goversion="go1.26",version="v1.2.3"} 1`,
		`gateway_access_log_dropped_total 0`,
	)
	m.Reload(true)
	wantMetric(t, m, `gateway_config_last_reload_success 1`)
}

func TestBeforeTheFirstRequest(t *testing.T) {
	m := NewMetrics(build)
	m.SetBreakerState("up", 0)
	wantMetric(t, m, `gateway_config_last_reload_success 1`, `gateway_config_reloads_total{result="failure"} 0`, `gateway_breaker_state{upstream="up"} 0`)
	text := exposition(t, m)
	for _, name := range []string{"go_goroutines", "process_resident_memory_bytes", "process_open_fds"} {
		if !strings.Contains(text, "\n"+name+" ") {
			t.Errorf("no %s", name)
		}
	}
}

func TestDroppedLinesAreShown(t *testing.T) {
	m, log := NewMetrics(build), NewAccessLog(io.Discard)
	New(m, log, nil)
	log.Close()
	log.Write([]byte("late\n"))
	wantMetric(t, m, `gateway_access_log_dropped_total 1`)
}

func TestExpositionFormats(t *testing.T) {
	m := NewMetrics(build)
	for accept, want := range map[string]string{
		"":              "text/plain",
		"text/plain":    "text/plain",
		"nonsense/;;;q": "text/plain",
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited": "application/vnd.google.protobuf",
	} {
		contentType, body, err := m.Exposition(accept)
		if err != nil || !strings.HasPrefix(contentType, want) || len(body) == 0 {
			t.Errorf("%q: %q, %d bytes, %v", accept, contentType, len(body), err)
		}
	}
	var text bytes.Buffer
	if err := m.Write(&text); err != nil || !strings.Contains(text.String(), "\ngateway_build_info{") {
		t.Errorf("%v, %d bytes", err, text.Len())
	}
}

func TestWatch(t *testing.T) {
	m, n := NewMetrics(build), uint64(7)
	if err := m.Watch("gateway_ratelimit_overflow_total", "Overflow.", func() uint64 { return n }); err != nil {
		t.Fatal(err)
	}
	wantMetric(t, m, "gateway_ratelimit_overflow_total 7")
	if n = 8; m.Watch("gateway_ratelimit_overflow_total", "Overflow.", nil) == nil {
		t.Error("a name was given twice")
	}
	wantMetric(t, m, "gateway_ratelimit_overflow_total 8")
}

// Many goroutines meet new labels at the same time: nothing is lost or counted twice.
func TestConcurrentCounting(t *testing.T) {
	m := NewMetrics(build)
	o := New(m, nil, nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 100 {
				ask(o, fmt.Sprint("r", i%5), "GET", answerOK, pipeline.End{Status: 200 + i%10})
				m.Decision(fmt.Sprint("p", i%5), "allowed")
				if i%20 == 0 {
					m.Exposition("")
				}
			}
		})
	}
	wg.Wait()
	text := exposition(t, m)
	for i := range 5 {
		if !strings.Contains(text, fmt.Sprintf(`gateway_ratelimit_decisions_total{decision="allowed",policy="p%d"} 160`, i)) {
			t.Errorf("decisions of p%d are wrong", i)
		}
		if !strings.Contains(text, fmt.Sprintf(`gateway_request_duration_seconds_count{route="r%d"} 160`, i)) {
			t.Errorf("durations of r%d are wrong", i)
		}
	}
	if n := len(regexp.MustCompile(`gateway_requests_total\{[^}]*\} 80`).FindAllString(text, -1)); n != 10 {
		t.Errorf("%d series of 80 requests, want 10", n)
	}
}

type quietResponse struct{ pipeline.Response }

// request gives the function that runs one request as an edge does, with everything switched on.
func request(t testing.TB) (run func(), done func()) {
	log := NewAccessLog(io.Discard)
	m := NewMetrics(build)
	h := New(m, log, nil).Layer("orders")(handler(answerOK))
	full, end := fullExchange()
	req := fixedRequest{method: []byte("POST"), path: []byte("/v1/orders"), traceparent: []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")}
	var asRequest pipeline.Request = req
	var asResponse pipeline.Response = quietResponse{}
	x := &pipeline.Exchange{}
	facts := full.Exchange
	return func() {
		x.Begin(asRequest, asResponse, nil)
		x.ID, x.Client, x.Peer, x.ClientIP, x.Start, x.Attempt = facts.ID, facts.Client, facts.Peer, facts.ClientIP, facts.Start, facts.Attempt
		h.Serve(context.Background(), x)
		x.Finish(end)
	}, func() { log.Close() }
}

func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("pools allocate under the race detector")
	}
	run, done := request(t)
	defer done()
	for range 100 {
		run()
	}
	if n := testing.AllocsPerRun(500, run); n > 0 {
		t.Errorf("%v allocations a request", n)
	}
	m := NewMetrics(build)
	if n := testing.AllocsPerRun(100, func() { m.Decision("p", "allowed"); m.UpstreamDone("u", "success", time.Second) }); n > 0 {
		t.Errorf("%v allocations a decision", n)
	}
}

func BenchmarkLayer(b *testing.B) {
	run, done := request(b)
	defer done()
	b.ReportAllocs()
	for b.Loop() {
		run()
	}
}

func BenchmarkLine(b *testing.B) {
	x, end := fullExchange()
	x.Request = fixedRequest{method: []byte("POST"), path: []byte("/v1/orders")}
	line := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		line = appendLine(line[:0], &x.Exchange, end, "orders")
	}
}

func BenchmarkDecision(b *testing.B) {
	m := NewMetrics(build)
	b.ReportAllocs()
	for b.Loop() {
		m.Decision("per-client", "allowed")
	}
}
