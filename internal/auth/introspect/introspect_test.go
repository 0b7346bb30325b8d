package introspect

import (
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// What is sent is RFC 7662's question, with the credentials as RFC 6749, 2.3.1 encodes them.
func TestTheQuestion(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		body, _ := io.ReadAll(r.Body)
		if r.Method != "POST" || user != "gate+way%3A1" || password != "p%C3%A4%26%2B" {
			t.Errorf("%s as %q with %q", r.Method, user, password)
		}
		if string(body) != "token=a%2Bb%2F.~%3D%3D&token_type_hint=access_token" || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
			t.Errorf("%s: %s", r.Header.Get("Content-Type"), body)
		}
		if r.Header.Get("Accept") != "application/json" || len(r.Header.Values("Idempotency-Key")) != 0 || r.URL.RawQuery != "realm=x" {
			t.Errorf("%s: %v", r.URL, r.Header)
		}
		says(`{"active":true}`)(w, r)
	})
	c := client(t, s.URL+"/introspect?realm=x", func(cfg *Config) { cfg.ClientID, cfg.Secret = "gate way:1", "pä&+" })
	if body, err := c.ask("a+b/.~=="); err != nil || body != `{"active":true}` {
		t.Errorf("%q, %v", body, err)
	}
}

// What is no answer is an error, and never says a word of the token, the credentials or the URL's query.
func TestAnswersThatAreNone(t *testing.T) {
	var reached atomic.Int64
	other := newServer(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	typed := func(kind, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = io.WriteString(w, text)
		}
	}
	for name, h := range map[string]http.HandlerFunc{
		"500": status(500), "503": status(503), "401": status(401), "403": status(403), "404": status(404), "204": status(204), "201": status(201), "400": status(400),
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		},
		"HTML": typed("text/html", `{"active":true}`), "no type": typed("", `{"active":true}`), "signed": typed("application/token-introspection+jwt", "a.b.c"), "plain": typed("text/plain", `{"active":true}`),
		"empty": says(""), "null": says("null"), "list": says(`[{"active":true}]`), "text": says(`"active"`), "two": says(`{"active":false}{"active":true}`), "cut": says(`{"active":true`),
		"twice": says(`{"active":false,"active":true}`), "twice, escaped": says(`{"active":false,"\u0061ctive":true}`), "bad UTF-8": says("{\"active\":true,\"sub\":\"\xff\"}"), "BOM": says("\ufeff{\"active\":true}"),
		"oversize": says(`{"active":true,"x":"` + strings.Repeat("x", MaxBody) + `"}`),
		"hangs up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"half": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"active":true}`)
		},
	} {
		s := newServer(t, h)
		_, err := client(t, s.URL+"/?key=hidden").ask("mytoken")
		if err == nil {
			t.Errorf("%s: no error", name)
		} else if text := err.Error(); strings.Contains(text, "mytoken") || strings.Contains(text, "pw") || strings.Contains(text, "hidden") {
			t.Errorf("%s: %s", name, text)
		}
	}
	if reached.Load() != 0 {
		t.Error("a redirect was followed")
	}
	s := newServer(t, says(` {"active":true,"x":"`+strings.Repeat("x", MaxBody-40)+`"} `))
	if _, err := client(t, s.URL).ask("a"); err != nil {
		t.Errorf("an answer of nearly 64 KiB: %v", err)
	}
}

