package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/auth/keyset"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// keyServer is a real key server on loopback that counts.
type keyServer struct {
	*httptest.Server
	fetches atomic.Int64
	mu      sync.Mutex
	serve   http.HandlerFunc
}

func newKeyServer(t *testing.T, keys ...object) *keyServer {
	s := &keyServer{}
	s.keys(keys...)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fetches.Add(1)
		s.mu.Lock()
		serve := s.serve
		s.mu.Unlock()
		serve(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *keyServer) does(serve http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serve = serve
}

func (s *keyServer) keys(keys ...object) {
	body := jwks(keys...)
	s.does(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
}

// fetched is a Recorder that tells when keys were fetched.
type fetched struct {
	nobody
	ends chan error
}

func (f *fetched) KeysFetched(_ string, err error) {
	select {
	case f.ends <- err:
	default:
	}
}

func (f *fetched) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-f.ends:
		return err
	case <-time.After(10 * time.Second):
		t.Fatal("no fetch ends")
		return nil
	}
}

func remoteRoute(t *testing.T, url string, algs ...string) (*route, *Authority, *fetched) {
	t.Helper()
	f := &fetched{ends: make(chan error, 100)}
	a, err := NewAuthority(map[string]IssuerConfig{"main": urlIssuer(url, algs...)}, nil, Deps{Recorder: f})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return newRoute(t, a, Config{Issuers: []string{"main"}}, ForwardConfig{}), a, f
}

