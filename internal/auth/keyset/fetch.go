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

// CheckURL takes https URLs, and http ones on loopback. User names and fragments have no place in it.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Hostname() == "" {
		return errors.New("not a URL such as https://id.example.com/jwks.json")
	}
	if u.User != nil || u.Fragment != "" {
		return errors.New("a key set URL has no user name and no fragment")
	}
	if u.Scheme == "https" || (u.Scheme == "http" && loopback(u.Hostname())) {
		return nil
	}
	return errors.New("keys are fetched over https, or over http from loopback only")
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

// get fetches the key set once. Redirects are not followed: nobody but the configuration says where keys come from.
func (r *Remote) get(ctx context.Context) (page, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, nil)
	if err != nil {
		return page{}, errors.New("the URL can't be used")
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	if r.etag != "" {
		request.Header.Set("If-None-Match", r.etag)
	}
	answer, err := r.client.Do(request)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) { // its text holds the URL, whose query may be confidential
			err = wrapped.Err
		}
		return page{}, fmt.Errorf("fetch keys: %w", err)
	}
	defer answer.Body.Close()
	return read(answer, r.etag != "")
}

func read(answer *http.Response, conditional bool) (page, error) {
	p := page{etag: answer.Header.Get("ETag"), fresh: freshness(answer.Header.Get("Cache-Control"))}
	if answer.StatusCode == http.StatusNotModified && conditional {
		return p, nil
	}
	if answer.StatusCode != http.StatusOK {
		return page{}, fmt.Errorf("fetch keys: status %d", answer.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, MaxBody+1))
	if err != nil {
		return page{}, fmt.Errorf("fetch keys: %w", err)
	}
	if len(body) > MaxBody {
		return page{}, fmt.Errorf("fetch keys: more than %d bytes", MaxBody)
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
