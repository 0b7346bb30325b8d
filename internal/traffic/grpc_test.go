package traffic

import (
	"context"
	"testing"

	"github.com/oncegate/oncegate/internal/pipeline"
)

func rpc(http2 bool) *pipeline.Memory {
	m := pipeline.NewMemory("POST", "/a.B/C").WithHeader("Content-Type", "application/grpc")
	m.HTTP2 = http2
	return m
}

// A fixed answer is a status to a gRPC call, and never OK, unless it is an answer of gRPC itself.
func TestFixedAnswersToGRPC(t *testing.T) {
	redirect, err := (&Redirect{Status: 308, Location: "/elsewhere"}).Handler()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		handler pipeline.Handler
		code    string
		message string
	}{
		"200":      {(&Respond{Status: 200, Body: "[]", Headers: map[string]string{"Content-Type": "application/json"}}).Handler(), "2", "The answer of this route is HTTP 200 OK"},
		"401":      {(&Respond{Status: 401}).Handler(), "16", "The answer of this route is HTTP 401 Unauthorized"},
		"403":      {(&Respond{Status: 403}).Handler(), "7", "The answer of this route is HTTP 403 Forbidden"},
		"404":      {(&Respond{Status: 404}).Handler(), "12", "The answer of this route is HTTP 404 Not Found"},
		"429":      {(&Respond{Status: 429}).Handler(), "14", "The answer of this route is HTTP 429 Too Many Requests"},
		"503":      {(&Respond{Status: 503, Body: "back soon"}).Handler(), "14", "The answer of this route is HTTP 503 Service Unavailable"},
		"599":      {(&Respond{Status: 599}).Handler(), "2", "The answer of this route is HTTP 599"},
		"redirect": {redirect, "2", "The answer of this route is HTTP 308 Permanent Redirect"},
		"its own":  {(&Respond{Status: 200, Headers: map[string]string{"content-type": "application/grpc", "grpc-status": "9", "grpc-message": "no"}}).Handler(), "9", "no"},
	} {
		m := rpc(true)
		_ = c.handler.Serve(context.Background(), &m.Exchange)
		if m.Sent.Status() != 200 || string(m.Sent.Header("Grpc-Status")) != c.code || string(m.Sent.Header("Grpc-Message")) != c.message || len(m.Sent.Body()) != 0 || !pipeline.IsGRPC(m.Sent.Header("Content-Type")) {
			t.Errorf("%s: %d %s %q %q", name, m.Sent.Status(), m.Sent.Header("Grpc-Status"), m.Sent.Header("Grpc-Message"), m.Sent.Body())
		}
	}
	m := rpc(false)
	_ = (&Respond{Status: 503, Body: "back soon"}).Handler().Serve(context.Background(), &m.Exchange)
	if m.Sent.Status() != 503 || string(m.Sent.Body()) != "back soon" {
		t.Error("over HTTP/1.1 it is content like any other")
	}
}

// What a call fails with is judged by its own status.
func TestFallbackOfGRPC(t *testing.T) {
	for code, want := range map[string]string{"14": "14", "13": "2", "0": "0", "5": "5"} {
		layer := Fallback([]Rule{{On: []string{"500"}, Respond: &Respond{Status: 200}}, {On: []string{"404"}, Upstream: "dr"}}, "r", map[string]*Branch{"dr": {Name: "dr", Handler: named("dr")}}, nil)
		m := rpc(true)
		_ = layer(pipeline.HandlerFunc(func(_ context.Context, x *pipeline.Exchange) error {
			x.Effect = pipeline.EffectDone
			x.Response.SetStatus(200)
			x.Response.Set("Grpc-Status", []byte(code))
			return nil
		})).Serve(context.Background(), &m.Exchange)
		if got := string(m.Sent.Header("Grpc-Status")); got != want {
			t.Errorf("%s became %s", code, got)
		}
	}
}
