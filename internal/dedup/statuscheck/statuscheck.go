// Package statuscheck asks an upstream over HTTP what became of a keyed write.
//
// It promises one GET of bounded time that never repeats the write itself, and an answer of three values: what is neither
// among the statuses that mean executed nor among those that mean not executed is inconclusive. It decides nothing: when the
// upstream can't be asked, nothing is settled.
package statuscheck

import (
	"context"
	"errors"
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
	path, query           string // of the URL, each with {key} where the key goes; query begins with '?' or is empty
	executed, notExecuted []int
	client                *http.Client
}

// Base gives scheme and host of one of an upstream's targets; ok is false for a name that no upstream has.
type Base func(upstream string) (base *url.URL, ok bool)

// New makes the checker of a route. transport is shared by all; base may be nil.
func New(cfg dedup.StatusCheck, transport http.RoundTripper, base Base) (*Checker, error) {
	path, query, found := strings.Cut(cfg.URL, "?")
	if found {
		query = "?" + query
	}
	c := &Checker{path: path, query: query, executed: cfg.Executed, notExecuted: cfg.NotExecuted}
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
	address, ok := c.address(key)
	if !ok {
		return dedup.Inconclusive, errDots
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return dedup.Inconclusive, fmt.Errorf("status check: %w", withoutURL(err))
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

// errDots is a key that a client chose and that can't be part of a path: an upstream would ask for something else.
var errDots = errors.New("status check: a key of dots can't be asked about")

// address is the URL of a key: escaped for where it stands, so that it never becomes another path or parameter.
func (c *Checker) address(key string) (string, bool) {
	const place = "{key}"
	if (key == "." || key == "..") && strings.Contains(c.path, place) {
		return "", false
	}
	return strings.ReplaceAll(c.path, place, url.PathEscape(key)) + strings.ReplaceAll(c.query, place, url.QueryEscape(key)), true
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
