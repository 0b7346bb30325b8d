package observe

import "github.com/oncegate/oncegate/internal/pipeline"

// The outcomes of gateway_upstream_requests_total.
const (
	OutcomeSuccess  = "success"   // an answer below 500
	OutcomeError5xx = "error_5xx" // an answer of 500 or more, or a gRPC status that stands for one
	OutcomeTimeout  = "timeout"   // no answer in time
	OutcomeFailed   = "failed"    // no connection, a reset, an invalid answer or one that broke off
	OutcomeGone     = "gone"      // the client left first
	OutcomeRefused  = "refused"   // the gateway stopped for a reason that is not the upstream's
)

// outcomeOf judges the last call of an exchange. end is the exchange's, or that of a call which a fallback gave up.
func outcomeOf(x *pipeline.Exchange, end pipeline.End) string {
	switch end.Kind {
	case 0:
		switch {
		case x.Attempt.Broken:
			return OutcomeFailed
		case end.Status >= 500, failedCall(x, end):
			return OutcomeError5xx
		}
		return OutcomeSuccess
	case pipeline.UpstreamTimeout:
		return OutcomeTimeout
	case pipeline.OutcomeUnknown:
		if timeout := pipeline.UpstreamTimeout.Status(); end.Status == timeout || x.Problem.Status == timeout { // to gRPC all are 200
			return OutcomeTimeout
		}
		return OutcomeFailed
	case pipeline.UpstreamFailed, pipeline.ResultUnavailable:
		return OutcomeFailed
	case pipeline.ClientGone:
		return OutcomeGone
	}
	return OutcomeRefused
}
