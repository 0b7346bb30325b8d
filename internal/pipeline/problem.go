package pipeline

import (
	"strconv"
)

// Problem holds the members of a problem document beyond those of the refusal itself. Zero values are left out.
type Problem struct {
	Policy         string // rate-limited: the name of the limit
	Scopes         string // forbidden: scopes that are missing, separated by spaces
	Executed       Executed
	SameKey        Answer // safe_same_key_retry
	NewKey         Answer // safe_new_key
	OperationRef   string
	OriginalStatus int
	Location       string
	RetryAfter     int // seconds, also sent as Retry-After; NoRetryAfter: coming back is useless
	Status         int // overrides the refusal's status: 502 and 504 for a first caller
	GRPC           int // overrides the refusal's gRPC status: the upstream's own for a first caller; 0: nothing
	Close          bool
}

// NoRetryAfter in place of seconds says that waiting does not help, and keeps Retry-After off the answer.
const NoRetryAfter = -1

// Executed answers the only question a client has after a failed write.
type Executed uint8

// What is known of the execution.
const (
	ExecutedUnsaid Executed = iota
	ExecutedYes
	ExecutedNo
	ExecutedUnknown
	ExecutedInProgress
)

var executedWords = [...]string{"", "yes", "no", "unknown", "in_progress"}

// String is the member's value.
func (e Executed) String() string { return executedWords[e] }

// Answer is a boolean that may be unsaid.
type Answer uint8

// The answers.
const (
	Unsaid Answer = iota
	Yes
	No
)

// AppendProblem appends the problem document (RFC 9457) of a refusal: application/problem+json.
func AppendProblem(dst []byte, kind Refusal, id []byte, p *Problem) []byte {
	row := kind.row()
	status := row.status
	if p.Status != 0 {
		status = p.Status
	}
	dst = append(dst, `{"type":"urn:oncegate:problem:`...)
	dst = append(dst, row.slug...)
	dst = append(dst, `","title":"`...)
	dst = append(dst, row.title...)
	dst = append(dst, `","status":`...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, `,"detail":"`...)
	dst = append(dst, row.detail...)
	dst = append(dst, '"')
	dst = appendMember(dst, "instance", id)
	dst = appendText(dst, "policy", p.Policy)
	dst = appendText(dst, "scopes", p.Scopes)
	dst = appendText(dst, "executed", p.Executed.String())
	dst = appendAnswer(dst, "safe_same_key_retry", p.SameKey)
	dst = appendAnswer(dst, "safe_new_key", p.NewKey)
	dst = appendText(dst, "operation_ref", p.OperationRef)
	if p.OriginalStatus != 0 {
		dst = append(dst, `,"original_status":`...)
		dst = strconv.AppendInt(dst, int64(p.OriginalStatus), 10)
	}
	dst = appendText(dst, "location", p.Location)
	return append(dst, '}', '\n')
}

func appendAnswer(dst []byte, name string, a Answer) []byte {
	if a == Unsaid {
		return dst
	}
	dst = append(dst, `,"`...)
	dst = append(dst, name...)
	dst = append(dst, `":`...)
	return strconv.AppendBool(dst, a == Yes)
}

func appendText(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(dst, `,"`...)
	dst = append(dst, name...)
	dst = append(dst, `":`...)
	return AppendJSONString(dst, value)
}

func appendMember(dst []byte, name string, value []byte) []byte {
	if len(value) == 0 {
		return dst
	}
	dst = append(dst, `,"`...)
	dst = append(dst, name...)
	dst = append(dst, `":`...)
	return AppendJSONString(dst, value)
}

const hexDigits = "0123456789abcdef"

// AppendJSONString appends s as a JSON string. Bytes outside printable ASCII are escaped one by one as \u00XX, so a log line
// or a problem stays one line of valid JSON whatever a client sent.
func AppendJSONString[T string | []byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	plain := 0
	for plain < len(s) && s[plain] >= 0x20 && s[plain] < 0x7f && s[plain] != '"' && s[plain] != '\\' {
		plain++
	}
	dst = append(dst, s[:plain]...)
	for i := plain; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c >= 0x20 && c < 0x7f:
			dst = append(dst, c)
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(dst, '"')
}
