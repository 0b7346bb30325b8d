package auth

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/oncegate/oncegate/internal/auth/revoke"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Errors of Revoke and ParseRevocation; revoke.ErrFull and revoke.ErrUnclear are others.
var (
	ErrNoIssuer     = errors.New("no such issuer")
	ErrNotRevocable = errors.New("the issuer's revocation is off: its tokens are not looked up")
	ErrFuture       = errors.New("before lies in the future")
	ErrNoRevocation = errors.New(`not a revocation such as {"issuer":"main","jti":"..."} or {"issuer":"main","sub":"...","before":"2027-01-31T08:00:00Z"}`)
	ErrNotShared    = errors.New("revoked here, but the other nodes could not be told")
)

const maxRevokedLength = 1 << 10

// Revocation is what the admin API takes: the tokens of an issuer with one jti, of one session, or of one subject that were
// issued before a moment.
type Revocation struct {
	Issuer string    // its name in the document, or the iss of its tokens when no other issuer has it
	JTI    string    // exactly one of JTI, SID and Sub
	SID    string    // a session, the claim sid
	Sub    string    // a subject
	Before time.Time // with Sub, by the issuer's clock; zero: now
}

// ParseRevocation reads {"issuer","jti"}, {"issuer","sid"} or {"issuer","sub","before"}; before is a time of RFC 3339 or Unix
// seconds. The error is ErrNoRevocation.
func ParseRevocation(text []byte) (Revocation, error) {
	var body struct {
		Issuer string         `json:"issuer"`
		JTI    string         `json:"jti"`
		SID    string         `json:"sid"`
		Sub    string         `json:"sub"`
		Before jsontext.Value `json:"before"`
	}
	if json.Unmarshal(text, &body, json.RejectUnknownMembers(true)) != nil {
		return Revocation{}, ErrNoRevocation
	}
	r := Revocation{Issuer: body.Issuer, JTI: body.JTI, SID: body.SID, Sub: body.Sub}
	var err error
	if body.Before != nil {
		r.Before, err = parseMoment(body.Before)
	}
	if err != nil || r.Issuer == "" || body.Before != nil && r.Sub == "" || max(len(r.JTI), len(r.SID), len(r.Sub)) > maxRevokedLength {
		return Revocation{}, ErrNoRevocation
	}
	return r, nil
}

func parseMoment(raw jsontext.Value) (time.Time, error) {
	if raw.Kind() != jsontext.KindString {
		seconds, err := strconv.ParseFloat(string(raw), 64)
		if err != nil || seconds < 1 || seconds > lastSecond {
			return time.Time{}, ErrNoRevocation
		}
		return time.UnixMicro(int64(seconds * 1e6)), nil
	}
	text, err := jsontext.AppendUnquote(nil, raw)
	if err != nil {
		return time.Time{}, err
	}
	return time.Parse(time.RFC3339, string(text))
}

// Revoke voids tokens on this node at once, those that were verified before as well, and then tells the Store. When that
// fails the error says so, and what was revoked here stays revoked. The entry is kept for as long as a token that it is
// about can live: max_lifetime as it is now, and twice the leeway.
func (a *Authority) Revoke(ctx context.Context, r Revocation, now time.Time) error {
	i := a.called(r.Issuer)
	switch {
	case i == nil:
		return fmt.Errorf("%w: %q", ErrNoIssuer, r.Issuer)
	case !i.cfg.Revocation:
		return ErrNotRevocable
	case r.Before.After(now.Add(i.cfg.Leeway.Std())):
		return ErrFuture // it would void tokens that are yet to be issued
	}
	slack := time.Duration((i.lifetime + 2*i.leeway) * float64(time.Second))
	e := revoke.Entry{Issuer: i.cfg.Issuer, ID: r.JTI, Session: r.SID, Subject: r.Sub, Until: now.Add(slack + time.Second)}
	if r.Sub != "" {
		if e.Before = r.Before; e.Before.IsZero() {
			e.Before = now
		}
	}
	if err := a.revoked.Revoke(e, now); err != nil {
		return err
	}
	if a.store != nil {
		if err := a.store.Add(ctx, e); err != nil {
			return fmt.Errorf("%w: %w", ErrNotShared, err)
		}
	}
	return nil
}

// called gives the issuer of a name in the document, else the only one whose tokens have it as iss; nil when there is none.
func (a *Authority) called(name string) *issuer {
	if i := a.issuers[name]; i != nil {
		return i
	}
	var found *issuer
	for _, i := range a.issuers {
		switch {
		case i.cfg.Issuer != name:
		case found != nil:
			return nil // two have it: whose tokens are meant nobody can say
		default:
			found = i
		}
	}
	return found
}

// Revocations is the list that requests are judged by, for whoever merges a Store's news into it.
func (a *Authority) Revocations() *revoke.List { return a.revoked }

// keepRevocations takes the old list over: a reload revives no token.
func (a *Authority) keepRevocations(old *Authority) {
	if a.revoked == nil {
		a.revoked = old.revoked
	}
	if a.revoked == nil {
		a.revoked = revoke.New(revoke.Config{})
	}
}

// unrevoked judges an entry at every use.
func (a *Authority) unrevoked(i *issuer, e *entry, now time.Time) Reason {
	switch {
	case !i.cfg.Revocation:
		return accepted
	case !a.revoked.Known(now):
		return NoRevocations
	case a.revoked.Void(&e.revocable):
		return Revoked
	}
	return accepted
}
