package observe

import (
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// flagRandom says that a trace id is random (W3C Trace Context level 2). Nothing here decides on sampling.
const flagRandom = 0x02

// Begin continues the client's trace, or begins one when traceparent is missing or malformed. tracestate is only worth
// something beside a valid traceparent; it is borrowed from the request.
func Begin(x *pipeline.Exchange) {
	id, parent, flags, ok := wire.ParseTraceparent(x.Request.Header("traceparent"))
	if !ok {
		x.Trace = pipeline.Trace{ID: wire.NewTraceID(), Span: wire.NewSpanID(), Flags: flagRandom}
		return
	}
	x.Trace = pipeline.Trace{ID: id, Parent: parent, Span: wire.NewSpanID(), Flags: flags, State: x.Request.Header("tracestate")}
}
