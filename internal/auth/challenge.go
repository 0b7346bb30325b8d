package auth

import (
	"strings"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// failedTokens names the budget of failing tokens in an answer.
const failedTokens = "failed-tokens"

const challengeField = "WWW-Authenticate"

// The challenges (RFC 6750, 3). They are fixed texts; a refusal allocates nothing.
var (
	challengePlain   = []byte(`Bearer realm="oncegate"`)
	challengeRequest = []byte(`Bearer realm="oncegate", error="invalid_request"`)
	challengeToken   = []byte(`Bearer realm="oncegate", error="invalid_token"`)
	challengeScope   = []byte(`Bearer realm="oncegate", error="insufficient_scope"`)
	challengeKey     = []byte(`ApiKey realm="oncegate"`)
	challengeKeyRule = []byte(`ApiKey realm="oncegate", error="insufficient_scope"`)
	noStore          = []byte("no-store")
)

const challengeMissing = ` realm="oncegate", error="insufficient_scope", scope="`

// refuse explains a refusal in the answer's fields and gives it back.
func (g *gate) refuse(x *pipeline.Exchange, who *identified) error {
	reason := who.reason
	g.authority.recorder.Refused(who.source, reason.Word())
	switch reason.Kind() {
	case pipeline.AuthUnavailable:
		x.Problem.RetryAfter = 1
		if i := who.issuer; i != nil && i.remote != nil && reason == NoKeys {
			x.Problem.RetryAfter = i.remote.RetryAfter(time.Now())
		} else if i != nil && i.asks != nil && reason == NoAnswer {
			x.Problem.RetryAfter = i.asks.RetryAfter(time.Now())
		}
		return reason
	case pipeline.RateLimited: // not 401: nobody has looked at the token, which may be good
		x.Problem.Policy, x.Problem.Executed = failedTokens, pipeline.ExecutedNo
		x.Problem.RetryAfter = int((who.after + time.Second - 1) / time.Second)
		return reason
	case pipeline.Internal:
		return reason
	}
	g.challenge(x, who.scheme, reason)
	if who.nonce != "" {
		tellNonce(x, who.nonce)
	}
	x.Response.Set("Cache-Control", noStore)
	return reason
}

// challenge sets WWW-Authenticate. What was wrong is never said, apart from missing scopes.
func (g *gate) challenge(x *pipeline.Exchange, s scheme, reason Reason) {
	proof := g.proofs.stands(s)
	tokens := proof || s == bearerScheme || s == noScheme && len(g.trusted) > 0
	switch {
	case reason == MissingScope || reason == WeakLogin && tokens: // authorize said what is wanted
	case reason == NoCredential || reason == OtherScheme: // RFC 6750, 3.1: no error code when no token was sent
		x.Response.Set(challengeField, g.challenges[0])
		for _, other := range g.challenges[1:] {
			x.Response.Add(challengeField, other)
		}
	case proof:
		x.Response.Set(challengeField, g.proofs.challenge(reason))
	case reason == BadCredential && tokens:
		x.Response.Set(challengeField, challengeRequest)
	case reason.Kind() == pipeline.Forbidden && tokens:
		x.Response.Set(challengeField, challengeScope)
	case reason.Kind() == pipeline.Forbidden:
		x.Response.Set(challengeField, challengeKeyRule)
	case tokens:
		x.Response.Set(challengeField, challengeToken)
	default:
		x.Response.Set(challengeField, challengeKey)
	}
}

// scopeRule is a list of scopes that a token must have, with the answers for what may be missing.
type scopeRule struct {
	wanted  []string
	answers []lack // by the bits of what is missing; nil when there would be too many
}

// lack is an answer for missing scopes.
type lack struct {
	words             string
	forToken, forKeys []byte // challenges
}

func newLack(words []string) lack {
	text := strings.Join(words, " ")
	return lack{text, []byte("Bearer" + challengeMissing + text + `"`), []byte("ApiKey" + challengeMissing + text + `"`)}
}

func (l *lack) challenge(s scheme) []byte {
	if s == keyScheme {
		return l.forKeys
	}
	return l.forToken
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
	return newLack(words)
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

// anyScopeRule is a list of scopes of which a client must have one. All of them are named to one that has none: whoever
// gets them passes.
type anyScopeRule struct {
	wanted []string
	answer lack
}

func newAnyScopeRule(wanted []string) anyScopeRule { return anyScopeRule{wanted, newLack(wanted)} }

func (r *anyScopeRule) missing(given []string) *lack {
	for _, word := range r.wanted {
		if among(word, given) {
			return nil
		}
	}
	if len(r.wanted) == 0 {
		return nil
	}
	return &r.answer
}
