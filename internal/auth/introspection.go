package auth

import (
	"crypto/x509"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/oncegate/oncegate/internal/auth/introspect"
	"github.com/oncegate/oncegate/internal/auth/keyset"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// inactiveLife bounds how long a refusal is remembered: a token that was asked about too early may be good soon.
	inactiveLife = 10 * time.Second
	// introspectionCost is what a token that comes back inactive is charged: a call, and its work at the other end.
	introspectionCost = 500 * time.Microsecond
)

// introspecting gives the issuer of a route that is asked about tokens; nil: none is. There is one at most.
func introspecting(trusted []*issuer) *issuer {
	for _, i := range trusted {
		if i.asks != nil {
			return i
		}
	}
	return nil
}

// signer gives the issuer whose signature a token claims to have; nil when it is no JWS, or of none of them.
func signer(trusted []*issuer, text []byte) *issuer {
	if len(trusted) == 1 { // it only asks
		return nil
	}
	t, ok := split(text)
	if !ok {
		return nil
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	if s.payload, ok = decode(s.payload, t.payload); !ok {
		return nil
	}
	iss, ok := peekIssuer(s, s.payload)
	if !ok {
		return nil
	}
	return named(trusted, iss)
}

// named gives the issuer of that name whose tokens are signed.
func named(trusted []*issuer, iss string) *issuer {
	for _, i := range trusted {
		if i.asks == nil && i.cfg.Issuer == iss {
			return i
		}
	}
	return nil
}

// isB64Token is b64token of RFC 6750, 2.1: nothing else can stand behind Bearer.
func isB64Token(text []byte) bool {
	end := len(text)
	for end > 0 && text[end-1] == '=' {
		end--
	}
	for _, c := range text[:end] {
		if !alphabet[c] && c != '.' && c != '~' && c != '+' && c != '/' {
			return false
		}
	}
	return end > 0
}

// introspect asks an issuer about a token, once for all who bring it now. The budget of the address pays in advance and gets
// it back unless the token is refused: so what one address has under way is bounded, too.
func (a *Authority) introspect(i *issuer, text []byte, id *cacheKey, by *asker) verified {
	if !isB64Token(text) {
		return verified{issuer: i, reason: Malformed}
	}
	if wait := a.overspent(by); wait > 0 {
		return verified{issuer: i, reason: TooManyFailures, after: wait}
	}
	id.profile = i.profile
	f, first := a.shared.flights.join(id, i.mark)
	if f == nil { // nobody else has this profile
		return verified{issuer: i, reason: NoAnswer}
	}
	if first {
		a.charge(by, introspectionCost)
		key, who := *id, *by
		err := i.asks.Ask(string(text), func(body []byte, err error) { a.answered(i, &key, f, &who, body, err) })
		if err != nil {
			a.answered(i, id, f, by, nil, err)
		}
	}
	timer := time.NewTimer(max(by.wait, 0))
	defer timer.Stop()
	select {
	case <-f.done:
	case <-timer.C:
		return verified{issuer: i, reason: NoAnswer}
	}
	reason := f.reason
	if reason == accepted {
		reason = i.stillValid(f.entry, seconds(by.now))
	}
	if reason == accepted {
		reason = a.unrevoked(i, f.entry, by.now)
	}
	return verified{entry: f.entry, issuer: i, reason: reason}
}

// answered judges an answer and remembers the outcome. Having none is no outcome.
func (a *Authority) answered(i *issuer, id *cacheKey, f *flight, by *asker, body []byte, err error) {
	defer a.shared.flights.land(id, f)
	f.reason = NoAnswer
	if err != nil {
		a.charge(by, -introspectionCost)
		return
	}
	now := time.Now()
	f.entry, f.reason = i.judgeAnswer(body, now)
	switch {
	case f.reason == accepted:
		a.charge(by, -introspectionCost)
		if f.entry.until.After(now) {
			f.entry.id = *id
			a.shared.cache.put(f.entry)
		}
	case f.reason.lasting():
		a.shared.failures.putFor(id, 0, now, f.reason, min(inactiveLife, i.cfg.Introspection.Keep.Std()))
	}
}

// judgeAnswer reads an introspection answer (RFC 7662, 2.2). That the token is active does not say that it is for us: the
// checks are those of a signed token's claims, but iss may be absent.
func (i *issuer) judgeAnswer(body []byte, now time.Time) (*entry, Reason) {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	c, ok := parseClaims(s, body)
	if !ok {
		return nil, Malformed
	}
	if active := c.find("active"); active == nil || active.kind != jsontext.KindTrue {
		return nil, Inactive
	}
	if otherUse(c) {
		return nil, NotAnAccessToken
	}
	e, reason := i.admit(c, &header{}, i.mark, now)
	if reason != accepted {
		return nil, reason
	}
	e.until = now.Add(i.cfg.Introspection.Keep.Std())
	if end := time.Unix(int64(e.expires), 0); end.Before(e.until) {
		e.until = end
	}
	return e, accepted
}

// otherUse reports a refresh or an ID token: servers call these active as well, and say so in members of their own.
func otherUse(c *claims) bool {
	use, _ := c.textOf("token_use")
	kind, _ := c.textOf("typ")
	return among(use, []string{"refresh_token", "refresh", "id_token", "id"}) || among(kind, []string{"Refresh", "Offline", "ID"})
}

// prepareIntrospection reads the roots; nobody is contacted.
func (i *issuer) prepareIntrospection() (err error) {
	cfg := i.cfg.Introspection
	if err := introspect.CheckURL(cfg.URL); err != nil {
		return fmt.Errorf("introspection: %w", err)
	}
	i.roots, err = cfg.readRoots()
	i.keys, i.mark = local{&keyset.Set{}}, &keyset.Key{}
	return err
}

func (c *IntrospectionConfig) readRoots() (*x509.CertPool, error) {
	if c.CA == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", c.CA)
	}
	return roots, nil
}

// settleIntrospection keeps the old client, with its connections and what it knows of failures, when the endpoint is the same.
func (a *Authority) settleIntrospection(i, old *issuer) {
	cfg := i.cfg.Introspection
	if old != nil && old.asks != nil && *cfg == *old.cfg.Introspection && i.roots.Equal(old.roots) {
		i.asks = old.asks
		return
	}
	i.asks = introspect.New(introspect.Config{
		URL: cfg.URL, ClientID: cfg.ClientID, Secret: cfg.ClientSecret.Reveal(), Timeout: cfg.Timeout.Std(),
		Roots: i.roots, Observe: a.askedObserver(i.name),
	})
}

// askedObserver logs of a row of failures the first, and its end.
func (a *Authority) askedObserver(name string) func(time.Duration, error) {
	var failing atomic.Bool
	return func(took time.Duration, err error) {
		if a.introspected != nil {
			a.introspected(name, took, err)
		}
		switch was := failing.Swap(err != nil); {
		case err != nil && !was:
			a.logger.Warn("introspection fails; tokens that were not seen before are answered 503", "issuer", name, "error", err.Error())
		case err == nil && was:
			a.logger.Info("introspection works again", "issuer", name)
		}
	}
}
