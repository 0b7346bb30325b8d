package auth

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// asked is a real introspection endpoint: tokens and what is said of them.
type asked struct {
	*keyServer
	mu     sync.Mutex
	tokens map[string]string
}

func newAsked(t *testing.T) *asked {
	s := &asked{keyServer: newKeyServer(t), tokens: map[string]string{}}
	s.does(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		s.mu.Lock()
		defer s.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		if said, ok := s.tokens[r.PostForm.Get("token")]; ok {
			fmt.Fprint(w, said)
			return
		}
		fmt.Fprint(w, `{"active":false}`)
	})
	return s
}

func (s *asked) says(tok string, claims any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[tok] = string(text(claims))
}

func active(changes ...any) object { return good(append([]any{"active", true}, changes...)...) }

func askingIssuer(url string) IssuerConfig {
	c := secretIssuer()
	c.Secret, c.Algorithms = "", nil
	c.Introspection = &IntrospectionConfig{URL: url, ClientID: "gateway", ClientSecret: "pw", Timeout: units.Duration(5 * time.Second), Keep: units.Duration(time.Minute)}
	return c
}

// That a token is active does not say that it is for us (case 60).
func TestIntrospectionAnswersAreChecked(t *testing.T) {
	s := newAsked(t)
	r := single(t, askingIssuer(s.URL))
	now := time.Now().Unix()
	for name, row := range map[string]struct {
		claims any
		want   Reason
	}{
		"inactive": {object{"active": false}, Inactive}, "active as text": {active("active", "true"), Inactive}, "active as number": {active("active", 1), Inactive},
		"null": {active("active", nil), Inactive}, "empty": {"{}", Inactive}, "capital": {good("Active", true), Inactive},
		"aud": {active("aud", "other"), WrongAudience}, "no aud": {active("aud", nil), WrongAudience}, "aud list": {active("aud", []any{"other", 5}), WrongAudience},
		"iss": {active("iss", "https://other.test/"), WrongIssuer}, "iss number": {active("iss", 5), WrongIssuer}, "iss null": {`{"active":true,"iss":null,"aud":"api","sub":"a","exp":` + fmt.Sprint(now+60) + `}`, WrongIssuer},
		"expired": {active("exp", now-60), Expired}, "no exp": {active("exp", nil), Malformed}, "exp text": {active("exp", "1"), Malformed}, "nbf": {active("nbf", now+300), NotYetValid},
		"iat": {active("iat", now+300), NotYetValid}, "long": {active("exp", now+90000), LivesTooLong}, "sub": {active("sub", nil), WrongSubject}, "sub with NUL": {active("sub", "a\x00b"), WrongSubject},
		"cnf": {active("cnf", object{"jkt": "x"}), SenderConstrained}, "refresh": {active("token_use", "refresh_token"), NotAnAccessToken}, "Refresh": {active("typ", "Refresh"), NotAnAccessToken}, "ID": {active("nonce", "x"), NotAnAccessToken},
		"deep": {active("x", strings.Repeat("[", 1)), accepted}, "too deep": {`{"active":true,"x":` + strings.Repeat("[", 30) + strings.Repeat("]", 30) + `}`, Malformed},
	} {
		tok := "opaque-" + strings.ReplaceAll(name, " ", ".")
		s.says(tok, row.claims)
		if row.want == accepted {
			r.passes(t, name, tok)
			continue
		}
		r.refused(t, name, tok, row.want)
		before := s.fetches.Load()
		if r.refused(t, name+", again", tok, row.want); row.want.lasting() && s.fetches.Load() != before {
			t.Errorf("%s: asked again", name)
		}
	}
}

