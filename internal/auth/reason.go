package auth

import "github.com/oncegate/oncegate/internal/pipeline"

// Reason is why a request was refused: an error that wraps the refusal. It is for logs and metrics; a client sees the
// refusal only, and so never learns which check failed. Returning one allocates nothing.
type Reason uint8

// The reasons.
const (
	accepted Reason = iota
	NoCredential
	BadCredential // a scheme without a token, or several credentials
	OtherScheme
	TooLong
	Malformed // segments, alphabet, base64, header or claims
	WrongAlgorithm
	WrongType
	UnknownIssuer
	UnknownKey
	BadSignature
	Inactive
	Expired
	NotYetValid
	LivesTooLong
	WrongIssuer
	WrongAudience
	WrongSubject
	NotAnAccessToken
	SenderConstrained
	Unbound
	NotTheHolder
	WrongCertificate
	NoProof
	ProofMalformed
	ProofKey
	ProofRequest
	ProofToken
	ProofTime
	ProofSignature
	ProofReplayed
	ProofNonce
	Revoked
	Irrevocable
	WeakLogin
	UnknownAPIKey
	APIKeyNotYet
	APIKeyExpired
	APIKeyElsewhere
	NoSuchCertificate
	CertificateEnded
	MalformedBasic
	UnknownUser
	WrongPassword
	MissingScope
	MissingClaim
	MissingRole
	WrongAddress
	WrongMethod
	RuleDenies
	PlainText
	OtherHost
	BusyWithPasswords
	TooManyFailures
	NoKeys
	NoAnswer
	NoRevocations
	NoReplays
	TooManyHeaders
	NotSigned
	reasons
)

