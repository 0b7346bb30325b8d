package answer

import "strings"

// What a stored answer keeps unless more is asked for.
var usual = []string{"Content-Type", "Content-Language", "Content-Encoding", "Location", "ETag", "Last-Modified", "Link"}

// Fields that must never be told to a second request: they authenticate, belong to one connection, one moment or one
// request, or are set afresh by the gateway.
var denied = lowerSet(
	"set-cookie", "set-cookie2", "authorization", "proxy-authorization", "www-authenticate", "proxy-authenticate",
	"authentication-info", "proxy-authentication-info", "clear-site-data",
	"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length",
	"date", "age", "retry-after", "server-timing", "timing-allow-origin",
	"x-request-id", "request-id", "x-correlation-id", "x-trace-id", "traceparent", "tracestate", "traceresponse", "b3",
	"uber-trace-id", "x-amzn-trace-id", "x-cloud-trace-context",
	"idempotency-key", "idempotency-status", "idempotency-attempt", "idempotent-replayed", "idempotency-original-request-id",
	"x-gateway-fallback", "grpc-status", "grpc-message", "grpc-status-details-bin",
)

// The gRPC status is told again, apart from the fields: it belongs behind the body.
var statusFields = lowerSet("grpc-status", "grpc-message", "grpc-status-details-bin")

const mostTrailers = 8

func statusField(name []byte) bool {
	var room [longestDenied]byte
	return len(name) <= longestDenied && statusFields[string(lower(room[:0], name))]
}

var deniedPrefixes = []string{"access-control-", "ratelimit", "x-ratelimit-", "x-rate-limit-", "x-b3-"}

const longestDenied = 64

// Denied reports whether a field is never told again. Case does not matter.
func Denied(name []byte) bool {
	if len(name) > longestDenied {
		name = name[:longestDenied] // only a prefix can still match
	}
	var room [longestDenied]byte
	low := lower(room[:0], name)
	if denied[string(low)] {
		return true
	}
	for _, p := range deniedPrefixes {
		if len(low) >= len(p) && string(low[:len(p)]) == p {
			return true
		}
	}
	return false
}

// Headers is the set of fields that a stored answer keeps.
type Headers struct{ names map[string]bool }

// Kept are the usual fields and extra ones: Content-Type, Content-Language, Content-Encoding, Location, ETag, Last-Modified,
// Link. A denied name among the extra ones has no effect; a document that holds one should be refused.
func Kept(extra ...string) Headers {
	set := lowerSet(usual...)
	for _, name := range extra {
		if !Denied([]byte(name)) {
			set[strings.ToLower(name)] = true
		}
	}
	return Headers{set}
}

// Has reports whether the field is kept. Case does not matter.
func (h Headers) Has(name []byte) bool {
	var room [longestDenied]byte
	return h.names[string(lower(room[:0], name))]
}

func lowerSet(names ...string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, n := range names {
		set[strings.ToLower(n)] = true
	}
	return set
}

func lower(dst, name []byte) []byte {
	for _, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}
