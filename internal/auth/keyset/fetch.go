package keyset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	fetchTimeout = 5 * time.Second
	minFresh     = 5 * time.Minute
	usualFresh   = 15 * time.Minute // when the server says nothing
	maxFresh     = time.Hour
)

// Fetched is what one fetch brought.
type Fetched struct {
	Keys, Skipped int
	Changed       bool     // the set in use is another one now
	Doubts        []string // of a set that is another one now
	Err           error    // the last good set stays in use
}

// CheckURL takes https URLs, and http ones on loopback. User names and fragments have no place in it.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Hostname() == "" {
		return errors.New("not a URL such as https://id.example.com/jwks.json")
	}
	if u.User != nil || u.Fragment != "" {
		return errors.New("a key set URL has no user name and no fragment")
	}
	if !fetchable(u) {
		return errors.New("keys are fetched over https, or over http from loopback only")
	}
	return nil
}

func fetchable(u *url.URL) bool {
	return u.Scheme == "https" || (u.Scheme == "http" && loopback(u.Hostname()))
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || (ip != nil && ip.IsLoopback())
}

// newTransport keeps key sets apart from all other traffic. The proxy of the environment is used: many networks let
// nothing else out.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: fetchTimeout}).DialContext,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           1,
		MaxConnsPerHost:        2,
		IdleConnTimeout:        30 * time.Second,
		TLSHandshakeTimeout:    fetchTimeout,
		ResponseHeaderTimeout:  fetchTimeout,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
	}
}

// page is what a server answered; body is nil when it said that nothing changed.
type page struct {
	body  []byte
	etag  string
	fresh time.Duration
}

// fetch gets the key set, from where the provider says when there is one. What else goes wrong there goes wrong for the key
// set: a provider that tells nonsense may have been taken over.
func (r *Remote) fetch(ctx context.Context) (page, error) {
	url := r.url
	if r.provider != nil {
		var err error
		if url, err = r.locate(ctx); err != nil {
			return page{}, err
		}
	}
	if url != r.from { // what was said of another URL says nothing of this one
		r.from, r.etag = url, ""
	}
	return r.get(ctx, source{url: url, what: "keys", accept: "application/jwk-set+json, application/json", etag: r.etag, max: MaxBody})
}

// source is what is fetched: at most max bytes.
type source struct {
	url, what, accept, etag string
	max                     int
}

// get fetches once. Redirects are not followed: nobody but the configuration says where keys come from.
func (r *Remote) get(ctx context.Context, from source) (page, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from.url, nil)
	if err != nil {
		return page{}, errors.New("the URL can't be used")
	}
	request.Header.Set("Accept", from.accept)
	if from.etag != "" {
		request.Header.Set("If-None-Match", from.etag)
	}
	answer, err := r.client.Do(request)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) { // its text holds the URL, whose query may be confidential
			err = wrapped.Err
		}
		return page{}, fmt.Errorf("fetch %s: %w", from.what, err)
	}
	defer answer.Body.Close()
	return from.read(answer)
}

func (from *source) read(answer *http.Response) (page, error) {
	p := page{etag: answer.Header.Get("ETag"), fresh: freshness(answer.Header.Get("Cache-Control"))}
	if answer.StatusCode == http.StatusNotModified && from.etag != "" {
		return p, nil
	}
	if answer.StatusCode != http.StatusOK {
		return page{}, fmt.Errorf("fetch %s: status %d", from.what, answer.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, int64(from.max)+1))
	if err != nil {
		return page{}, fmt.Errorf("fetch %s: %w", from.what, err)
	}
	if len(body) > from.max {
		return page{}, fmt.Errorf("fetch %s: more than %d bytes", from.what, from.max)
	}
	p.body = body
	if p.body == nil {
		p.body = []byte{}
	}
	return p, nil
}

// freshness reads max-age (RFC 9111, 5.2.2.1) and keeps it between five minutes and an hour.
func freshness(control string) time.Duration {
	fresh := usualFresh
	for directive := range strings.SplitSeq(control, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "max-age":
			seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 32)
			if err != nil {
				return minFresh
			}
			fresh = time.Duration(seconds) * time.Second
		case "no-store", "no-cache":
			return minFresh
		}
	}
	return min(max(fresh, minFresh), maxFresh)
}
