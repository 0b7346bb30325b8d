package h2

import (
	"net/http"
	"strconv"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

const grpcType = "application/grpc"

// isGRPC tells gRPC by its content type, with or without a format (application/grpc+proto). gRPC-Web is not gRPC: it is read
// by browsers as plain HTTP.
func isGRPC(contentType []byte) bool {
	if len(contentType) < len(grpcType) || !wire.EqualFold(contentType[:len(grpcType)], grpcType) {
		return false
	}
	rest := contentType[len(grpcType):]
	return len(rest) == 0 || rest[0] == '+' || rest[0] == ';' || rest[0] == ' '
}

// refuseGRPC says a refusal as gRPC clients read it: a head that is also the trailers, with status 200.
func (ex *exchange) refuseGRPC() {
	r := &ex.resp
	r.status = 200
	r.Set("Content-Type", []byte(grpcType))
	var digits [4]byte
	r.Set("Grpc-Status", strconv.AppendInt(digits[:0], int64(ex.kind.GRPC()), 10))
	r.Set("Grpc-Message", appendPercent(nil, ex.kind.Detail()))
}

// brokeGRPC says in trailers that an answer broke off, so that a client reads UNAVAILABLE or DEADLINE_EXCEEDED: of a reset
// stream it would only know that something inside is wrong. False: it can't be said, the stream has to be reset.
func (ex *exchange) brokeGRPC(err error) bool {
	r := &ex.resp
	if !isGRPC(r.Header("Content-Type")) || r.size >= 0 || ex.Gone() {
		return false
	}
	kind := pipeline.KindOf(err)
	if kind != pipeline.UpstreamTimeout {
		kind = pipeline.UpstreamFailed
	}
	r.drop()
	h := ex.out.Header()
	h[http.TrailerPrefix+"Grpc-Status"] = []string{strconv.Itoa(kind.GRPC())}
	h[http.TrailerPrefix+"Grpc-Message"] = []string{string(appendPercent(nil, kind.Detail()))}
	return true
}

// grpcOnly tells an answer whose head is also its trailers.
func (ex *exchange) grpcOnly() bool { return ex.resp.Header("Grpc-Status") != nil }

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