var reasonTable = [reasons]struct {
	word, text string
	kind       pipeline.Refusal
}{
	accepted:          {"", "", pipeline.Internal},
	NoCredential:      {"no_credential", "no credential was sent", pipeline.Unauthenticated},
	BadCredential:     {"bad_credential", "a scheme was sent without a token, or several credentials", pipeline.BadRequest},
	OtherScheme:       {"other_scheme", "the authentication scheme is none that the route takes", pipeline.Unauthenticated},
	TooLong:           {"too_long", "the token is longer than 8 KiB", pipeline.Unauthenticated},
	Malformed:         {"malformed", "the token is malformed", pipeline.Unauthenticated},
	WrongAlgorithm:    {"wrong_algorithm", "the token's algorithm is not accepted", pipeline.Unauthenticated},
	WrongType:         {"wrong_type", "the token's typ is not accepted", pipeline.Unauthenticated},
	UnknownIssuer:     {"unknown_issuer", "no issuer of the route signs such tokens", pipeline.Unauthenticated},
	UnknownKey:        {"unknown_key", "the issuer has no such key", pipeline.Unauthenticated},
	BadSignature:      {"bad_signature", "the signature does not verify", pipeline.Unauthenticated},
	Inactive:          {"inactive", "the introspection endpoint does not call the token active", pipeline.Unauthenticated},
	Expired:           {"expired", "the token has expired", pipeline.Unauthenticated},
	NotYetValid:       {"not_yet_valid", "the token is not valid yet", pipeline.Unauthenticated},
	LivesTooLong:      {"lives_too_long", "the token lives longer than max_lifetime", pipeline.Unauthenticated},
	WrongIssuer:       {"wrong_issuer", "iss is not the issuer's", pipeline.Unauthenticated},
	WrongAudience:     {"wrong_audience", "aud holds none of the audiences", pipeline.Unauthenticated},
	WrongSubject:      {"wrong_subject", "sub is missing or not plain text", pipeline.Unauthenticated},
	NotAnAccessToken:  {"not_an_access_token", "the token looks like an ID token", pipeline.Unauthenticated},
	SenderConstrained: {"sender_constrained", "the token is bound in a way that the issuer does not have here (cnf)", pipeline.Unauthenticated},
	Unbound:           {"unbound", "the token is bound to no key, and the scheme or the issuer demands it", pipeline.Unauthenticated},
	NotTheHolder:      {"not_the_holder", "the token is bound to a key and was sent as a bearer token", pipeline.Unauthenticated},
	WrongCertificate:  {"wrong_certificate", "the token is bound to another client certificate, or none was shown", pipeline.Unauthenticated},
	NoProof:           {"no_proof", "no proof came with the token, or several", pipeline.Unauthenticated},
	ProofMalformed:    {"proof_malformed", "the proof's form, header, key or claims are not as they have to be", pipeline.Unauthenticated},
	ProofKey:          {"proof_key", "the proof's key is not the one that the token is bound to", pipeline.Unauthenticated},
	ProofRequest:      {"proof_request", "the proof is for another method or URI", pipeline.Unauthenticated},
	ProofToken:        {"proof_token", "the proof is for another token", pipeline.Unauthenticated},
	ProofTime:         {"proof_time", "the proof is too old, or from the future", pipeline.Unauthenticated},
	ProofSignature:    {"proof_signature", "the proof's signature does not verify", pipeline.Unauthenticated},
	ProofReplayed:     {"proof_replayed", "the proof was used before", pipeline.Unauthenticated},
	ProofNonce:        {"proof_nonce", "the proof has no current nonce", pipeline.Unauthenticated},
	Revoked:           {"revoked", "the token, its session or its subject was revoked", pipeline.Unauthenticated},
	Irrevocable:       {"irrevocable", "the token says no iat, without which it can't be revoked", pipeline.Unauthenticated},
	WeakLogin:         {"weak_login", "the login behind the token is too weak or too long ago", pipeline.Unauthenticated},
	UnknownAPIKey:     {"unknown_api_key", "no list of the route holds the API key", pipeline.Unauthenticated},
	APIKeyNotYet:      {"api_key_not_yet", "the API key is not valid yet", pipeline.Unauthenticated},
	APIKeyExpired:     {"api_key_expired", "the API key has expired", pipeline.Unauthenticated},
	APIKeyElsewhere:   {"api_key_elsewhere", "the API key may not be used from this address", pipeline.Unauthenticated},
	NoSuchCertificate: {"no_such_certificate", "no list of the route names a client of the certificate", pipeline.Unauthenticated},
	CertificateEnded:  {"certificate_ended", "the certificate of the connection is expired", pipeline.Unauthenticated},
	MalformedBasic:    {"malformed_basic", "the Basic credential is malformed", pipeline.Unauthenticated},
	UnknownUser:       {"unknown_user", "no list of the route has the user", pipeline.Unauthenticated},
	WrongPassword:     {"wrong_password", "the password is wrong", pipeline.Unauthenticated},
	MissingScope:      {"missing_scope", "a scope is missing", pipeline.Forbidden},
	MissingClaim:      {"missing_claim", "a claim does not have a demanded value", pipeline.Forbidden},
	MissingRole:       {"missing_role", "a role is missing", pipeline.Forbidden},
	WrongAddress:      {"wrong_address", "the client may not do this from its address", pipeline.Forbidden},
	WrongMethod:       {"wrong_method", "the client may not use this method", pipeline.Forbidden},
	RuleDenies:        {"rule_denies", "the route's expression is not true", pipeline.Forbidden},
	PlainText:         {"plain_text", "a password may not be sent without TLS", pipeline.Forbidden},
	OtherHost:         {"other_host", "the connection was made for another host than the request names", pipeline.Misdirected},
	BusyWithPasswords: {"busy_with_passwords", "too many passwords are being checked", pipeline.Overloaded},
	TooManyFailures:   {"too_many_failures", "too many credentials from the client's address have failed; this one was not looked at", pipeline.RateLimited},
	NoKeys:            {"no_keys", "the issuer's keys are not available", pipeline.AuthUnavailable},
	NoAnswer:          {"no_answer", "the introspection endpoint gave no answer", pipeline.AuthUnavailable},
	NoRevocations:     {"no_revocations", "what was revoked is not known", pipeline.AuthUnavailable},
	NoReplays:         {"no_replays", "nobody knows whether the proof was used before", pipeline.AuthUnavailable},
	TooManyHeaders:    {"too_many_headers", "more headers are to be set than fit", pipeline.Internal},
	NotSigned:         {"not_signed", "the token for the upstream could not be signed", pipeline.Internal},
}

// Error is the refusal's slug and the reason.
func (r Reason) Error() string { return r.Unwrap().Error() + ": " + reasonTable[r].text }

// Unwrap gives the refusal: pipeline.Unauthenticated, Forbidden, BadRequest, RateLimited, AuthUnavailable or Internal.
func (r Reason) Unwrap() error { return reasonTable[r].kind }

// Kind is the refusal.
func (r Reason) Kind() pipeline.Refusal { return reasonTable[r].kind }

// Word is the reason as one word of a fixed list: a label for metrics.
func (r Reason) Word() string { return reasonTable[r].word }

// lasting reports that the same token will fail in the same way again, as long as the issuer's keys stay as they are.
func (r Reason) lasting() bool {
	switch r {
	case Malformed, BadSignature, Inactive, Expired, WrongIssuer, WrongAudience, WrongSubject, NotAnAccessToken, SenderConstrained, Irrevocable:
		return true
	}
	return false
}

// Harmless reports a refusal that guesses nothing: all of the request was good, and it only has to be sent again with a nonce.
func (r Reason) Harmless() bool { return r == ProofNonce }
