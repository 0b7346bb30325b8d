package edge

import (
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

// RefuseCall says a refusal as gRPC clients read it: a head that is also the trailers, with status 200 and without a body, which
// the edge leaves out. The problem's members are metadata.
func RefuseCall(r pipeline.Response, kind pipeline.Refusal, p *pipeline.Problem) {
	r.SetStatus(200)
	code := kind.GRPC()
	if p.GRPC != 0 {
		code = p.GRPC
	}
	var digits [20]byte
	r.Set("Content-Type", []byte(grpcType))
	r.Set(pipeline.GRPCStatusField, strconv.AppendInt(digits[:0], int64(code), 10))
	r.Set(pipeline.GRPCMessageField, AppendPercent(nil, kind.Detail()))
	member(r, kindField, kind.Slug())
	member(r, executedField, p.Executed.String())
	choice(r, sameKeyField, p.SameKey)
	choice(r, newKeyField, p.NewKey)
	member(r, operationField, p.OperationRef)
	member(r, policyField, p.Policy)
	member(r, scopesField, p.Scopes)
	member(r, locationField, p.Location)
	if p.OriginalStatus != 0 {
		r.Set(originalStatusField, strconv.AppendInt(digits[:0], int64(p.OriginalStatus), 10))
	}
}

func member(r pipeline.Response, name, value string) {
	if value != "" {
		r.Set(name, []byte(value))
	}
}

func choice(r pipeline.Response, name string, a pipeline.Answer) {
	if a != pipeline.Unsaid {
		member(r, name, strconv.FormatBool(a == pipeline.Yes))
	}
}

// AppendPercent encodes text for grpc-message: all but visible ASCII and blanks, and '%', as %XX.
func AppendPercent(dst []byte, text string) []byte {
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