// Case 62: never loaded is 503 with a time and no challenge; afterwards all is well.
func TestKeysNotLoaded(t *testing.T) {
	k := testKeys()
	s := newKeyServer(t)
	s.does(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	r, a, f := remoteRoute(t, s.URL, "ES256")
	tok := mint("ES256", k.p256, object{"alg": "ES256", "kid": "a"}, good())
	if f.wait(t) == nil {
		t.Error("500 is no key set")
	}
	m, err := r.ask("Bearer " + tok)
	if err != NoKeys || pipeline.KindOf(err) != pipeline.AuthUnavailable || m.Problem.RetryAfter < 1 || m.Sent.Header("WWW-Authenticate") != nil {
		t.Errorf("%v, retry after %d", err, m.Problem.RetryAfter)
	}
	if ready := a.Ready(); !errors.Is(ready["main"], keyset.ErrNotLoaded) {
		t.Errorf("ready: %v", ready)
	}
	r.refused(t, "nonsense is nonsense all the same", "x", Malformed)
	s.keys(jwkOf(k.p256, "a"))
	for f.wait(t) != nil {
	}
	r.passes(t, "loaded", tok)
	s.Server.CloseClientConnections()
	s.does(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	r.passes(t, "down, but known", tok)
	if len(a.Ready()) != 0 {
		t.Error("not ready")
	}
}

// A new key that is used at once is accepted at once; what an old key signed is void when it has gone (case 35).
func TestRotationOverTheWire(t *testing.T) {
	k := testKeys()
	s := newKeyServer(t, jwkOf(k.p256, "a"), jwkOf(k.ed, "e"))
	r, a, f := remoteRoute(t, s.URL, "ES256", "EdDSA")
	if err := f.wait(t); err != nil {
		t.Fatal(err)
	}
	old := mint("ES256", k.p256, object{"alg": "ES256", "kid": "a"}, good())
	other := mint("EdDSA", k.ed, object{"alg": "EdDSA", "kid": "e"}, good())
	r.passes(t, "old", old)
	r.passes(t, "old, cached", old)
	r.passes(t, "other", other)
	s.keys(jwkOf(k.p256b, "b"), jwkOf(k.ed, "e"))
	r.passes(t, "new", mint("ES256", k.p256b, object{"alg": "ES256", "kid": "b"}, good()))
	if n := s.fetches.Load(); n != 2 {
		t.Errorf("%d fetches", n)
	}
	r.refused(t, "old, cached, its key gone", old, UnknownKey)
	v := a.verify([]*issuer{a.issuers["main"]}, []byte(other), &asker{now: time.Now()})
	if v.reason != accepted || !v.cached {
		t.Errorf("a key that stayed lost its tokens: %v", v.reason)
	}
}

// Case 63, and: no fetch for a bad signature of a known key.
func TestUnknownKidsOverTheWire(t *testing.T) {
	k := testKeys()
	s := newKeyServer(t, jwkOf(k.p256, "a"))
	r, _, f := remoteRoute(t, s.URL, "ES256")
	if err := f.wait(t); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		r.refused(t, "forged", mint("ES256", k.p256b, object{"alg": "ES256", "kid": "a"}, good()), BadSignature)
	}
	if n := s.fetches.Load(); n != 1 {
		t.Errorf("forged tokens made %d fetches", n-1)
	}
	body := b64(text(good())) + "." + b64(make([]byte, 64))
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for n := range 2500 {
				m := pipeline.NewMemory("GET", "/").WithHeader("Authorization", "Bearer "+b64([]byte(fmt.Sprintf(`{"alg":"ES256","kid":"%d-%d"}`, w, n)))+"."+body)
				if err := r.handler.Serve(context.Background(), &m.Exchange); err != UnknownKey {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := s.fetches.Load(); n > 2 {
		t.Errorf("10,000 key ids made %d fetches", n-1)
	}
}

// Case 64 on a real connection: redirects are not followed, a huge body is not read.
func TestHostileKeyServers(t *testing.T) {
	reached := newKeyServer(t, jwkOf(testKeys().p256, "a"))
	s := newKeyServer(t)
	var sent atomic.Int64
	for name, serve := range map[string]http.HandlerFunc{
		"redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, reached.URL, http.StatusFound) },
		"huge": func(w http.ResponseWriter, _ *http.Request) {
			chunk := []byte(strings.Repeat(" ", 1<<20))
			for range 100 {
				if n, err := w.Write(chunk); err != nil {
					return
				} else {
					sent.Add(int64(n))
				}
			}
		},
		"HTML":     func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"hangs up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		s.does(serve)
		_, a, f := remoteRoute(t, s.URL, "ES256")
		if err := f.wait(t); err == nil || len(a.Ready()) != 1 {
			t.Errorf("%s: %v", name, err)
		}
		a.Close()
	}
	if reached.fetches.Load() != 0 {
		t.Error("a redirect was followed")
	}
	if sent.Load() > 32<<20 {
		t.Errorf("%d bytes of a huge body were taken", sent.Load())
	}
}

func TestReloadKeepsRemoteKeys(t *testing.T) {
	k := testKeys()
	s := newKeyServer(t, jwkOf(k.p256, "a"))
	r, first, f := remoteRoute(t, s.URL, "ES256")
	if err := f.wait(t); err != nil {
		t.Fatal(err)
	}
	tok := mint("ES256", k.p256, object{"alg": "ES256", "kid": "a"}, good())
	s.does(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	changed := urlIssuer(s.URL, "ES256")
	changed.Leeway = 0
	second := reload(t, first, map[string]IssuerConfig{"main": changed})
	newRoute(t, second, Config{Issuers: []string{"main"}}, ForwardConfig{}).passes(t, "keys survive", tok)
	third := reload(t, second, map[string]IssuerConfig{"main": urlIssuer(s.URL+"/other", "ES256")})
	if len(third.Ready()) != 1 {
		t.Error("another URL, the same keys")
	}
	r.passes(t, "what runs on the first document", tok)
}

// Keys that no token can tell apart stand in the log, with their issuer.
func TestLogOfDoubts(t *testing.T) {
	k := testKeys()
	s := newKeyServer(t)
	s.keys(jwkOf(k.p256, ""), jwkOf(k.p256b, ""))
	var out bytes.Buffer
	f := &fetched{ends: make(chan error, 100)}
	a, err := NewAuthority(map[string]IssuerConfig{"main": urlIssuer(s.URL, "ES256")}, nil, Deps{Recorder: f, Logger: slog.New(slog.NewJSONHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.wait(t); err != nil {
		t.Fatal(err)
	}
	a.Close() // the goroutine that logs has ended
	if text := out.String(); strings.Count(text, `"level":"WARN"`) != 1 || !strings.Contains(text, `"issuer":"main","why":"2 keys for ES256 have no kid`) {
		t.Error(text)
	}
}

// An outage is one line in the log, its end another; neither holds what a token or the URL's query says.
func TestLog(t *testing.T) {
	k := testKeys()
	s := newKeyServer(t)
	s.does(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	var out bytes.Buffer
	f := &fetched{ends: make(chan error, 100)}
	a, err := NewAuthority(map[string]IssuerConfig{"main": urlIssuer(s.URL+"/?key=confidential", "ES256")}, nil,
		Deps{Recorder: f, Logger: slog.New(slog.NewJSONHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	f.wait(t)
	f.wait(t)
	s.keys(jwkOf(k.p256, "a"))
	for f.wait(t) != nil {
	}
	r := newRoute(t, a, Config{Issuers: []string{"main"}}, ForwardConfig{})
	_, _ = r.ask("Bearer " + mint("ES256", k.p256b, object{"alg": "ES256", "kid": "kid\nof mallory"}, good()))
	a.Close() // the goroutine that logs has ended
	text := out.String()
	if strings.Count(text, "\n") != 2 || strings.Count(text, "could not be fetched") != 1 || strings.Count(text, `"keys fetched"`) != 1 ||
		strings.Contains(text, "confidential") || strings.Contains(text, "mallory") {
		t.Error(text)
	}
}
