// Package statuscheck asks an upstream over HTTP what became of a keyed write.
//
// It promises one GET of bounded time that never repeats the write itself, and an answer of three values: what is neither
// among the statuses that mean executed nor among those that mean not executed is inconclusive. It decides nothing: when the
// upstream can't be asked, nothing is settled.
package statuscheck

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/oncegate/oncegate/internal/dedup"
)

// Limits of one call.
const (
	callTime = 5 * time.Second
	mostBody = 64 << 10 // what is read so that the connection can be kept
)

// Checker implements dedup.Checker.
type Checker struct {
	url                   string
	executed, notExecuted []int
	client                *http.Client
}

// Base gives scheme and host of one of an upstream's targets; ok is false for a name that no upstream has.
type Base func(upstream string) (base *url.URL, ok bool)

// New makes the checker of a route. transport is shared by all; base may be nil.
func New(cfg dedup.StatusCheck, transport http.RoundTripper, base Base) (*Checker, error) {
	c := &Checker{url: cfg.URL, executed: cfg.Executed, notExecuted: cfg.NotExecuted}
	if transport == nil {
		transport = http.DefaultTransport
	}
	c.client = &http.Client{Transport: &placed{transport, base}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return c, nil
}

// Check implements dedup.Checker.
func (c *Checker) Check(ctx context.Context, key string) (dedup.CheckVerdict, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.ReplaceAll(c.url, "{key}", url.PathEscape(key)), nil)
	if err != nil {
		return dedup.Inconclusive, fmt.Errorf("status check: %w", err)
	}
	request.Header.Set("Cache-Control", "no-cache")
	request.Header.Set("User-Agent", "oncegate")
	answer, err := c.client.Do(request)
	if err != nil {
		return dedup.Inconclusive, fmt.Errorf("status check: %w", withoutURL(err))
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, mostBody))
	switch {
	case slices.Contains(c.executed, answer.StatusCode):
		return dedup.WasExecuted, nil
	case slices.Contains(c.notExecuted, answer.StatusCode):
		return dedup.NotExecuted, nil
	}
	return dedup.Inconclusive, nil
}

// withoutURL drops the URL of a client's error: it holds the key.
func withoutURL(err error) error {
	if e, ok := err.(*url.Error); ok {
		return e.Err
	}
	return err
}

// placed sends a request whose host is an upstream's name to one of its targets.
type placed struct {
	next http.RoundTripper
	base Base
}

// RoundTrip implements http.RoundTripper.
func (p *placed) RoundTrip(r *http.Request) (*http.Response, error) {
	if p.base == nil || r.URL.Port() != "" {
		return p.next.RoundTrip(r)
	}
	base, ok := p.base(r.URL.Hostname())
	if !ok {
		return p.next.RoundTrip(r)
	}
	moved := r.Clone(r.Context())
	moved.URL.Scheme, moved.URL.Host, moved.Host = base.Scheme, base.Host, base.Host
	return p.next.RoundTrip(moved)
}