func TestIntrospectedTokensPass(t *testing.T) {
	s := newAsked(t)
	cfg := askingIssuer(s.URL)
	a := authority(t, map[string]IssuerConfig{"main": cfg})
	r := newRoute(t, a, Config{Issuers: []string{"main"}, Require: Require{Scopes: []string{"read"}}}, ForwardConfig{Claims: map[string]string{"X-User": "username"}})
	s.says("a.b~c+/==", active("scope", "read write", "username", "Alice", "iss", nil))
	for n := range 3 {
		m := r.passes(t, "opaque", "a.b~c+/==")
		if m.Client.Identity != Identity(testIssuer, "alice") || m.Client.Issuer != "main" || s.fetches.Load() != 1 {
			t.Errorf("%d: %+v after %d questions", n, m.Client, s.fetches.Load())
		}
	}
	jwt := hs("scope", "read") // the endpoint's word counts, not the signature
	s.says(jwt, active("scope", "read"))
	r.passes(t, "a JWT", jwt)
	s.says("noscope", active())
	if _, err := r.ask("Bearer noscope"); err != MissingScope {
		t.Error(err)
	}
	before := s.fetches.Load()
	for _, tok := range []string{"a b", "a%20b", "a\x00", "ä", "=", "a=b", "\"a\"", strings.Repeat("a", maxToken+1)} {
		if _, err := r.ask("Bearer " + tok); err != Malformed && err != TooLong {
			t.Errorf("%.20q: %v", tok, err)
		}
	}
	if s.fetches.Load() != before {
		t.Error("something that is no token was asked about")
	}
	long := strings.Repeat("a", maxToken)
	s.says(long, active("scope", "read"))
	r.passes(t, "8 KiB", long)
}

// Trouble at the endpoint is 503, tells no client that its token is bad, and is not remembered (case 61).
func TestIntrospectionThatFails(t *testing.T) {
	s := newAsked(t)
	good := s.serve
	r := single(t, askingIssuer(s.URL))
	s.says("token", active())
	s.says("cached", active())
	r.passes(t, "before", "cached")
	for name, h := range map[string]http.HandlerFunc{
		"5xx": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "HTML": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
	} {
		s.does(h)
		m, err := r.ask("Bearer token")
		if err != NoAnswer || m.Problem.RetryAfter < 1 || m.Sent.Header("WWW-Authenticate") != nil || NoAnswer.Kind() != pipeline.AuthUnavailable {
			t.Errorf("%s: %v, come again in %d", name, err, m.Problem.RetryAfter)
		}
		r.passes(t, name+", seen before", "cached")
		s.does(good)
		r.passes(t, name+", well again", "token")
		s.says("token", active())
		r = single(t, askingIssuer(s.URL)) // what was seen is forgotten
		r.passes(t, "before", "cached")
	}
	slow := askingIssuer(s.URL)
	slow.Introspection.Timeout = units.Duration(30 * time.Millisecond)
	r = single(t, slow)
	s.does(func(_ http.ResponseWriter, q *http.Request) { _ = q.ParseForm(); <-q.Context().Done() })
	for range 3 {
		if _, err := r.ask("Bearer token"); err != NoAnswer {
			t.Error(err)
		}
	}
	before := s.fetches.Load()
	if m, err := r.ask("Bearer token"); err != NoAnswer || s.fetches.Load() != before || m.Problem.RetryAfter < 1 {
		t.Errorf("paused: %v", err)
	}
}

// One question for all who bring the same token at the same moment; whoever leaves early does not end it.
func TestOneQuestionForMany(t *testing.T) {
	s := newAsked(t)
	answer, release := s.serve, make(chan struct{})
	s.does(func(w http.ResponseWriter, r *http.Request) { <-release; answer(w, r) })
	s.says("token", active())
	a := authority(t, map[string]IssuerConfig{"main": askingIssuer(s.URL)})
	trusted := []*issuer{a.issuers["main"]}
	got := make(chan Reason)
	go func() {
		got <- a.verify(trusted, []byte("token"), &asker{now: time.Now(), wait: 20 * time.Millisecond}).reason
	}()
	for range 40 {
		go func() {
			got <- a.verify(trusted, []byte("token"), &asker{now: time.Now(), wait: 10 * time.Second}).reason
		}()
	}
	if first := <-got; first != NoAnswer {
		t.Errorf("who can't wait gets %v", first)
	}
	close(release)
	for range 40 {
		if r := <-got; r != accepted {
			t.Error(r)
		}
	}
	if n := s.fetches.Load(); n != 1 {
		t.Errorf("%d questions", n)
	}
}

