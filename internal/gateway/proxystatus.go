package gateway

import (
	"context"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// proxyStatus tells with Proxy-Status (RFC 9209) what kind of failure an answer of the gateway's own stands for. It names no
// target and quotes nothing: the words are those of the RFC's registry.
func proxyStatus(on bool) pipeline.Layer {
	if !on {
		return nil
	}
	return func(next pipeline.Handler) pipeline.Handler {
		return pipeline.HandlerFunc(func(ctx context.Context, x *pipeline.Exchange) error {
			err := next.Serve(ctx, x)
			if err != nil {
				x.Response.Set("Proxy-Status", proxyWords(pipeline.KindOf(err), x.Effect))
			}
			return err
		})
	}
}

var (
	proxyRefused    = []byte("oncegate; error=connection_refused")
	proxyNoConnect  = []byte("oncegate; error=connection_timeout")
	proxyTerminated = []byte("oncegate; error=connection_terminated")
	proxyNoAnswer   = []byte("oncegate; error=http_response_timeout")
	proxyIncomplete = []byte("oncegate; error=http_response_incomplete")
	proxyDown       = []byte("oncegate; error=destination_unavailable")
	proxyFull       = []byte("oncegate; error=connection_limit_reached")
	proxyInternal   = []byte("oncegate; error=proxy_internal_error")
	proxyRequest    = []byte("oncegate; error=http_request_error")
	proxyDenied     = []byte("oncegate; error=http_request_denied")
)

func proxyWords(kind pipeline.Refusal, effect pipeline.Effect) []byte {
	switch kind {
	case pipeline.UpstreamFailed:
		if effect == pipeline.EffectNone {
			return proxyRefused
		}
		return proxyTerminated
	case pipeline.UpstreamTimeout:
		if effect == pipeline.EffectNone {
			return proxyNoConnect
		}
		return proxyNoAnswer
	case pipeline.OutcomeUnknown, pipeline.ResultUnavailable:
		return proxyIncomplete
	case pipeline.UpstreamOpen, pipeline.Draining, pipeline.StoreUnavailable, pipeline.AuthUnavailable:
		return proxyDown
	case pipeline.Overloaded:
		return proxyFull
	case pipeline.Internal:
		return proxyInternal
	case pipeline.BadRequest, pipeline.TooLarge, pipeline.HeaderTooLarge, pipeline.RequestTimeout, pipeline.ExpectationFailed, pipeline.VersionNotSupported:
		return proxyRequest
	}
	return proxyDenied
}
