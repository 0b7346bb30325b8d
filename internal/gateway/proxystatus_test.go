package gateway

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Every refusal has a word of RFC 9209, 2.3; answers of an upstream have none.
func TestProxyStatus(t *testing.T) {
	status := func(err error, effect pipeline.Effect) string {
		m := pipeline.NewMemory("GET", "/")
		m.Effect = effect
		_ = proxyStatus(true)(pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange) error { return err })).Serve(context.Background(), &m.Exchange)
		return strings.TrimPrefix(string(m.Sent.Header("Proxy-Status")), "oncegate; error=")
	}
	for _, c := range []struct {
		err    error
		effect pipeline.Effect
		want   string
	}{
		{nil, pipeline.EffectDone, ""},
		{fmt.Errorf("dial: %w", pipeline.UpstreamFailed), pipeline.EffectNone, "connection_refused"},
		{pipeline.UpstreamFailed, pipeline.EffectUnknown, "connection_terminated"},
		{pipeline.UpstreamTimeout, pipeline.EffectNone, "connection_timeout"},
		{pipeline.UpstreamTimeout, pipeline.EffectUnknown, "http_response_timeout"},
		{pipeline.UpstreamOpen, pipeline.EffectNone, "destination_unavailable"},
		{pipeline.RateLimited, pipeline.EffectNone, "http_request_denied"},
		{pipeline.TooLarge, pipeline.EffectNone, "http_request_error"},
		{fmt.Errorf("x"), pipeline.EffectNone, "proxy_internal_error"},
	} {
		if got := status(c.err, c.effect); got != c.want {
			t.Errorf("%v, %v: %q", c.err, c.effect, got)
		}
	}
	for _, kind := range pipeline.Refusals() {
		if status(kind, pipeline.EffectNone) == "" {
			t.Errorf("%s has no word", kind.Slug())
		}
	}
	if proxyStatus(false) != nil {
		t.Error("a layer for nothing")
	}
}
