package auth

import (
	"strings"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

const challengeField = "WWW-Authenticate"

// The challenges (RFC 6750, 3). They are fixed texts; a refusal allocates nothing.
var (
	challengePlain   = []byte(`Bearer realm="oncegate"`)
	challengeRequest = []byte(`Bearer realm="oncegate", error="invalid_request"`)
	challengeToken   = []byte(`Bearer realm="oncegate", error="invalid_token"`)
	challengeScope   = []byte(`Bearer realm="oncegate", error="insufficient_scope"`)
	noStore          = []byte("no-store")
	challengeMissing = `Bearer realm="oncegate", error="insufficient_scope", scope="`
)

// refuse explains a refusal in the answer's fields and gives it back. The issuer is nil when none was found.
func (g *gate) refuse(x *pipeline.Exchange, i *issuer, reason Reason) error {
	name := ""
	if i != nil {
		name = i.name
	}
	g.authority.recorder.Refused(name, reason.Word())
	switch reason {
	case NoKeys:
		x.Problem.RetryAfter = 1
		if i.remote != nil {
			x.Problem.RetryAfter = i.remote.RetryAfter(time.Now())
		}
		return reason
	case TooManyHeaders:
		return reason
	case NoCredential, OtherScheme: // RFC 6750, 3.1: no error code when no token was sent
		x.Response.Set(challengeField, challengePlain)
	case BadCredential:
		x.Response.Set(challengeField, challengeRequest)
	case MissingScope: // authorize named the scopes
	case MissingClaim:
		x.Response.Set(challengeField, challengeScope)
	default:
		x.Response.Set(challengeField, challengeToken)
	}
	x.Response.Set("Cache-Control", noStore)
	return reason
}

// scopeRule is a list of scopes that a token must have, with the answers for what may be missing.
type scopeRule struct {
	wanted  []string
	answers []lack // by the bits of what is missing; nil when there would be too many
}

// lack is an answer for missing scopes.
type lack struct {
	words     string
	challenge []byte
}

// maxPrepared bounds the answers made beforehand: 2^6.
const maxPrepared = 6

func newScopeRule(wanted []string) scopeRule {
	r := scopeRule{wanted: wanted}
	if len(wanted) > maxPrepared {
		return r
	}
	r.answers = make([]lack, 1<<len(wanted))
	for bits := range r.answers {
		r.answers[bits] = r.answer(func(i int) bool { return bits>>i&1 == 1 })
	}
	return r
}

func (r *scopeRule) answer(missing func(i int) bool) lack {
	var words []string
	for i, word := range r.wanted {
		if missing(i) {
			words = append(words, word)
		}
	}
	text := strings.Join(words, " ")
	return lack{text, []byte(challengeMissing + text + `"`)}
}

// missing gives the answer for the wanted scopes that are not among the given ones, or nil. Scopes are compared whole and
// in their exact case.
func (r *scopeRule) missing(given []string) *lack {
	if len(r.wanted) > maxPrepared {
		return r.missingOfMany(given)
	}
	bits := 0
	for i, word := range r.wanted {
		if !among(word, given) {
			bits |= 1 << i
		}
	}
	if bits == 0 {
		return nil
	}
	return &r.answers[bits]
}

func (r *scopeRule) missingOfMany(given []string) *lack {
	l := r.answer(func(i int) bool { return !among(r.wanted[i], given) })
	if l.words == "" {
		return nil
	}
	return &l
}
