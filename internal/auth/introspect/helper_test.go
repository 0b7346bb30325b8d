package introspect

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a real endpoint on loopback that counts what it is asked.
type server struct {
	*httptest.Server
	count atomic.Int64
	serve atomic.Pointer[http.HandlerFunc]
}

func newServer(t testing.TB, h http.HandlerFunc) *server {
	s := &server{}
	s.does(h)
	s.Server = httptest.NewServer(s.handler())
	t.Cleanup(s.Close)
	return s
}

func newTLSServer(t testing.TB, h http.HandlerFunc) (s *server, root []byte) {
	s = &server{}
	s.does(h)
	s.Server = httptest.NewTLSServer(s.handler())
	t.Cleanup(s.Close)
	return s, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

func (s *server) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.count.Add(1)
		body, _ := io.ReadAll(r.Body) // or a handler that waits would never hear that the client has left
		r.Body = io.NopCloser(bytes.NewReader(body))
		(*s.serve.Load())(w, r)
	})
}

func (s *server) does(h http.HandlerFunc) { s.serve.Store(&h) }

// says answers 200 with that JSON.
func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json;charset=UTF-8")
		fmt.Fprint(w, text)
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func client(t testing.TB, url string, changes ...func(*Config)) *Client {
	cfg := Config{URL: url, ClientID: "gateway", Secret: "pw", Timeout: 5 * time.Second}
	for _, change := range changes {
		change(&cfg)
	}
	c := New(cfg)
	t.Cleanup(c.Close)
	return c
}

// ask waits for the outcome.
func (c *Client) ask(token string) (string, error) {
	type outcome struct {
		body []byte
		err  error
	}
	got := make(chan outcome, 1)
	if err := c.Ask(token, func(body []byte, err error) { got <- outcome{body, err} }); err != nil {
		return "", err
	}
	o := <-got
	return string(o.body), o.err
}
