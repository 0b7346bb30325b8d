package keyset

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// server is a key server without a network, for exact time.
type server struct {
	mu     sync.Mutex
	times  []time.Time
	slow   time.Duration
	answer func(*http.Request) (int, string, http.Header)
}

func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.times = append(s.times, time.Now())
	answer, slow := s.answer, s.slow
	s.mu.Unlock()
	select {
	case <-time.After(slow):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	status, body, header := answer(r)
	if status == 0 {
		return nil, errors.New("connection refused")
	}
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func (s *server) fetches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.times)
}

func (s *server) says(status int, body []byte, fields ...string) {
	header := http.Header{}
	for i := 0; i < len(fields); i += 2 {
		header.Set(fields[i], fields[i+1])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = func(*http.Request) (int, string, http.Header) { return status, string(body), header }
}

func last(all []Fetched) Fetched { return all[len(all)-1] }

func (s *server) takes(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slow = d
}

// remote is a Remote of that server; what its fetches brought so far is what the function gives.
func remote(s *server) (*Remote, func() []Fetched) {
	var mu sync.Mutex
	var all []Fetched
	r := NewRemote(RemoteConfig{URL: "https://id.test/jwks", Algorithms: asymmetric, Transport: s, Observe: func(f Fetched) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, f)
	}})
	return r, func() []Fetched {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

func (r *Remote) has(kid string) bool {
	set, err := r.Current(time.Now())
	return err == nil && set.Has(kid)
}

func TestServerThatComesUpLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		s.says(0, nil)
		r, _ := remote(s)
		defer r.Close()
		synctest.Wait()
		if _, err := r.Current(time.Now()); !errors.Is(err, ErrNotLoaded) || r.RetryAfter(time.Now()) != 1 {
			t.Errorf("%v, retry after %d", err, r.RetryAfter(time.Now()))
		}
		time.Sleep(time.Second)
		s.says(200, jwks(jwkOf(testKeys().p256, "a")))
		time.Sleep(900 * time.Millisecond)
		if !r.has("a") {
			t.Error("not there two seconds after the start")
		}
	})
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		s.says(503, nil)
		r, _ := remote(s)
		defer r.Close()
		time.Sleep(10 * time.Minute)
		s.mu.Lock()
		defer s.mu.Unlock()
		if n := len(s.times); n < 20 || n > 40 {
			t.Errorf("%d fetches in ten minutes of outage", n)
		}
		for i := 1; i < len(s.times); i++ {
			gap, want := s.times[i].Sub(s.times[i-1]), min(firstRetry<<min(i-1, 10), lastRetry)
			if gap > want || gap < want*3/4 {
				t.Errorf("gap %d: %v, about %v", i, gap, want)
			}
		}
		if again := r.RetryAfter(time.Now()); again < 1 || again > 30 {
			t.Errorf("retry after %d", again)
		}
	})
}

func TestFreshness(t *testing.T) {
	for control, want := range map[string]time.Duration{
		"": usualFresh, "max-age=600": 10 * time.Minute, "public, Max-Age=600": 10 * time.Minute, `max-age="600"`: 10 * time.Minute, "max-age=0": minFresh,
		"max-age=1": minFresh, "max-age=999999": maxFresh, "max-age=-5": minFresh, "max-age=x": minFresh, "no-store": minFresh, "max-age=600, no-cache": minFresh,
		"max-age=99999999999999999999": minFresh, "s-maxage=600": usualFresh,
	} {
		if got := freshness(control); got != want {
			t.Errorf("%q: %v, want %v", control, got, want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		s.says(200, jwks(jwkOf(testKeys().p256, "a")), "Cache-Control", "max-age=600")
		r, _ := remote(s)
		defer r.Close()
		time.Sleep(9*time.Minute - time.Second)
		early := s.fetches()
		time.Sleep(62 * time.Second)
		if early != 1 || s.fetches() != 2 {
			t.Errorf("%d, then %d fetches", early, s.fetches())
		}
	})
}

func TestNotModified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		asked := 0
		s.answer = func(r *http.Request) (int, string, http.Header) {
			if r.Header.Get("If-None-Match") == `"one"` {
				asked++
				return 304, "", nil
			}
			return 200, string(jwks(jwkOf(testKeys().p256, "a"))), http.Header{"Etag": {`"one"`}}
		}
		r, all := remote(s)
		defer r.Close()
		synctest.Wait()
		before, _ := r.Current(time.Now())
		time.Sleep(30 * time.Hour) // beyond the age limit, were 304 no success
		after, err := r.Current(time.Now())
		if err != nil || after != before || asked < 100 || all()[1].Changed || all()[1].Keys != 1 {
			t.Errorf("%v, asked %d times", err, asked)
		}
	})
}