// A JWS goes to the issuer of the route that it names, and every other token is asked about.
func TestWhoJudgesAToken(t *testing.T) {
	s := newAsked(t)
	asking, signed, third := askingIssuer(s.URL), secretIssuer(), secretIssuer()
	asking.Issuer, third.Issuer = "https://asked.test/", "https://third.test/"
	a := authority(t, map[string]IssuerConfig{"asked": asking, "signed": signed, "third": third})
	r := newRoute(t, a, Config{Issuers: []string{"signed", "asked"}}, ForwardConfig{})
	if m := r.passes(t, "signed", hs()); m.Client.Issuer != "signed" {
		t.Error(m.Client.Issuer)
	}
	forged := hs()[:len(hs())-8] + "AAAAAAAA"
	s.says(forged, active("iss", asking.Issuer))
	r.refused(t, "forged: the endpoint has no say", forged, BadSignature)
	none := b64([]byte(`{"alg":"none"}`)) + "." + b64(text(good())) + ".AA"
	s.says(none, active("iss", asking.Issuer))
	r.refused(t, "none", none, WrongAlgorithm)
	if s.fetches.Load() != 0 {
		t.Error("a token of another issuer was given away")
	}
	for name, tok := range map[string]string{"opaque": "opaque", "dots": "a.b.c", "its own JWT": hs("iss", asking.Issuer), "JWT of an issuer that the route lacks": hs("iss", third.Issuer), "JWT without iss": hs("iss", nil)} {
		s.says(tok, active("iss", asking.Issuer))
		if m := r.passes(t, name, tok); m.Client.Issuer != "asked" {
			t.Errorf("%s: %s", name, m.Client.Issuer)
		}
	}
	s.says("other", active("iss", testIssuer))
	r.refused(t, "the endpoint names another issuer", "other", WrongIssuer)
	if _, err := New(Config{Issuers: []string{"asked", "both"}}, ForwardConfig{}, authority(t, map[string]IssuerConfig{"asked": asking, "both": askingIssuer(s.URL)})); err == nil || !strings.Contains(err.Error(), "both asked") {
		t.Errorf("two: %v", err)
	}
}