func TestOnlyTrustedServersSeeTokens(t *testing.T) {
	s, root := newTLSServer(t, says(`{"active":false}`))
	s.Config.ErrorLog = nil
	if _, err := client(t, s.URL).ask("a"); err == nil || s.count.Load() != 0 {
		t.Errorf("a stranger's certificate: %v", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(root)
	if _, err := client(t, s.URL, func(cfg *Config) { cfg.Roots = pool }).ask("a"); err != nil {
		t.Errorf("its own root: %v", err)
	}
}

// A server that closes a kept connection is asked again: nobody sees that.
func TestAKeptConnectionThatWasClosed(t *testing.T) {
	s := newServer(t, says(`{"active":true}`))
	c := client(t, s.URL)
	for range 5 {
		if _, err := c.ask("a"); err != nil {
			t.Fatal(err)
		}
		s.CloseClientConnections()
	}
}

func TestASilentServer(t *testing.T) {
	s := newServer(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	var took time.Duration
	c := client(t, s.URL, func(cfg *Config) {
		cfg.Timeout, cfg.Observe = 50*time.Millisecond, func(d time.Duration, _ error) { took = d }
	})
	began := time.Now()
	if _, err := c.ask("a"); err == nil || time.Since(began) > 5*time.Second {
		t.Errorf("%v after %s", err, time.Since(began))
	}
	if took < 45*time.Millisecond {
		t.Errorf("observed %s", took)
	}
}

// No more questions than fit are under way; more wait, and more than those are turned away at once.
func TestQuestionsAreBounded(t *testing.T) {
	var now, most atomic.Int64
	release := make(chan struct{})
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-release
		says(`{"active":true}`)(w, r)
	})
	c := client(t, s.URL, func(cfg *Config) { cfg.Timeout = 30 * time.Second })
	var ends sync.WaitGroup
	var failed atomic.Int64
	ends.Add(maxPending)
	for range maxPending {
		if err := c.Ask("a", func(_ []byte, err error) {
			if err != nil {
				failed.Add(1)
			}
			ends.Done()
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Ask("a", nil); !errors.Is(err, ErrBusy) {
		t.Errorf("one more: %v", err)
	}
	close(release)
	ends.Wait()
	if most.Load() > maxCalls || failed.Load() != 0 || s.count.Load() != maxPending {
		t.Errorf("%d at once, %d failed, %d asked", most.Load(), failed.Load(), s.count.Load())
	}
}

func TestCloseEndsQuestions(t *testing.T) {
	arrived := make(chan struct{})
	s := newServer(t, func(_ http.ResponseWriter, r *http.Request) { close(arrived); <-r.Context().Done() })
	c := New(Config{URL: s.URL, Timeout: time.Minute})
	got := make(chan error, 1)
	if err := c.Ask("a", func(_ []byte, err error) { got <- err }); err != nil {
		t.Fatal(err)
	}
	<-arrived
	c.Close()
	if err := <-got; !errors.Is(err, ErrClosed) {
		t.Errorf("under way: %v", err)
	}
	if err := c.Ask("a", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("after: %v", err)
	}
}

// A retired client still answers requests that began before the reload.
func TestARetiredClientAnswers(t *testing.T) {
	s := newServer(t, says(`{"active":true}`))
	c := client(t, s.URL)
	c.Retire()
	if _, err := c.ask("a"); err != nil {
		t.Error(err)
	}
}

func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b breaker
		broken := errors.New("broken")
		for range tolerated {
			if !b.admits(time.Now()) {
				t.Fatal("paused too early")
			}
			b.reports(time.Now(), broken)
		}
		for _, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
			want *= time.Second
			if b.admits(time.Now()) || time.Duration(b.retryAfter(time.Now()))*time.Second > want {
				t.Fatalf("no pause of %s: come again in %d", want, b.retryAfter(time.Now()))
			}
			b.reports(time.Now(), broken) // one that had been under way: it makes the pause no longer
			time.Sleep(want*3/4 - time.Millisecond)
			if b.admits(time.Now()) {
				t.Fatalf("a pause of %s ended early", want)
			}
			time.Sleep(want/4 + time.Millisecond)
			if !b.admits(time.Now()) || b.admits(time.Now()) {
				t.Fatalf("after %s exactly one is let through", want)
			}
			b.reports(time.Now(), broken)
		}
		time.Sleep(lastPause)
		b.admits(time.Now())
		b.reports(time.Now(), nil)
		first, second := b.admits(time.Now()), b.admits(time.Now())
		if !first || !second || b.retryAfter(time.Now()) != 1 {
			t.Error("still paused")
		}
	})
}

// Tokens that the server calls malformed can't make anybody else wait; failures of the server can.
func TestWhatPauses(t *testing.T) {
	for code, want := range map[int]error{400: nil, 500: ErrPaused, 401: ErrPaused} {
		s := newServer(t, status(code))
		c := client(t, s.URL)
		for range tolerated {
			if _, err := c.ask("a"); err == nil {
				t.Error(code)
			}
		}
		if _, err := c.ask("a"); errors.Is(err, ErrPaused) != (want != nil) {
			t.Errorf("%d: %v", code, err)
		}
	}
}

func TestCheckURL(t *testing.T) {
	for text, want := range map[string]bool{
		"https://id.test/introspect": true, "https://id.test:8443/a?b=c": true, "http://127.0.0.1:9/x": true, "http://localhost/x": true, "http://[::1]/x": true,
		"http://id.test/introspect": false, "http://127.0.0.1.evil.test/": false, "https://a:b@id.test/": false, "https://id.test/#x": false, "ftp://id.test/": false, "": false, "/x": false, "https://": false, "https://:1": false, "http://10.0.0.1/": false,
	} {
		if err := CheckURL(text); (err == nil) != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}
