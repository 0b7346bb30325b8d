package observe

import (
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// begun are the flags of a trace that begins here (W3C Trace Context level 2): its id is random, and it is sampled. The gateway
// records nothing itself, but services that sample as their parent does, which is what OpenTelemetry does by default, would
// record nothing behind a gateway that said no.
const begun = 0x03

// Begin continues the client's trace, or begins one when traceparent is missing or malformed. tracestate is only worth
// something beside a valid traceparent; it is borrowed from the request.
func Begin(x *pipeline.Exchange) {
	id, parent, flags, ok := wire.ParseTraceparent(x.Request.Header("traceparent"))
	if !ok {
		x.Trace = pipeline.Trace{ID: wire.NewTraceID(), Span: wire.NewSpanID(), Flags: begun}
		return
	}
	x.Trace = pipeline.Trace{ID: id, Parent: parent, Span: wire.NewSpanID(), Flags: flags, State: x.Request.Header("tracestate")}
}
