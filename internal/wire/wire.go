// Package wire says what is legal on the wire: the canonical path, the hygiene of a request head, hop-by-hop fields, the
// client's address behind proxies, ids of requests and traces, and the few structured fields the gateway reads.
//
// It promises one reading of a request: what Check accepts has exactly one framing, one host, one path and one set of
// fields, for every hop behind. It doesn't see what the server's parser consumed before it: the request line's own line
// end, the body, chunks and trailers are the edge's to judge. It holds no store; the accepting path allocates nothing, and
// all results are borrowed from the head.
package wire

// Fault says why a request is refused at the door. It is an error; values are small integers so that returning one
// allocates nothing. After any of them the connection should be closed: what follows on it can't be trusted.
type Fault uint8

// The faults. Each has the name of the refusal that the edge answers with.
const (
	BadRequest Fault = iota + 1
	HeaderTooLarge
	MethodNotAllowed // CONNECT, TRACE
	ExpectationFailed
	VersionNotSupported
)

// Error is a fixed text: nothing that the client sent stands in it.
func (f Fault) Error() string {
	switch f {
	case HeaderTooLarge:
		return "wire: too many header fields"
	case MethodNotAllowed:
		return "wire: method is never served"
	case ExpectationFailed:
		return "wire: unknown expectation"
	case VersionNotSupported:
		return "wire: HTTP version not supported"
	}
	return "wire: malformed request"
}
