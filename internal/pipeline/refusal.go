package pipeline

import "errors"

// Refusal is the kind of an answer that the gateway makes itself. It is an error; details wrap it with %w and only the log
// sees them. Returning a bare Refusal allocates nothing.
type Refusal uint8

// The kinds, in the order of the contract's table.
const (
	BadRequest Refusal = iota + 1
	Unauthenticated
	Forbidden
	NotFound
	MethodNotAllowed
	RequestTimeout
	InProgress
	OutcomeUnknown
	ResultUnavailable
	TooLarge
	HeaderTooLarge
	KeyReused
	KeyMissing
	KeyInvalid
	RateLimited
	Overloaded
	UpstreamOpen
	UpstreamFailed
	UpstreamTimeout
	StoreUnavailable
	AuthUnavailable
	Draining
	Internal
	ExpectationFailed
	VersionNotSupported
	Gone // the API version has ended
	Misdirected
	ClientGone // never rendered: nobody is there to read it; logged as 499
	refusals
)

type refusalRow struct {
	slug, title, detail string
	status, grpc        int
	counts              bool // against the upstream: breaker and ejection
}

// The one table of refusals. Titles and details are fixed texts: nothing internal ever stands in them.
var refusalTable = [refusals]refusalRow{
	BadRequest:          {"bad-request", "Bad request", "The request is malformed.", 400, 3, false},
	Unauthenticated:     {"unauthenticated", "Authentication required", "Valid credentials are required for this resource.", 401, 16, false},
	Forbidden:           {"forbidden", "Forbidden", "The request is not permitted.", 403, 7, false},
	NotFound:            {"not-found", "Not found", "No route takes this request.", 404, 12, false},
	MethodNotAllowed:    {"method-not-allowed", "Method not allowed", "The resource does not take this method.", 405, 12, false},
	RequestTimeout:      {"request-timeout", "Request timeout", "The request did not arrive in time.", 408, 4, false},
	InProgress:          {"in-progress", "Request in progress", "A request with this idempotency key is still running.", 409, 10, false},
	OutcomeUnknown:      {"outcome-unknown", "Outcome unknown", "It is not known whether the request with this idempotency key was executed.", 409, 10, true},
	ResultUnavailable:   {"result-unavailable", "Result unavailable", "The request with this idempotency key was executed, but its answer was not kept.", 409, 10, false},
	TooLarge:            {"too-large", "Content too large", "The request body is larger than allowed.", 413, 8, false},
	HeaderTooLarge:      {"header-too-large", "Header too large", "The request header is larger than allowed.", 431, 8, false},
	KeyReused:           {"key-reused", "Idempotency key reused", "This idempotency key was used for a different request.", 422, 9, false},
	KeyMissing:          {"key-missing", "Idempotency key missing", "This request needs an Idempotency-Key.", 400, 3, false},
	KeyInvalid:          {"key-invalid", "Idempotency key invalid", "The Idempotency-Key is malformed.", 400, 3, false},
	RateLimited:         {"rate-limited", "Too many requests", "A rate limit is spent.", 429, 8, false},
	Overloaded:          {"overloaded", "Overloaded", "The gateway has too much to do.", 503, 14, false},
	UpstreamOpen:        {"upstream-open", "Upstream unavailable", "The upstream is failing and is given time to recover.", 503, 14, false},
	UpstreamFailed:      {"upstream-failed", "Bad gateway", "The upstream did not give a valid answer.", 502, 14, true},
	UpstreamTimeout:     {"upstream-timeout", "Gateway timeout", "The upstream did not answer in time.", 504, 4, true},
	StoreUnavailable:    {"store-unavailable", "Store unavailable", "The state that protects this request can't be reached.", 503, 14, false},
	AuthUnavailable:     {"auth-unavailable", "Authentication unavailable", "The keys that verify credentials are not available.", 503, 14, false},
	Draining:            {"draining", "Shutting down", "The gateway is stopping.", 503, 14, false},
	Internal:            {"internal", "Internal error", "The gateway failed to handle the request.", 500, 13, false},
	ExpectationFailed:   {"expectation-failed", "Expectation failed", "The only expectation that can be met is 100-continue.", 417, 3, false},
	VersionNotSupported: {"version-not-supported", "HTTP version not supported", "This protocol version is not supported.", 505, 12, false},
	Gone:                {"gone", "Gone", "This version of the API is no longer served.", 410, 12, false},
	Misdirected:         {"misdirected", "Misdirected request", "The connection was made for another host.", 421, 9, false},
	ClientGone:          {"client-gone", "Client closed request", "The client left before the answer.", 499, 1, false},
}

func (r Refusal) row() refusalRow {
	if r == 0 || r >= refusals {
		return refusalTable[Internal]
	}
	return refusalTable[r]
}

// Error is the slug.
func (r Refusal) Error() string { return r.row().slug }

// Slug is the last part of the problem type: urn:oncegate:problem:<slug>.
func (r Refusal) Slug() string { return r.row().slug }

// Title is the problem's title.
func (r Refusal) Title() string { return r.row().title }

// Detail is the problem's fixed detail text.
func (r Refusal) Detail() string { return r.row().detail }

// Status is the HTTP status.
func (r Refusal) Status() int { return r.row().status }

// GRPC is the gRPC status code.
func (r Refusal) GRPC() int { return r.row().grpc }

// CountsAgainstUpstream reports whether a breaker judges this refusal as the upstream's failure.
func (r Refusal) CountsAgainstUpstream() bool { return r.row().counts }

// RetryAfter is what Retry-After says in seconds, asked or, of a refusal that passes by itself, at least 1. 0: nothing is
// said.
func (r Refusal) RetryAfter(asked int) int {
	if asked == NoRetryAfter {
		return 0
	}
	switch r {
	case UpstreamOpen, Overloaded, StoreUnavailable, AuthUnavailable, Draining, RateLimited:
		return max(asked, 1)
	}
	return asked
}

// NeverStored: what was true for this client or this moment only must not be kept by a cache in between.
func (r Refusal) NeverStored() bool {
	switch r {
	case Unauthenticated, InProgress, OutcomeUnknown, ResultUnavailable, KeyReused, KeyMissing, KeyInvalid, StoreUnavailable:
		return true
	}
	return false
}

// Refusals lists every kind, for tables in tests, metrics and docs.
func Refusals() []Refusal {
	all := make([]Refusal, 0, refusals)
	for r := BadRequest; r < refusals; r++ {
		all = append(all, r)
	}
	return all
}

// KindOf gives the refusal that err is or wraps; any other error is Internal. It is 0 for nil.
func KindOf(err error) Refusal {
	if err == nil {
		return 0
	}
	for e := err; e != nil; e = errors.Unwrap(e) { // the refusing path, without errors.As and its allocation
		if r, ok := e.(Refusal); ok {
			return r
		}
	}
	var r Refusal
	if errors.As(err, &r) {
		return r
	}
	return Internal
}
