package auth

import "strings"

const challengeMissing = ` realm="oncegate", error="insufficient_scope", scope="`

// scopeRule is a list of scopes that a token must have, with the answers for what may be missing.
type scopeRule struct {
	wanted  []string
	also    []string // is named with whatever is missing
	answers []lack   // by the bits of what is missing; nil when there would be too many
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

// with is a challenge that names the missing scopes as well (RFC 6750, 3); nil: none is missing.
func (l *lack) with(challenge []byte) []byte {
	if l == nil {
		return challenge
	}
	return append(challenge[:len(challenge):len(challenge)], `, scope="`+l.words+`"`...)
}

// maxPrepared bounds the answers made beforehand: 2^6.
const maxPrepared = 6

func newScopeRule(wanted, also []string) scopeRule {
	r := scopeRule{wanted: wanted, also: also}
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
	if len(words) == 0 {
		return lack{}
	}
	for _, word := range r.also {
		if !among(word, words) {
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

// missing gives the answer for all scopes that the given ones lack, or nil.
func (g *gate) missing(given []string) *lack {
	some := g.anyScope.missing(given)
	if some == nil {
		return g.scopes.missing(given)
	}
	if both := g.bothScopes.missing(given); both != nil {
		return both
	}
	return some
}