// Case 64: whatever comes, the last good set stays; then its age limit.
func TestBadAnswersKeepTheLastGoodSet(t *testing.T) {
	good := jwks(jwkOf(testKeys().p256, "a"))
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		s.says(200, good)
		r, all := remote(s)
		defer r.Close()
		synctest.Wait()
		for _, bad := range []struct {
			status int
			body   []byte
		}{
			{200, []byte("<html>login</html>")}, {200, nil}, {200, []byte(`{"keys":[]}`)}, {200, []byte(`{"keys":[{"kty":"oct","k":"AA"}]}`)},
			{200, make([]byte, MaxBody+1)}, {500, good}, {404, good}, {204, nil}, {302, good}, {304, nil}, {206, good}, {0, nil},
		} {
			s.says(bad.status, bad.body, "Location", "http://169.254.169.254/")
			time.Sleep(20 * time.Minute)
			if now := last(all()); now.Err == nil || now.Changed || !r.has("a") {
				t.Errorf("%d %.20q: %+v", bad.status, bad.body, now)
			}
			if text := last(all()).Err.Error(); strings.Contains(text, "id.test") || strings.Contains(text, "html") {
				t.Errorf("the error says too much: %s", text)
			}
		}
		time.Sleep(usualMaxAge - 4*time.Hour - time.Minute)
		if !r.has("a") {
			t.Error("dropped before its age limit")
		}
		time.Sleep(20 * time.Minute)
		if _, err := r.Current(time.Now()); !errors.Is(err, ErrStale) {
			t.Errorf("after a day: %v", err)
		}
		s.says(200, good)
		time.Sleep(lastRetry)
		if !r.has("a") {
			t.Error("not back")
		}
	})
}

// Case 63: unknown key ids cost one fetch in thirty seconds, and all share it.
func TestUnknownKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		s.says(200, jwks(jwkOf(testKeys().p256, "a")))
		r, _ := remote(s)
		defer r.Close()
		synctest.Wait()
		s.says(200, jwks(jwkOf(testKeys().p256, "a"), jwkOf(testKeys().other, "b")))
		const slow = 300 * time.Millisecond
		s.takes(slow)
		var wg sync.WaitGroup
		start := time.Now()
		for range 100 {
			wg.Go(func() {
				r.Refresh(time.Second)
				if !r.has("b") {
					t.Error("a waiting request does not see the new key")
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took != slow || s.fetches() != 2 {
			t.Errorf("%d fetches, %v", s.fetches(), took)
		}
		for range 1000 { // within the cooldown: no fetch and no wait
			r.Refresh(time.Second)
		}
		if time.Since(start) != slow || s.fetches() != 2 {
			t.Errorf("%d fetches, %v", s.fetches(), time.Since(start))
		}
		time.Sleep(cooldown - slow)
		s.takes(4 * time.Second)
		start = time.Now()
		r.Refresh(time.Second)
		if took := time.Since(start); took != time.Second || s.fetches() != 3 {
			t.Errorf("a slow server holds a request for %v, %d fetches", took, s.fetches())
		}
		r.Refresh(0)
		time.Sleep(5 * time.Second)
		if s.fetches() != 3 {
			t.Errorf("%d fetches", s.fetches())
		}
	})
}

func TestFewWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{slow: 4 * time.Second}
		s.says(200, jwks(jwkOf(testKeys().p256, "a")))
		r, _ := remote(s)
		defer r.Close()
		time.Sleep(5 * time.Second)
		var wg sync.WaitGroup
		for range maxWaiting {
			wg.Go(func() { r.Refresh(time.Second) })
		}
		synctest.Wait()
		start := time.Now()
		r.Refresh(time.Second)
		if time.Since(start) != 0 {
			t.Error("one more waits")
		}
		wg.Wait()
	})
}

func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		s.says(200, jwks(jwkOf(testKeys().p256, "a")))
		r, all := remote(s)
		defer r.Close()
		synctest.Wait()
		set, _ := r.Current(time.Now())
		a := set.Find("a", true, Find("ES256"))
		s.says(200, jwks(jwkOf(testKeys().p256, "a"), jwkOf(testKeys().other, "b")))
		time.Sleep(usualFresh)
		if !r.has("a") || !r.has("b") || a.Retired() {
			t.Error("both keys have to be there")
		}
		s.says(200, jwks(jwkOf(testKeys().other, "b")))
		time.Sleep(usualFresh)
		if r.has("a") || !r.has("b") || !a.Retired() {
			t.Error("the old key has to go")
		}
		if n := len(all()); n != 3 || !all()[0].Changed || !all()[2].Changed {
			t.Errorf("%+v", all())
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{slow: 3 * time.Second}
		s.says(200, jwks(jwkOf(testKeys().p256, "a")))
		r, _ := remote(s)
		time.Sleep(time.Second)
		start := time.Now()
		r.Close() // in the middle of a fetch
		r.Refresh(time.Second)
		if time.Since(start) != 0 || s.fetches() != 1 {
			t.Errorf("%v, %d fetches", time.Since(start), s.fetches())
		}
		r.Close()
	})
}

func TestSlowServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{slow: time.Hour}
		s.says(200, nil)
		r, all := remote(s)
		time.Sleep(fetchTimeout + time.Millisecond)
		r.Close()
		if len(all()) != 1 || all()[0].Err == nil {
			t.Errorf("%+v", all())
		}
	})
}
