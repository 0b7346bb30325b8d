package auth

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/auth/revoke"
	"github.com/oncegate/oncegate/internal/pipeline"
)

func revocable() IssuerConfig {
	c := secretIssuer()
	c.Revocation = true
	return c
}

func revoking(t testing.TB, deps Deps) (*route, *Authority) {
	t.Helper()
	a, err := NewAuthority(map[string]IssuerConfig{"main": revocable(), "plain": func() IssuerConfig { c := secretIssuer(); c.Issuer = "plain"; return c }()}, nil, deps)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return newRoute(t, a, Config{Issuers: []string{"main"}}, ForwardConfig{}), a
}

func (r Revocation) by(t *testing.T, a *Authority) {
	t.Helper()
	r.Issuer = "main"
	if err := a.Revoke(context.Background(), r, time.Now()); err != nil {
		t.Error(err)
	}
}

// Case 48: what was revoked is refused at once, whether it was verified before or not, and nothing else is.
func TestCase48Revoked(t *testing.T) {
	r, a := revoking(t, Deps{})
	now := time.Now().Unix()
	seen, unseen := hs("jti", "1"), hs("jti", "1", "n", 2)
	session, number := hs("jti", "2", "sid", "s"), hs("jti", 77)
	old, young := hs("sub", "bob", "iat", now-60), hs("sub", "bob", "iat", now-5)
	for _, tok := range []string{seen, session, old, young, number} {
		r.passes(t, "before", tok)
	}
	Revocation{JTI: "1"}.by(t, a)
	r.refused(t, "seen before", seen, Revoked)
	r.refused(t, "new", unseen, Revoked)
	r.refused(t, "new, again", unseen, Revoked)
	r.passes(t, "another id", session)
	Revocation{SID: "s"}.by(t, a)
	r.refused(t, "session", session, Revoked)
	Revocation{Sub: "bob", Before: time.Unix(now-30, 0)}.by(t, a)
	r.refused(t, "issued before", old, Revoked)
	r.passes(t, "issued after", young)
	Revocation{Sub: "bob"}.by(t, a)
	r.refused(t, "issued before now", young, Revoked)
	r.passes(t, "another subject", hs())
	Revocation{JTI: "77"}.by(t, a)
	r.refused(t, "an id that is a number", number, Revoked)
	r.refused(t, "no iat", hs("iat", nil), Irrevocable)
	r.refused(t, "no iat, again", hs("iat", nil), Irrevocable)
	if v := a.verify([]*issuer{a.issuers["main"]}, []byte(seen), &asker{now: time.Now()}); v.reason != Revoked || !v.cached {
		t.Error("a revoked token costs its signature check again")
	}
}

// An issuer is called by its name, or by what its tokens call it; a name goes first, and an iss of two is nobody's.
func TestRevokeByNameOrIss(t *testing.T) {
	named, twin := revocable(), revocable()
	named.Issuer = "https://named.test/"
	twin.Issuer = "https://twins.test/"
	taken := revocable()
	taken.Issuer = "named"
	a, err := NewAuthority(map[string]IssuerConfig{"main": revocable(), "named": named, "taken": taken, "one": twin, "two": twin}, nil, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	for name, want := range map[string]string{"main": "main", revocable().Issuer: "main", "named": "named", "https://named.test/": "named", "taken": "taken", "one": "one", "https://twins.test/": "", "": "", "nobody": ""} {
		got := ""
		if i := a.called(name); i != nil {
			got = i.name
		}
		if got != want {
			t.Errorf("%q is %q, wanted %q", name, got, want)
		}
	}
	if err := a.Revoke(t.Context(), Revocation{Issuer: "https://twins.test/", JTI: "1"}, time.Now()); !errors.Is(err, ErrNoIssuer) {
		t.Error(err)
	}
}

// A reload revives nothing: the list goes over to the next authority.
func TestReloadKeepsRevocations(t *testing.T) {
	r, a := revoking(t, Deps{})
	tok := hs("jti", "1")
	r.passes(t, "before", tok)
	Revocation{JTI: "1"}.by(t, a)
	changed := revocable()
	changed.Leeway = 0
	next := reload(t, a, map[string]IssuerConfig{"main": changed})
	newRoute(t, next, Config{Issuers: []string{"main"}}, ForwardConfig{}).refused(t, "after", tok, Revoked)
	off := reload(t, next, map[string]IssuerConfig{"main": secretIssuer()})
	newRoute(t, off, Config{Issuers: []string{"main"}}, ForwardConfig{}).passes(t, "revocation switched off", tok)
}

// An entry outlives every token that it can be about, and then makes room.
func TestRevocationsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, a := revoking(t, Deps{Revocations: revoke.New(revoke.Config{Max: 1})}) // max_lifetime 24 h, leeway 30 s
		now := time.Now().Unix()
		tok := hs("jti", "1", "iat", now+30, "exp", now+30+24*3600) // the youngest and longest that passes
		r.passes(t, "before", tok)
		Revocation{JTI: "1"}.by(t, a)
		time.Sleep(24*time.Hour + time.Minute - time.Second)
		if err := a.Revoke(context.Background(), Revocation{Issuer: "main", JTI: "2"}, time.Now()); !errors.Is(err, revoke.ErrFull) {
			t.Errorf("a token that could still pass lost its revocation: %v", err)
		}
		r.refused(t, "to its last second", tok, Revoked)
		time.Sleep(3 * time.Second)
		r.refused(t, "over", tok, Expired)
		Revocation{JTI: "2"}.by(t, a)
	})
}

