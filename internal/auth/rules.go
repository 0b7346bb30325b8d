package auth

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
)

// lastSecond is the end of the year 9999: no sound NumericDate lies beyond it.
const lastSecond = 253402300799

// usualLifetime bounds tokens of an issuer whose max_lifetime was not filled in.
const usualLifetime = 24 * time.Hour

// seconds is a time as a NumericDate (RFC 7519, 2).
func seconds(t time.Time) float64 { return float64(t.Unix()) + float64(t.Nanosecond())/1e9 }

// date reads a NumericDate: a JSON number within the years 1970 to 9999. given is false when the claim is absent.
func (c *claims) date(name string) (value float64, given, ok bool) {
	m := c.find(name)
	if m == nil {
		return 0, false, true
	}
	if m.kind != jsontext.KindNumber {
		return 0, true, false
	}
	value, err := strconv.ParseFloat(m.text, 64)
	if err != nil || math.IsNaN(value) || value < 1 || value > lastSecond {
		return 0, true, false
	}
	return value, true, true
}

// check judges the claims that belong to the issuer (RFC 7519, 4.1; RFC 9068, 4). The times are judged again by every
// later use of the entry.
func (i *issuer) check(c *claims, h *header, e *entry, now time.Time) Reason {
	if reason := i.checkTimes(c, e, seconds(now)); reason != accepted {
		return reason
	}
	if iss, ok := c.textOf("iss"); (!ok || iss != i.cfg.Issuer) && (i.asks == nil || c.find("iss") != nil) {
		return WrongIssuer
	}
	if !i.audience(c) {
		return WrongAudience
	}
	if sub, ok := c.textOf("sub"); !ok || sub == "" || strings.ContainsFunc(sub, unicode.IsControl) {
		return WrongSubject
	}
	if h.typ != accessToken && i.typ == "" && (c.find("nonce") != nil || c.find("at_hash") != nil || c.find("c_hash") != nil) {
		return NotAnAccessToken
	}
	var ok bool
	if e.bound, ok = i.binding(c); !ok {
		return SenderConstrained
	}
	return accepted
}

func (i *issuer) checkTimes(c *claims, e *entry, now float64) Reason {
	exp, given, ok := c.date("exp")
	nbf, _, okNbf := c.date("nbf")
	iat, issued, okIat := c.date("iat")
	if !ok || !given || !okNbf || !okIat {
		return Malformed
	}
	e.expires, e.notBefore = exp, nbf
	if !issued && i.cfg.Revocation {
		return Irrevocable // nobody could say how long a revocation has to be kept
	}
	e.revocable.Issued = iat
	if !issued {
		iat = now // it must not outlive the longest token that could be issued now
	}
	switch {
	case now >= exp+i.leeway:
		return Expired
	case nbf > now+i.leeway || iat > now+i.leeway:
		return NotYetValid
	case exp-iat > i.lifetime:
		return LivesTooLong
	}
	return accepted
}

// stillValid judges the times of an entry that was verified before.
func (i *issuer) stillValid(e *entry, now float64) Reason {
	switch {
	case now >= e.expires+i.leeway:
		return Expired
	case e.notBefore > now+i.leeway:
		return NotYetValid
	}
	return accepted
}

// audience demands a string or a list of strings, one of which is exactly one of the issuer's audiences.
func (i *issuer) audience(c *claims) bool {
	m := c.find("aud")
	switch {
	case m == nil:
		return false
	case m.kind == jsontext.KindString:
		return m.text != "" && among(m.text, i.cfg.Audiences)
	case !m.words:
		return false
	}
	for _, one := range m.list {
		if one != "" && among(one, i.cfg.Audiences) {
			return true
		}
	}
	return false
}

const accessToken = "at+jwt"

// takesType judges the header's typ. Without a demanded one, only those that say "a JWT" or "an access token" pass: a
// logout token or a DPoP proof is signed by the same keys (RFC 8725, 3.11).
func (i *issuer) takesType(typ string) bool {
	if i.typ != "" {
		return typ == i.typ
	}
	return typ == "" || typ == "jwt" || typ == accessToken
}
