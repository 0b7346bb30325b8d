package statuscheck_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/statuscheck"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// carrier notes requests and answers them.
type carrier struct {
	asked  []*http.Request
	answer func(*http.Request) (*http.Response, error)
}

func (c *carrier) RoundTrip(r *http.Request) (*http.Response, error) {
	c.asked = append(c.asked, r)
	return c.answer(r)
}

func says(status int, body string, fields ...string) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		h := http.Header{}
		for i := 0; i < len(fields); i += 2 {
			h.Set(fields[i], fields[i+1])
		}
		return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	}
}

func config(url string) dedup.StatusCheck {
	return dedup.StatusCheck{URL: url, Executed: []int{200, 303}, NotExecuted: []int{404, 410}}
}

func checker(t *testing.T, url string, by http.RoundTripper, base statuscheck.Base) *statuscheck.Checker {
	t.Helper()
	c, err := statuscheck.New(config(url), by, base)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestVerdicts(t *testing.T) {
	for status, want := range map[int]dedup.CheckVerdict{
		200: dedup.WasExecuted, 303: dedup.WasExecuted, 404: dedup.NotExecuted, 410: dedup.NotExecuted,
		201: dedup.Inconclusive, 204: dedup.Inconclusive, 302: dedup.Inconclusive, 401: dedup.Inconclusive, 429: dedup.Inconclusive, 500: dedup.Inconclusive, 503: dedup.Inconclusive,
	} {
		by := &carrier{answer: says(status, "")}
		got, err := checker(t, "http://orders/x/{key}", by, nil).Check(context.Background(), "k")
		if err != nil || got != want {
			t.Errorf("%d: %s, %v", status, got, err)
		}
		if r := by.asked[0]; len(by.asked) != 1 || r.Method != "GET" || r.Body != nil || r.Header.Get("Cache-Control") != "no-cache" {
			t.Errorf("%d requests, the first %s %v", len(by.asked), r.Method, r.Header)
		}
	}
}

// TestKeysAreEscaped: a key that a client chose never becomes another path, parameter or host.
func TestKeysAreEscaped(t *testing.T) {
	for _, c := range []struct{ url, key, want string }{
		{"http://o/v1/{key}", "plain-1_~", "/v1/plain-1_~"},
		{"http://o/v1/{key}/state", "a/../b", "/v1/a%2F..%2Fb/state"},
		{"http://o/v1/{key}", "a?b=c", "/v1/a%3Fb=c"},
		{"http://o/v1/{key}", "a#b%2e", "/v1/a%23b%252e"},
		{"http://o/v1/{key}", `"a b\`, "/v1/%22a%20b%5C"},
		{"http://o/v1/{key}", "...", "/v1/..."},
		{"http://o/v1?key={key}&x=1", "a&x=2+3%", "/v1?key=a%26x%3D2%2B3%25&x=1"},
		{"http://o/{key}?again={key}", "a&b;c", "/a&b%3Bc?again=a%26b%3Bc"},
		{"http://o/v1?key={key}", "..", "/v1?key=.."},
	} {
		by := &carrier{answer: says(200, "")}
		if _, err := checker(t, c.url, by, nil).Check(context.Background(), c.key); err != nil {
			t.Errorf("%s: %v", c.key, err)
			continue
		}
		if got := by.asked[0].URL; got.RequestURI() != c.want || got.Host != "o" {
			t.Errorf("%s became %s", c.key, got)
		}
	}
	for _, key := range []string{".", ".."} {
		by := &carrier{answer: says(200, "")}
		got, err := checker(t, "http://o/v1/{key}", by, nil).Check(context.Background(), key)
		if got != dedup.Inconclusive || err == nil || len(by.asked) != 0 {
			t.Errorf("%s: %s, %v, %d requests", key, got, err, len(by.asked))
		}
	}
}

// TestRedirectsAreNotFollowed: the answer counts as it is, and nobody is sent the key.
func TestRedirectsAreNotFollowed(t *testing.T) {
	by := &carrier{answer: says(307, "", "Location", "http://elsewhere/")}
	got, err := checker(t, "http://o/{key}", by, nil).Check(context.Background(), "k")
	if got != dedup.Inconclusive || err != nil || len(by.asked) != 1 {
		t.Errorf("%s, %v, %d requests", got, err, len(by.asked))
	}
}

// TestUpstreamNames: a host that is an upstream's name goes to one of its targets; one with a port, or unknown, does not.
func TestUpstreamNames(t *testing.T) {
	base := func(name string) (*url.URL, bool) {
		return &url.URL{Scheme: "https", Host: "10.0.0.7:8443"}, name == "orders"
	}
	for from, want := range map[string]string{
		"http://orders/v1/{key}?a=b":   "https://10.0.0.7:8443/v1/k%2F1?a=b",
		"http://orders:80/v1/{key}":    "http://orders:80/v1/k%2F1",
		"http://payments/v1/{key}":     "http://payments/v1/k%2F1",
		"https://orders.example/{key}": "https://orders.example/k%2F1",
	} {
		by := &carrier{answer: says(200, "")}
		if _, err := checker(t, from, by, base).Check(context.Background(), "k/1"); err != nil {
			t.Fatal(err)
		}
		r := by.asked[0]
		if r.URL.String() != want {
			t.Errorf("%s went to %s", from, r.URL)
		}
		if moved := strings.HasPrefix(want, "https://10"); moved && r.Host != "10.0.0.7:8443" || !moved && r.Host != r.URL.Host {
			t.Errorf("%s: Host %q", from, r.Host)
		}
	}
}

// TestErrorsDontTellTheKey: whatever fails, it goes to the log.
func TestErrorsDontTellTheKey(t *testing.T) {
	const key = "secret-key"
	failing := &carrier{answer: func(*http.Request) (*http.Response, error) { return nil, errors.New("no route to host") }}
	for name, c := range map[string]*statuscheck.Checker{
		"transport": checker(t, "http://o/{key}", failing, nil),
		"url":       checker(t, "http://o/%zz/{key}", failing, nil),
		"redirect":  checker(t, "http://o/{key}", &carrier{answer: says(302, "", "Location", ":bad")}, nil),
	} {
		got, err := c.Check(context.Background(), key)
		if got != dedup.Inconclusive || err == nil && name != "redirect" || err != nil && strings.Contains(err.Error(), key) {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}

// silent never answers.
type silent struct{}

func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// endless has a head, and a body that never ends.
type endless struct {
	ctx  context.Context
	read int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.read > 1<<20 {
		<-e.ctx.Done()
		return 0, e.ctx.Err()
	}
	e.read += len(p)
	return len(p), nil
}

func (*endless) Close() error { return nil }

func TestTimeIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		got, err := checker(t, "http://o/{key}", silent{}, nil).Check(context.Background(), "k")
		if took := time.Since(start); got != dedup.Inconclusive || !errors.Is(err, context.DeadlineExceeded) || took != 5*time.Second {
			t.Errorf("%s, %v after %v", got, err, took)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		start = time.Now()
		if _, err := checker(t, "http://o/{key}", silent{}, nil).Check(ctx, "k"); err == nil || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// TestBodiesAreBounded: the head is the answer; a body is read as far as keeping the connection is worth it.
func TestBodiesAreBounded(t *testing.T) {
	var body *endless
	by := &carrier{answer: func(r *http.Request) (*http.Response, error) {
		body = &endless{ctx: r.Context()}
		return &http.Response{StatusCode: 200, Body: body, Request: r}, nil
	}}
	got, err := checker(t, "http://o/{key}", by, nil).Check(context.Background(), "k")
	if got != dedup.WasExecuted || err != nil || body.read > 128<<10 {
		t.Errorf("%s, %v after %d bytes", got, err, body.read)
	}
}

// TestOverTheWire: the same with real sockets, and the connection is used again.
func TestOverTheWire(t *testing.T) {
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/executions/known" {
			_, _ = w.Write([]byte("{}"))
			return
		}
		http.NotFound(w, r)
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	base := func(string) (*url.URL, bool) {
		u, err := url.Parse(server.URL)
		return u, err == nil
	}
	c := checker(t, "http://orders/executions/{key}", transport, base)
	for key, want := range map[string]dedup.CheckVerdict{"known": dedup.WasExecuted, "other": dedup.NotExecuted} {
		for range 3 {
			if got, err := c.Check(context.Background(), key); got != want || err != nil {
				t.Errorf("%s: %s, %v", key, got, err)
			}
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}
