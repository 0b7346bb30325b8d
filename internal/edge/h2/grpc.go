package h2

import (
	"net/http"
	"strconv"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// calls reports that the client speaks gRPC.
func (ex *exchange) calls() bool { return pipeline.IsGRPC(ex.req.Header("Content-Type")) }

// brokeGRPC says in trailers that an answer broke off, so that a client reads UNAVAILABLE or DEADLINE_EXCEEDED: of a reset
// stream it would only know that something inside is wrong. False: it can't be said, the stream has to be reset.
func (ex *exchange) brokeGRPC(err error) bool {
	r := &ex.resp
	if !pipeline.IsGRPC(r.Header("Content-Type")) || r.size >= 0 || ex.Gone() {
		return false
	}
	kind := pipeline.KindOf(err)
	if kind != pipeline.UpstreamTimeout {
		kind = pipeline.UpstreamFailed
	}
	r.drop()
	ex.endGRPC(kind.GRPC(), kind.Detail())
	return true
}

const noStatus = "The upstream gave no gRPC status."

// statusless says in trailers that the upstream ended a call without a status, as one over HTTP/1.1 without trailers does: it
// is INTERNAL, in every client.
func (ex *exchange) statusless() bool {
	if ex.grpcOnly() || !ex.answersGRPC() {
		return false
	}
	said := false
	ex.Trailers.Each(func(name, _ string) { said = said || http.CanonicalHeaderKey(name) == pipeline.GRPCStatusField })
	return !said
}

// answersGRPC reports that the answer is one of gRPC to a client that speaks it.
func (ex *exchange) answersGRPC() bool {
	return ex.resp.status == 200 && ex.calls() && pipeline.IsGRPC(ex.resp.Header("Content-Type"))
}

// endGRPC ends an answer with a status of ours. The access line has it from the exchange's trailers.
func (ex *exchange) endGRPC(code int, detail string) {
	ex.Trailers = &pipeline.Trailers{}
	ex.Trailers.Add(pipeline.GRPCStatusField, strconv.Itoa(code))
	ex.Trailers.Add(pipeline.GRPCMessageField, string(edge.AppendPercent(nil, detail)))
	ex.sendTrailers()
}

// grpcOnly tells an answer whose head is also its trailers.
func (ex *exchange) grpcOnly() bool { return ex.resp.Header(pipeline.GRPCStatusField) != nil }
