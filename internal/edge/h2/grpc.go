package h2

import (
	"net/http"
	"strconv"

	"github.com/oncegate/oncegate/internal/pipeline"
)

const grpcType = "application/grpc"

// Response metadata of a refusal: what a problem document says, as far as the status does not. Values are those of its members.
const (
	kindField           = "Oncegate-Kind"
	executedField       = "Oncegate-Executed"
	sameKeyField        = "Oncegate-Safe-Same-Key-Retry"
	newKeyField         = "Oncegate-Safe-New-Key"
	operationField      = "Oncegate-Operation-Ref"
	policyField         = "Oncegate-Policy"
	scopesField         = "Oncegate-Scopes"
	originalStatusField = "Oncegate-Original-Status"
	locationField       = "Oncegate-Location"
)

// calls reports that the client speaks gRPC.
func (ex *exchange) calls() bool { return pipeline.IsGRPC(ex.req.Header("Content-Type")) }

// refuseGRPC says a refusal as gRPC clients read it: a head that is also the trailers, with status 200. The problem's members are
// metadata.
func (ex *exchange) refuseGRPC() {
	r, p := &ex.resp, &ex.Problem
	r.status = 200
	code := ex.kind.GRPC()
	if p.GRPC != 0 {
		code = p.GRPC
	}
	var digits [20]byte
	r.Set("Content-Type", []byte(grpcType))
	r.Set(pipeline.GRPCStatusField, strconv.AppendInt(digits[:0], int64(code), 10))
	r.Set(pipeline.GRPCMessageField, appendPercent(nil, ex.kind.Detail()))
	ex.member(kindField, ex.kind.Slug())
	ex.member(executedField, p.Executed.String())
	ex.choice(sameKeyField, p.SameKey)
	ex.choice(newKeyField, p.NewKey)
	ex.member(operationField, p.OperationRef)
	ex.member(policyField, p.Policy)
	ex.member(scopesField, p.Scopes)
	ex.member(locationField, p.Location)
	if p.OriginalStatus != 0 {
		r.Set(originalStatusField, strconv.AppendInt(digits[:0], int64(p.OriginalStatus), 10))
	}
}

func (ex *exchange) member(name, value string) {
	if value != "" {
		ex.resp.Set(name, []byte(value))
	}
}

func (ex *exchange) choice(name string, a pipeline.Answer) {
	if a != pipeline.Unsaid {
		ex.member(name, strconv.FormatBool(a == pipeline.Yes))
	}
}

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
	ex.Trailers.Add(pipeline.GRPCMessageField, string(appendPercent(nil, detail)))
	ex.sendTrailers()
}

// grpcOnly tells an answer whose head is also its trailers.
func (ex *exchange) grpcOnly() bool { return ex.resp.Header(pipeline.GRPCStatusField) != nil }

// appendPercent encodes text for grpc-message: all but visible ASCII and blanks, and '%', as %XX.
func appendPercent(dst []byte, text string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(text) {
		if c := text[i]; c < 0x20 || c > 0x7e || c == '%' {
			dst = append(dst, '%', digits[c>>4], digits[c&15])
			continue
		}
		dst = append(dst, text[i])
	}
	return dst
}
