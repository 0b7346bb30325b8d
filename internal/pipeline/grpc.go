package pipeline

import (
	"bytes"
	"strings"
)

const grpcType = "application/grpc"

// The fields that end a gRPC call, in trailers or, of an answer that is trailers only, in its head.
const (
	GRPCStatusField  = "Grpc-Status"
	GRPCMessageField = "Grpc-Message"
	GRPCDetailsField = "Grpc-Status-Details-Bin"
)

// gRPC status codes that decide something here.
const (
	GRPCCancelled        = 1
	GRPCUnknown          = 2
	GRPCDeadlineExceeded = 4
	GRPCInternal         = 13
	GRPCUnavailable      = 14
	grpcCodes            = 17
)

// IsGRPC tells gRPC by a content type, with or without a format (application/grpc+proto). gRPC-Web is not gRPC: it is read by
// browsers as plain HTTP.
func IsGRPC(contentType []byte) bool {
	n := len(grpcType)
	if len(contentType) < n || !bytes.EqualFold(contentType[:n], []byte(grpcType)) {
		return false
	}
	return len(contentType) == n || contentType[n] == '+' || contentType[n] == ';' || contentType[n] == ' '
}

// grpcAsHTTP is the one table that has policies judge a gRPC status as they judge an HTTP status (that of google.rpc.Code):
// keyed writes, breaker, ejection, fallback.
var grpcAsHTTP = [grpcCodes]int{200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401}

// GRPCAsHTTP is the HTTP status that a gRPC code stands for. A code that nobody knows is UNKNOWN, as clients read it.
func GRPCAsHTTP(code int) int {
	if code < 0 || code >= grpcCodes {
		code = GRPCUnknown
	}
	return grpcAsHTTP[code]
}

// HTTPAsGRPC is the code that a gRPC client makes of an HTTP status without a gRPC status (gRPC's http-grpc-status-mapping).
func HTTPAsGRPC(status int) int {
	switch status {
	case 400:
		return GRPCInternal
	case 401:
		return 16
	case 403:
		return 7
	case 404:
		return 12
	case 429, 502, 503, 504:
		return GRPCUnavailable
	}
	return GRPCUnknown
}

// Calls reports that the client speaks gRPC. Over HTTP/1.1 it is content like any other.
func (x *Exchange) Calls() bool { return x.HTTP2 && IsGRPC(x.Request.Header("Content-Type")) }

// GRPCStatus is the gRPC status of an answer, from its head or its trailers, which are complete with the body's end. False:
// there is none, or it is malformed or said twice. It is for gRPC calls only.
func (x *Exchange) GRPCStatus() (code int, ok bool) {
	text, found := "", 0
	if in := x.Response.Header(GRPCStatusField); in != nil {
		x.Response.EachField(func(name, _ []byte) {
			if len(name) == len(GRPCStatusField) && strings.EqualFold(string(name), GRPCStatusField) {
				found++
			}
		})
		text = string(in)
	}
	if x.Trailers != nil {
		for _, f := range x.Trailers.fields {
			if strings.EqualFold(f.name, GRPCStatusField) {
				text = f.value
				found++
			}
		}
	}
	code, ok = grpcCode(text)
	return code, ok && found == 1
}

func grpcCode(text string) (code int, ok bool) {
	if text == "" || len(text) > 4 {
		return 0, false
	}
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return 0, false
		}
		code = 10*code + int(c-'0')
	}
	return code, true
}

// HeadStatus is how an answer's head is judged: by its HTTP status, or, when it is gRPC's and trailers only, by the status that
// its code stands for. What trailers behind a body say is Attempt.Late.
func (x *Exchange) HeadStatus() int {
	status := x.Response.Status()
	if status != 200 || !x.Calls() || x.Response.Header(GRPCStatusField) == nil {
		return status
	}
	if code, ok := x.GRPCStatus(); ok {
		return GRPCAsHTTP(code)
	}
	return status
}

// TellsLater reports that an answer's head says nothing yet of how its call ended.
func (x *Exchange) TellsLater() bool {
	return x.Calls() && x.Response.Status() == 200 && x.Response.Header(GRPCStatusField) == nil
}

// EndCall notes in Attempt.Late how a gRPC call ended whose status stood behind its body, and gives the HTTP status that it stands
// for. False: it is no such call, or has none.
func (x *Exchange) EndCall() (status int, ok bool) {
	if !x.TellsLater() {
		return 0, false
	}
	code, ok := x.GRPCStatus()
	if ok {
		x.Attempt.Late = GRPCAsHTTP(code)
	}
	return x.Attempt.Late, ok
}
