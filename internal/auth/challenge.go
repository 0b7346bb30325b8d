package auth

import (
	"strings"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// failedTokens names the budget of failing credentials in an answer.
const failedTokens = "failed-tokens"

const challengeField = "WWW-Authenticate"

// The challenges (RFC 6750, 3). They are fixed texts; a refusal allocates nothing.
var (
	challengeRequest = []byte(`Bearer realm="oncegate", error="invalid_request"`)
	challengeToken   = []byte(`Bearer realm="oncegate", error="invalid_token"`)
	challengePlain   = challengeOf[bearerScheme]
	noStore          = []byte("no-store")
)

// schemeWords are the schemes as challenges name them. A certificate has none that is registered: the word tells people what
// is missing, and other software ignores it (RFC 9110, 11.4).
var schemeWords = [schemes]string{bearerScheme: "Bearer", dpopScheme: "DPoP", keyScheme: "ApiKey", basicScheme: "Basic", certificateScheme: "Certificate"}

// challengeOf and challengeRule are the challenges of each scheme, and those for a good credential that may not.
var (
	challengeOf   = eachScheme(` realm="oncegate"`)
	challengeRule = eachScheme(` realm="oncegate", error="insufficient_scope"`)
)

func eachScheme(text string) (all [schemes][]byte) {
	for s, word := range schemeWords {
		all[s] = []byte(word + text)
	}
	all[basicScheme] = append(all[basicScheme], `, charset="UTF-8"`...)
	return all
}

// taken lists the schemes of everything that the route takes.
func (g *gate) taken() (all []scheme) {
	for s, taken := range [schemes]bool{
		bearerScheme: len(g.trusted) > 0 && (g.proofs == nil || !g.proofs.only), dpopScheme: g.proofs != nil,
		keyScheme: len(g.lists) > 0, basicScheme: len(g.users.all) > 0, certificateScheme: len(g.certs) > 0,
	} {
		if taken {
			all = append(all, scheme(s))
		}
	}
	return all
}

const challengeMissing = ` realm="oncegate", error="insufficient_scope", scope="`

// refuse explains a refusal in the answer's fields and gives it back.
func (g *gate) refuse(x *pipeline.Exchange, who *identified) error {
	reason := who.reason
	if reason.Kind() == pipeline.Unauthenticated && g.only(basicScheme) && !confidential(x) {
		reason = PlainText // a 401 would ask for the password
	}
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
	case pipeline.RateLimited: // not 401: nobody has looked at the credential, which may be good
		x.Problem.Policy, x.Problem.Executed = failedTokens, pipeline.ExecutedNo
		x.Problem.RetryAfter = int((who.after + time.Second - 1) / time.Second)
		return reason
	case pipeline.Overloaded:
		x.Problem.RetryAfter = 1
		return reason
	case pipeline.Internal, pipeline.Misdirected:
		return reason
	}
	g.challenge(x, who.scheme, reason)
	if who.nonce != "" {
		tellNonce(x, who.nonce)
	}
	x.Response.Set("Cache-Control", noStore)
	return reason
}

// only reports that the route takes nothing else.
func (g *gate) only(s scheme) bool { return len(g.schemes) == 1 && g.schemes[0] == s }

// challenge sets WWW-Authenticate. What was wrong is never said, apart from missing scopes.
func (g *gate) challenge(x *pipeline.Exchange, s scheme, reason Reason) {
	if s == noScheme {
		s = g.schemes[0]
	}
	proof := g.proofs.stands(s)
	tokens := proof || s == bearerScheme
	switch {
	case reason == PlainText: // nothing that invites to send it again
	case reason == MissingScope || reason == WeakLogin && tokens: // authorize said what is wanted
	case reason == NoCredential || reason == OtherScheme: // RFC 6750, 3.1: no error code when no token was sent
		x.Response.Del(challengeField)
		for _, one := range g.schemes {
			switch {
			case one == dpopScheme:
				x.Response.Add(challengeField, g.proofs.plain)
			case one != basicScheme || confidential(x):
				x.Response.Add(challengeField, challengeOf[one])
			}
		}
	case proof:
		x.Response.Set(challengeField, g.proofs.challenge(reason))
	case reason == BadCredential && tokens:
		x.Response.Set(challengeField, challengeRequest)
	case reason.Kind() == pipeline.Forbidden:
		x.Response.Set(challengeField, challengeRule[s])
	case tokens:
		x.Response.Set(challengeField, challengeToken)
	default:
		x.Response.Set(challengeField, challengeOf[s])
	}
}

// scopeRule is a list of scopes that a token must have, with the answers for what may be missing.
type scopeRule struct {
	wanted  []string
	answers []lack // by the bits of what is missing; nil when there would be too many
}

// lack is an answer for missing scopes.
type lack struct {
	words string
	texts [schemes][]byte // challenges
}

func newLack(words []string) lack {
	text := strings.Join(words, " ")
	l := lack{words: text}
	for s, word := range schemeWords {
		l.texts[s] = []byte(word + challengeMissing + text + `"`)
	}
	return l
}

// challenge is that of bearer tokens for those with proofs: what proofs need is put around it.
func (l *lack) challenge(s scheme) []byte {
	if s == dpopScheme {
		s = bearerScheme
	}
	return l.texts[s]
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
