// Package introspect asks an authorization server whether a token is good (OAuth 2.0 Token Introspection, RFC 7662).
//
// It promises that the token goes to the configured URL only, over https or loopback, with the client's credentials and
// without redirects; that a question is bounded in time, and what is read of the answer in size; and that no more questions
// are under way, or wait for their turn, than fit. An answer is one JSON object that two readers understand alike; what it says
// is the caller's to judge. When the server fails, callers get an error, never a verdict; after three failures in a
// row it is left in peace for a while that doubles, and one question at a time finds out whether it is back.
package introspect

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxCalls   = 64   // questions under way
	maxPending = 1024 // questions under way or waiting for their turn
)

// Reasons for having no answer.
var (
	ErrPaused = errors.New("the introspection endpoint keeps failing and is given time to recover")
	ErrBusy   = errors.New("too many tokens wait for introspection")
	ErrClosed = errors.New("introspection has ended")
)

// Config is one endpoint.
type Config struct {
	URL      string // as CheckURL takes it
	ClientID string
	Secret   string
	Timeout  time.Duration  // of a question with its wait for a turn
	Roots    *x509.CertPool // nil: those of the system
	// Observe is called after each question that was sent, with the time it took; nil: nobody asks.
	Observe func(took time.Duration, err error)
}

// Client asks one endpoint. Its questions run in goroutines of their own until Close.
type Client struct {
	cfg     Config
	user    string // client id and secret as RFC 6749, 2.3.1 wants them
	secret  string
	http    *http.Client
	breaker breaker
	calls   chan struct{}
	pending atomic.Int32
	retired atomic.Bool

	ctx    context.Context
	cancel context.CancelFunc
	mu     sync.Mutex // of closed, and of adding to running
	closed bool
	run    sync.WaitGroup
}

// CheckURL takes https URLs, and http ones on loopback. User names and fragments have no place in it.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Hostname() == "" {
		return errors.New("not a URL such as https://id.example.com/oauth2/introspect")
	}
	if u.User != nil || u.Fragment != "" {
		return errors.New("an introspection URL has no user name and no fragment")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return errors.New("tokens are sent over https, or over http to loopback only")
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || (ip != nil && ip.IsLoopback())
}

// New contacts nobody.
func New(cfg Config) *Client {
	ctx, cancel := context.WithCancel(context.Background())
	if cfg.Observe == nil {
		cfg.Observe = func(time.Duration, error) {}
	}
	return &Client{
		cfg: cfg, user: url.QueryEscape(cfg.ClientID), secret: url.QueryEscape(cfg.Secret),
		calls: make(chan struct{}, maxCalls), ctx: ctx, cancel: cancel,
		http: &http.Client{
			Transport:     newTransport(cfg),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// newTransport keeps introspection apart from all other traffic. The proxy of the environment is used: many networks let
// nothing else out.
func newTransport(cfg Config) *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: cfg.Timeout}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: cfg.Roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           maxCalls,
		MaxIdleConnsPerHost:    maxCalls,
		MaxConnsPerHost:        maxCalls,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 16 << 10,
		DisableCompression:     true,
	}
}

// Ask puts a question and returns at once; done is called once, in another goroutine, with the bytes of a JSON answer or with
// why there is none. When Ask itself gives an error, ErrPaused, ErrBusy or ErrClosed, done is not called.
func (c *Client) Ask(token string, done func(body []byte, err error)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	if c.pending.Load() >= maxPending {
		return ErrBusy
	}
	if !c.breaker.admits(time.Now()) {
		return ErrPaused
	}
	c.pending.Add(1)
	c.run.Go(func() {
		defer c.pending.Add(-1)
		done(c.answer(token))
		if c.retired.Load() {
			c.http.CloseIdleConnections()
		}
	})
	return nil
}

// answer waits for its turn and asks.
func (c *Client) answer(token string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(c.ctx, c.cfg.Timeout)
	defer cancel()
	select {
	case c.calls <- struct{}{}:
		defer func() { <-c.calls }()
	case <-ctx.Done(): // the others take long, which they report
		c.breaker.forgets()
		return nil, ErrBusy
	}
	start := time.Now()
	body, err := c.call(ctx, token)
	if c.ctx.Err() != nil {
		return nil, ErrClosed
	}
	c.cfg.Observe(time.Since(start), err)
	c.breaker.reports(time.Now(), err)
	return body, err
}

// RetryAfter is the number of whole seconds after which asking again makes sense: 1 to 30.
func (c *Client) RetryAfter(now time.Time) int { return c.breaker.retryAfter(now) }

// Timeout is how long a question may take.
func (c *Client) Timeout() time.Duration { return c.cfg.Timeout }

// Retire lets questions that are still put be answered, but keeps no connection open for them.
func (c *Client) Retire() {
	c.retired.Store(true)
	c.http.CloseIdleConnections()
}

// Close ends all questions and waits for them.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.run.Wait()
	c.http.CloseIdleConnections()
}
