package e2e

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
)

// Pages, and clients that are told by a certificate: a browser shows none with a preflight, and needs one for all else.
func TestPagesAndCertificates(t *testing.T) {
	up, ca := serve(t, ok), newAuthority(t, "ca", nil)
	g := prepare(t, fmt.Sprintf(`upstreams: { up: { targets: [%q] } }
client_certificates: { partners: { clients: [ { id: acme, uri: "spiffe://acme.test/*" } ] } }
defaults: { cors: { origins: [https://app.example.com, "https://*.example.org"], credentials: true } }
routes:
  - { id: certs, match: { path: /certs }, auth: { certificates: [partners] }, to: up }
  - { id: maybe, match: { path: /maybe }, auth: { certificates: [partners], optional: true }, to: up }
`, up.url))
	g.offersTLS("optional", ca.pem())
	g.start()
	t.Cleanup(g.kill)
	none, acme, stranger := asHost("gw.test"), asHost("gw.test", ca.client(t, "spiffe://acme.test/a", nil)), asHost("gw.test", ca.client(t, "spiffe://x.test/a", nil))
	for _, cfg := range []*tls.Config{none, stranger, acme} {
		g.tls = cfg
		if a := g.speak(line("OPTIONS", "/certs", site, asks+"POST")); a.status != 204 || a.one("Access-Control-Allow-Credentials") != "true" {
			t.Errorf("preflight: %d %s", a.status, a.head)
		}
		for _, origin := range foreign {
			if a := g.speak(line("OPTIONS", "/certs", "Origin: "+origin, asks+"GET")); a.status != 403 || a.one("Access-Control-Allow-Origin")+a.one("Access-Control-Allow-Credentials") != "" {
				t.Errorf("preflight of %q: %d %s", origin, a.status, a.head)
			}
			a := g.speak(line("GET", "/certs", "Origin: "+origin))
			if want := map[bool]int{true: 200, false: 401}[cfg == acme]; a.status != want || a.one("Access-Control-Allow-Origin")+a.one("Access-Control-Allow-Credentials") != "" {
				t.Errorf("a page of %q: %d %s", origin, a.status, a.head)
			}
		}
		if cfg == acme {
			continue
		}
		for _, fields := range [][]string{nil, {site}, {asks + "GET"}, {"Origin: null"}} {
			if a := g.speak(line("OPTIONS", "/certs", fields...)); a.status != 401 {
				t.Errorf("%q is no preflight: %d", fields, a.status)
			}
		}
		if a := g.speak(line("GET", "/certs", site)); a.status != 401 || a.one("Access-Control-Allow-Origin") != "https://app.example.com" || !strings.Contains(a.one("Access-Control-Expose-Headers"), "WWW-Authenticate") {
			t.Errorf("a refusal: %d %s", a.status, a.head)
		}
	}
	g.tls = asHost("other.test", ca.client(t, "spiffe://acme.test/a", nil))
	if a := g.speak(line("GET", "/certs", site)); a.status != 421 || a.one("Access-Control-Allow-Origin") == "" {
		t.Errorf("another host's connection: %d %s", a.status, a.head)
	}
}

// A page that proves its key learns the nonce from the refusal and then passes.
func TestPagesProveKeys(t *testing.T) {
	g, _ := pagesGateway(t, ok)
	h := newHolder(t)
	a := speak(t, g.address, line("GET", "/proven", append(h.fields(h.proof("/proven")), site)...))
	nonce := a.one("DPoP-Nonce")
	if exposed := a.one("Access-Control-Expose-Headers"); a.status != 401 || nonce == "" || crossed(a) != readable || !strings.Contains(exposed, "DPoP-Nonce") || !strings.Contains(exposed, "WWW-Authenticate") {
		t.Errorf("%d %s", a.status, a.head)
	}
	if a := speak(t, g.address, line("GET", "/proven", append(h.fields(h.proof("/proven", "nonce", nonce)), site)...)); a.status != 200 || crossed(a) != readable {
		t.Errorf("%d %s", a.status, a.head)
	}
}