// keep and exp bound how long a yes is believed; a changed setting forgets it, the same document does not.
func TestHowLongAnswersAreBelieved(t *testing.T) {
	s := newAsked(t)
	now := time.Now()
	s.says("token", active())
	s.says("short", active("exp", now.Unix()+5))
	cfg := askingIssuer(s.URL)
	a := authority(t, map[string]IssuerConfig{"main": cfg})
	trusted := []*issuer{a.issuers["main"]}
	look := func(tok string, at time.Duration, questions int64) {
		t.Helper()
		before := s.fetches.Load()
		a.verify(trusted, []byte(tok), &asker{now: now.Add(at), wait: 5 * time.Second})
		if n := s.fetches.Load() - before; n != questions {
			t.Errorf("%s after %s: %d questions", tok, at, n)
		}
	}
	look("token", 0, 1)
	look("token", 50*time.Second, 0)
	look("token", 62*time.Second, 1)
	look("short", 0, 1)
	look("short", 3*time.Second, 0)
	look("short", 6*time.Second, 1)
	look("bad", 0, 1)
	look("bad", 9*time.Second, 0)
	look("bad", 11*time.Second, 1)
	look("token", 0, 0)

	same, err := NewAuthority(map[string]IssuerConfig{"main": cfg}, a, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(same.Close)
	trusted, a = []*issuer{same.issuers["main"]}, same
	look("token", 0, 0)
	other := askingIssuer(s.URL)
	other.Audiences = []string{"api", "more"}
	changed, err := NewAuthority(map[string]IssuerConfig{"main": other}, a, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(changed.Close)
	if changed.issuers["main"].asks != same.issuers["main"].asks {
		t.Error("the same endpoint has a new client")
	}
	trusted, a = []*issuer{changed.issuers["main"]}, changed
	look("token", 0, 1)
	none := askingIssuer(s.URL)
	none.Introspection.Keep = 0
	always := authority(t, map[string]IssuerConfig{"main": none})
	trusted, a = []*issuer{always.issuers["main"]}, always
	look("token", 0, 1)
	look("token", 0, 1)
}

func TestIntrospectedTokensCanBeRevoked(t *testing.T) {
	s := newAsked(t)
	cfg := askingIssuer(s.URL)
	cfg.Revocation = true
	a := authority(t, map[string]IssuerConfig{"main": cfg})
	r := newRoute(t, a, Config{Issuers: []string{"main"}}, ForwardConfig{})
	s.says("token", active("jti", "1"))
	r.passes(t, "before", "token")
	Revocation{JTI: "1"}.by(t, a)
	r.refused(t, "revoked", "token", Revoked)
}

// Nobody is contacted by reading a document, by readiness or by an explanation without a token.
func TestNobodyIsAskedWithoutAToken(t *testing.T) {
	s := newAsked(t)
	a := authority(t, map[string]IssuerConfig{"main": askingIssuer(s.URL)})
	if missing := a.Ready(); len(missing) != 0 {
		t.Errorf("not ready: %v", missing)
	}
	if _, err := Decide(Config{Issuers: []string{"main"}}, a, nil); err != NoCredential {
		t.Error(err)
	}
	lines := ExplainIssuers(Config{Issuers: []string{"main", "x"}}, map[string]IssuerConfig{"main": askingIssuer(s.URL)})
	if len(lines) != 1 || !strings.Contains(lines[0], s.URL) || strings.Contains(lines[0], "pw") {
		t.Errorf("%q", lines)
	}
	if s.fetches.Load() != 0 {
		t.Error("asked")
	}
	s.says("token", active())
	if words, err := Decide(Config{Issuers: []string{"main"}}, a, []byte("Bearer token")); err != nil || !strings.Contains(words, "alice") || s.fetches.Load() != 1 {
		t.Errorf("%s, %v", words, err)
	}
}

// An address that brings bad tokens pays for the questions; good ones and a failing endpoint cost nothing, and other
// addresses go on.
func TestInactiveTokensSpendTheBudget(t *testing.T) {
	s := newAsked(t)
	answer := s.serve
	a, err := NewAuthority(map[string]IssuerConfig{"main": askingIssuer(s.URL)}, nil, Deps{FailedShare: 0.001})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	trusted, now := []*issuer{a.issuers["main"]}, time.Now()
	ask := func(tok, from string) Reason {
		return a.verify(trusted, []byte(tok), &asker{now: now, wait: 5 * time.Second, from: netip.MustParseAddr(from)}).reason
	}
	for n := range 100 {
		s.says(fmt.Sprint("good", n), active())
		if r := ask(fmt.Sprint("good", n), "192.0.2.1"); r != accepted {
			t.Fatal(r)
		}
	}
	s.does(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(400) })
	for n := range 100 {
		if r := ask(fmt.Sprint("unknown", n), "192.0.2.1"); r != NoAnswer {
			t.Fatal(r)
		}
	}
	s.does(answer)
	judged := 0
	for n := range 100 {
		switch r := ask(fmt.Sprint("bad", n), "192.0.2.1"); r {
		case Inactive:
			judged++
		case TooManyFailures:
		default:
			t.Fatal(r)
		}
	}
	if judged < 15 || judged > 25 { // 10 s at 0.1 % are 10 ms, of 0.5 ms each
		t.Errorf("%d bad tokens were asked about", judged)
	}
	if r := ask("good1", "192.0.2.1"); r != accepted {
		t.Errorf("seen before: %v", r)
	}
	if r := ask("bad1", "192.0.2.1"); r != Inactive {
		t.Errorf("refused before: %v", r)
	}
	s.says("new", active())
	if r := ask("new", "192.0.2.1"); r != TooManyFailures {
		t.Errorf("new: %v", r)
	}
	if r := ask("new", "192.0.2.2"); r != accepted {
		t.Errorf("another address: %v", r)
	}
}

func TestIntrospectionIsReported(t *testing.T) {
	s := newAsked(t)
	var fine, failed atomic.Int64
	a, err := NewAuthority(map[string]IssuerConfig{"main": askingIssuer(s.URL)}, nil, Deps{Introspected: func(issuer string, took time.Duration, err error) {
		if issuer != "main" || took <= 0 {
			t.Errorf("%s %s", issuer, took)
		}
		if err != nil {
			failed.Add(1)
		} else {
			fine.Add(1)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	trusted, by := []*issuer{a.issuers["main"]}, &asker{now: time.Now(), wait: 5 * time.Second}
	a.verify(trusted, []byte("a"), by)
	s.does(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	a.verify(trusted, []byte("b"), by)
	if fine.Load() != 1 || failed.Load() != 1 {
		t.Errorf("%d and %d", fine.Load(), failed.Load())
	}
}
