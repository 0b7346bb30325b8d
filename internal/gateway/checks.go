package gateway

import (
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"

	"github.com/oncegate/oncegate/internal/config"
	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/statuscheck"
	"github.com/oncegate/oncegate/internal/upstream"
)

// check makes the status check of a route that has one.
func (c *compiler) check(r *config.RouteConfig) error {
	if r.Dedup == nil || r.Dedup.StatusCheck == nil {
		return nil
	}
	transport, clear := transports()
	u, err := url.Parse(r.Dedup.StatusCheck.URL)
	if err != nil {
		return fmt.Errorf("dedup.status_check.url: %w", err)
	}
	if up, named := c.doc.Upstreams[u.Hostname()]; named && u.Port() == "" {
		if transport.TLSClientConfig, err = upstream.ClientTLS(up.TLS); err != nil {
			return fmt.Errorf("upstreams.%s: %w", u.Hostname(), err)
		}
		if up.DNS != nil && up.TLS.ServerName == "" {
			transport.TLSClientConfig.ServerName = up.DNS.Name // the targets are addresses
		}
	}
	c.snap.closers = append(c.snap.closers, transport.CloseIdleConnections)
	asked := *r.Dedup.StatusCheck
	if r.Dedup.UpstreamDedup { // the next retry is sent again anyway; a "not executed" could be about a dispatch before the last
		asked.NotExecuted = nil
	}
	c.snap.closers = append(c.snap.closers, clear.CloseIdleConnections)
	checker, err := statuscheck.New(asked, schemes{transport, clear}, bases(c.snap.Upstreams))
	if err != nil {
		return err
	}
	c.snap.checks[r.ID] = dedup.Check{
		Checker: checker, Derived: r.Dedup.ForwardKey == "derived", Settle: r.Dedup.StatusCheck.Settle.Std(), KeepKey: r.Dedup.Keep.Key.Std(),
	}
	return nil
}

// transports are for targets of all schemes but h2c, and for those.
func transports() (usual, clear *http.Transport) {
	usual = http.DefaultTransport.(*http.Transport).Clone()
	usual.Proxy = nil
	usual.MaxConnsPerHost = 8
	clear = &http.Transport{DialContext: usual.DialContext, MaxConnsPerHost: 8, IdleConnTimeout: usual.IdleConnTimeout, Protocols: new(http.Protocols)}
	clear.Protocols.SetUnencryptedHTTP2(true)
	return usual, clear
}

// schemes knows the schemes of targets: h2c is HTTP/2 without TLS.
type schemes struct{ usual, clear http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (s schemes) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "h2c" {
		return s.usual.RoundTrip(r)
	}
	plain := r.Clone(r.Context())
	plain.URL.Scheme = "http"
	return s.clear.RoundTrip(plain)
}

// bases takes the place of an upstream's name in the URL of a status check.
func bases(ups map[string]*upstream.Upstream) statuscheck.Base {
	var turn atomic.Uint64
	return func(name string) (*url.URL, bool) {
		up := ups[name]
		if up == nil {
			return nil, false
		}
		targets := up.Targets()
		if len(targets) == 0 { // DNS gave none; the name of an upstream must not be taken for that of a host
			return &url.URL{Scheme: "http", Host: "no-target.invalid"}, true
		}
		u, err := url.Parse(targets[turn.Add(1)%uint64(len(targets))].URL)
		return u, err == nil
	}
}
