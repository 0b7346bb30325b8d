package auth

import (
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
	g.challenge(x, who, reason)
	if who.nonce != "" {
		tellNonce(x, who.nonce)
	}
	x.Response.Set("Cache-Control", noStore)
	return reason
}

// wants is a challenge that says what is wanted, in the words of a scheme.
func (g *gate) wants(s scheme, challenge []byte) []byte {
	if s == dpopScheme {
		return g.proofs.wants(challenge)
	}
	return challenge
}

// only reports that the route takes nothing else.
func (g *gate) only(s scheme) bool { return len(g.schemes) == 1 && g.schemes[0] == s }

// challenge sets WWW-Authenticate. What was wrong is never said, apart from missing scopes and a login that is too weak.
func (g *gate) challenge(x *pipeline.Exchange, who *identified, reason Reason) {
	s := who.scheme
	if s == noScheme {
		s = g.schemes[0]
	}
	proof := g.proofs.stands(s)
	tokens := proof || s == bearerScheme
	switch {
	case reason == PlainText: // nothing that invites to send it again
	case reason == WeakLogin && tokens:
		x.Response.Set(challengeField, g.wants(s, who.missing.with(who.failed.challenge)))
	case reason.Kind() == pipeline.Forbidden && who.missing != nil:
		x.Response.Set(challengeField, g.wants(s, who.missing.challenge(s)))
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
