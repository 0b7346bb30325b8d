package auth

import (
	"crypto/sha256"
	"errors"
	"strconv"
	"time"

	"github.com/oncegate/oncegate/internal/auth/keyset"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// unknownKeyWait bounds how long a request waits for keys that may just have been rotated.
const unknownKeyWait = time.Second

// verified is what came of a token.
type verified struct {
	entry  *entry // nil unless reason is accepted
	issuer *issuer
	reason Reason
	cached bool          // it was seen before
	after  time.Duration // with TooManyFailures: when to come again
}

// verify judges a token for a route that trusts these issuers. Every step is cheap before the next: length, a look at what
// was seen before, form, header, key, signature, and only then the claims.
func (a *Authority) verify(trusted []*issuer, text []byte, by *asker) verified {
	if len(text) > maxToken {
		return verified{reason: TooLong}
	}
	id := cacheKey{digest: sha256.Sum256(text)}
	if v, seen := a.seen(trusted, &id, by.now); seen {
		return v
	}
	if other := introspecting(trusted); other != nil {
		i := signer(trusted, text)
		if i == nil {
			return a.introspect(other, text, &id, by)
		}
		trusted = []*issuer{i}
	}
	return a.verifySigned(trusted, text, &id, by)
}

// verifySigned judges a token that nobody has seen yet.
func (a *Authority) verifySigned(trusted []*issuer, text []byte, id *cacheKey, by *asker) verified {
	t, ok := split(text)
	if !ok {
		return verified{reason: Malformed}
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	h, known, reason := a.header(s, t.header)
	if reason != accepted {
		return verified{reason: reason}
	}
	i := choose(s, trusted, &t)
	if i == nil {
		return verified{reason: UnknownIssuer}
	}
	id.profile = i.profile
	if wait := a.overspent(by); wait > 0 {
		return verified{issuer: i, reason: TooManyFailures, after: wait}
	}
	e, reason := a.prove(s, i, h, &t, id, by)
	if reason != accepted {
		return verified{issuer: i, reason: reason}
	}
	if !known {
		a.shared.headers.put(t.header, h)
	}
	return verified{entry: e, issuer: i}
}

// seen looks for the token among those that were verified, and those that failed, for any of the trusted issuers.
func (a *Authority) seen(trusted []*issuer, id *cacheKey, now time.Time) (verified, bool) {
	for _, i := range trusted {
		id.profile = i.profile
		if e := a.shared.cache.get(id, now); e != nil {
			if _, err := i.keys.Current(now); err != nil {
				return verified{issuer: i, reason: NoKeys}, true
			}
			reason := i.stillValid(e, seconds(now))
			if reason == accepted {
				reason = a.unrevoked(i, e, now)
			}
			return verified{entry: e, issuer: i, reason: reason, cached: true}, true
		}
	}
	for _, i := range trusted {
		id.profile = i.profile
		set, err := i.keys.Current(now)
		if err != nil {
			continue
		}
		if reason := a.shared.failures.get(id, set.Serial, now); reason != accepted {
			return verified{issuer: i, reason: reason, cached: true}, true
		}
	}
	return verified{}, false
}

func (a *Authority) header(s *scratch, segment []byte) (h *header, known bool, reason Reason) {
	if h = a.shared.headers.get(segment); h != nil {
		return h, true, accepted
	}
	var ok bool
	if s.header, ok = decode(s.header, segment); !ok {
		return nil, false, Malformed
	}
	h, reason = parseHeader(s.header)
	return h, false, reason
}

// choose gives the issuer that a token has to be from. With one there is no choice. With several, the payload's iss is a
// key to look it up by; it is compared again when the signature has been verified.
func choose(s *scratch, trusted []*issuer, t *token) *issuer {
	if len(trusted) == 1 {
		return trusted[0]
	}
	var ok bool
	if s.payload, ok = decode(s.payload, t.payload); !ok {
		return nil
	}
	iss, ok := peekIssuer(s, s.payload)
	if !ok {
		return nil
	}
	for _, i := range trusted {
		if i.cfg.Issuer == iss {
			return i
		}
	}
	return nil
}

// prove finds the key, checks the signature, then the claims, and remembers the outcome.
func (a *Authority) prove(s *scratch, i *issuer, h *header, t *token, id *cacheKey, by *asker) (*entry, Reason) {
	if !i.takes(h.algorithm) {
		return nil, WrongAlgorithm
	}
	if !i.takesType(h.typ) {
		return nil, WrongType
	}
	set, key, reason := i.key(h, by.now, by.wait)
	if reason != accepted {
		return nil, reason
	}
	e, reason := a.shareJudge(s, i, h, t, id, key, by)
	if reason != accepted {
		if reason.lasting() {
			a.shared.failures.put(id, set.Serial, by.now, reason)
		}
		return nil, reason
	}
	return e, a.unrevoked(i, e, by.now)
}

// shareJudge judges a token once for all who bring it now, and remembers it when it is good. Whoever waits, waits for one
// signature check at most.
func (a *Authority) shareJudge(s *scratch, i *issuer, h *header, t *token, id *cacheKey, key *keyset.Key, by *asker) (*entry, Reason) {
	f, first := a.shared.flights.join(id, key)
	if f == nil {
		return a.judge(s, i, h, t, key, by)
	}
	if !first {
		<-f.done
		if f.reason != accepted {
			return nil, f.reason
		}
		return f.entry, i.stillValid(f.entry, seconds(by.now))
	}
	defer a.shared.flights.land(id, f)
	e, reason := a.judge(s, i, h, t, key, by)
	if reason == accepted {
		e.id = *id
		a.shared.cache.put(e)
	}
	f.entry, f.reason = e, reason
	return e, reason
}

// key finds the one key for a header. A key id that is not known may have been rotated in: it is asked for once, within
// bounds.
func (i *issuer) key(h *header, now time.Time, wait time.Duration) (*keyset.Set, *keyset.Key, Reason) {
	set, err := i.keys.Current(now)
	if errors.Is(err, keyset.ErrNotLoaded) {
		i.remote.Await(min(wait, unknownKeyWait))
		set, err = i.keys.Current(now)
	}
	if err != nil {
		return nil, nil, NoKeys
	}
	key := set.Find(h.kid, h.named, h.algorithm)
	if key == nil && h.named && !set.Has(h.kid) && i.remote != nil {
		i.remote.Refresh(min(wait, unknownKeyWait))
		if set, err = i.keys.Current(now); err != nil {
			return nil, nil, NoKeys
		}
		key = set.Find(h.kid, h.named, h.algorithm)
	}
	if key == nil {
		return nil, nil, UnknownKey
	}
	return set, key, accepted
}

// judge checks the signature and then the claims. What comes out owns all that it holds.
func (i *issuer) judge(s *scratch, h *header, t *token, key *keyset.Key, now time.Time) (*entry, Reason) {
	var ok bool
	if s.signature, ok = decode(s.signature, t.signature); !ok {
		return nil, Malformed
	}
	if key.Verify(string(t.signed), s.signature) != nil {
		return nil, BadSignature
	}
	if s.payload, ok = decode(s.payload, t.payload); !ok {
		return nil, Malformed
	}
	c, ok := parseClaims(s, s.payload)
	if !ok {
		return nil, Malformed
	}
	return i.admit(c, h, key, now)
}

// admit judges the claims.
func (i *issuer) admit(c *claims, h *header, key *keyset.Key, now time.Time) (*entry, Reason) {
	e := &entry{claims: c, key: key}
	if reason := i.check(c, h, e, now); reason != accepted {
		return nil, reason
	}
	subject, _ := c.textOf("sub")
	e.revocable.Issuer, e.revocable.Subject = i.cfg.Issuer, subject
	e.revocable.ID, e.revocable.Session = c.idOf("jti"), c.idOf("sid")
	e.client = pipeline.Client{Identity: Identity(i.cfg.Issuer, subject), Subject: subject, Issuer: i.name, Claims: c}
	e.until = now.Add(cacheLife)
	if end := time.Unix(int64(e.expires), 0).Add(i.cfg.Leeway.Std()); end.Before(e.until) {
		e.until = end
	}
	return e, accepted
}

// Identity is the text of a client's identity: issuer and subject, joined so that no two pairs give the same. The length of the
// issuer goes first.
func Identity(issuer, subject string) string {
	return strconv.Itoa(len(issuer)) + ":" + issuer + subject
}