func TestRevokeRefuses(t *testing.T) {
	_, a := revoking(t, Deps{Revocations: revoke.New(revoke.Config{Max: 1})})
	ctx, now := context.Background(), time.Now()
	for want, r := range map[error]Revocation{
		ErrNoIssuer: {Issuer: "nobody", JTI: "1"}, ErrNotRevocable: {Issuer: "plain", JTI: "1"}, revoke.ErrUnclear: {Issuer: "main"},
		ErrFuture: {Issuer: "main", Sub: "a", Before: now.Add(time.Minute)},
	} {
		if err := a.Revoke(ctx, r, now); !errors.Is(err, want) {
			t.Errorf("%+v: %v, want %v", r, err, want)
		}
	}
	if err := a.Revoke(ctx, Revocation{Issuer: "main", JTI: "1", SID: "2"}, now); !errors.Is(err, revoke.ErrUnclear) {
		t.Error(err)
	}
	Revocation{JTI: "1"}.by(t, a)
	if err := a.Revoke(ctx, Revocation{Issuer: "main", JTI: "2"}, now); !errors.Is(err, revoke.ErrFull) {
		t.Errorf("past the bound: %v", err)
	}
}

type failingStore struct {
	err   error
	added []revoke.Entry
}

func (s *failingStore) Add(_ context.Context, e revoke.Entry) error {
	s.added = append(s.added, e)
	return s.err
}
func (s *failingStore) Since(context.Context, string) ([]revoke.Entry, string, error) {
	return s.added, "", s.err
}

// What was revoked here stays revoked here, when the others can't be told too.
func TestRevocationsAreShared(t *testing.T) {
	s := &failingStore{}
	r, a := revoking(t, Deps{Store: s})
	tok, other := hs("jti", "1"), hs("jti", "2")
	Revocation{JTI: "1"}.by(t, a)
	if len(s.added) != 1 || s.added[0].ID != "1" || s.added[0].Issuer != testIssuer || time.Until(s.added[0].Until) < 24*time.Hour {
		t.Errorf("told: %+v", s.added)
	}
	s.err = errors.New("down")
	if err := a.Revoke(context.Background(), Revocation{Issuer: "main", JTI: "2"}, time.Now()); !errors.Is(err, ErrNotShared) || !errors.Is(err, s.err) {
		t.Error(err)
	}
	r.refused(t, "told", tok, Revoked)
	r.refused(t, "not told", other, Revoked)
}

// Case 48: nobody knows what was revoked, beyond the grace: 503 without a word about the token.
func TestCase48StoreIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := revoke.New(revoke.Config{Grace: time.Minute})
		r, a := revoking(t, Deps{Revocations: list})
		tok := hs("exp", time.Now().Unix()+3600)
		unknown := func() {
			t.Helper()
			m, err := r.ask("Bearer " + tok)
			if err != NoRevocations || pipeline.KindOf(err) != pipeline.AuthUnavailable || m.Problem.RetryAfter < 1 || m.Sent.Header("WWW-Authenticate") != nil {
				t.Errorf("%v, retry after %d", err, m.Problem.RetryAfter)
			}
		}
		unknown()
		entries := []revoke.Entry{{Issuer: testIssuer, ID: "9", Until: time.Now().Add(time.Hour)}}
		if a.Revocations() != list || list.Merge(entries, time.Now()) != nil {
			t.Fatal("merge")
		}
		time.Sleep(time.Minute)
		r.passes(t, "within the grace", tok)
		r.refused(t, "what another node revoked", hs("jti", "9"), Revoked)
		time.Sleep(time.Second)
		unknown()
		newRoute(t, a, Config{Issuers: []string{"plain"}}, ForwardConfig{}).passes(t, "an issuer without revocation", hs("iss", "plain"))
	})
}

func TestParseRevocation(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	for text, want := range map[string]Revocation{
		`{"issuer":"main","jti":"1"}`:              {Issuer: "main", JTI: "1"},
		`{"issuer":"main","sid":"s"}`:              {Issuer: "main", SID: "s"},
		`{"issuer":"main","sub":"a"}`:              {Issuer: "main", Sub: "a"},
		`{"issuer":"main","sub":"a","before":1e9}`: {Issuer: "main", Sub: "a", Before: time.Unix(1e9, 0)},
		fmt.Sprintf(`{"issuer":"main","sub":"a","before":%q}`, at.UTC().Format(time.RFC3339)): {Issuer: "main", Sub: "a", Before: at},
	} {
		got, err := ParseRevocation([]byte(text))
		if err != nil || !got.Before.Equal(want.Before) {
			t.Errorf("%s: %+v %v", text, got, err)
		}
		got.Before = want.Before
		if got != want {
			t.Errorf("%s: %+v", text, got)
		}
	}
	for _, text := range []string{
		"", "null", "{}", "null x", `{"jti":"1"}`, "[]", `"a"`, `{"issuer":"main","jti":"1"}{}`, `{"issuer":"main","jti":"1","jti":"2"}`, `{"issuer":"main","JTI":"1","all":true}`, `{"issuer":"main","jti":5}`,
		`{"issuer":"main","sub":"a","before":"soon"}`, `{"issuer":"main","sub":"a","before":-1}`, `{"issuer":"main","sub":"a","before":1e300}`, `{"issuer":"main","sub":"a","before":null}`,
		`{"issuer":"main","jti":"1","before":1e9}`, `{"issuer":"main","jti":"` + string(make([]byte, 10)) + `"}`,
	} {
		if got, err := ParseRevocation([]byte(text)); !errors.Is(err, ErrNoRevocation) || got != (Revocation{}) {
			t.Errorf("%s: %+v %v", text, got, err)
		}
	}
}
