package e2e

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority signs the certificates of the tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func pemText(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func signed(t *testing.T, c *x509.Certificate, by *authority) (der []byte, key *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, _ = rand.Int(rand.Reader, big.NewInt(1<<62))
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	c.NotBefore = c.NotAfter.Add(-2 * time.Hour)
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	if der, err = x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer); err != nil {
		t.Fatal(err)
	}
	return der, key
}

func newAuthority(t *testing.T, name string, by *authority) *authority {
	t.Helper()
	der, key := signed(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, by)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func (a *authority) pem() string { return pemText(a.cert.Raw) }

// client signs a client's certificate with the URI as its name.
func (a *authority) client(t *testing.T, uri string, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{Subject: pkix.Name{CommonName: "acme"}, URIs: []*url.URL{u}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if change != nil {
		change(c)
	}
	der, key := signed(t, c, a)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

const certificateDocument = `upstreams: { up: { targets: [%q] } }
client_certificates:
  partners:
    clients:
      - { id: acme, uri: "spiffe://acme.test/*", scopes: ["orders:read"], claims: { tier: gold } }
      - { id: beta, uri: "spiffe://beta.test/orders" }
rate_limits: { gold: { rate: 1000/s, by: client } }
routes:
  - { id: certs, match: { path: /certs }, auth: { certificates: [partners], require: { scopes: ["orders:read"] } }, rate_limits: [gold], forward: { claims: { X-Client: sub, X-Tier: tier } }, to: up }
  - { id: either, match: { path: /either }, auth: { certificates: [partners], issuers: [main] }, forward: { claims: { X-Client: sub } }, to: up }
  - { id: open, match: { path: /open }, auth: none, to: up }
`

// tlsGateway is a gateway with TLS that asks for certificates of the CAs in a file.
func tlsGateway(t *testing.T, how, roots, document string) (g *gateway, file string) {
	t.Helper()
	g = prepare(t, document)
	return g, g.offersTLS(how, roots)
}

// offersTLS has the port of a gateway that has not begun ask for certificates, and gives the file of its CAs.
func (g *gateway) offersTLS(how, roots string) (file string) {
	g.t.Helper()
	der, key := signed(g.t, &x509.Certificate{DNSNames: []string{"api.test"}}, nil)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	both := store(g.t, "port.pem", pemText(der)+pemOf(g.t, "PRIVATE KEY", pkcs8, err))
	file = store(g.t, "clients.pem", roots)
	g.replace("listen: {", fmt.Sprintf("listen: { tls: { certificates: [{ cert: %q, key: %q }], client_ca: %q, client_auth: %s },", both, both, file, how))
	return file
}

// over asks on a new connection; err is nil when an answer came.
func (g *gateway) over(cfg *tls.Config, path, host string, fields ...string) (spoken, error) {
	g.t.Helper()
	cfg.InsecureSkipVerify = true
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 3 * time.Second}, "tcp", g.address, cfg)
	if err != nil {
		return spoken{}, err
	}
	defer c.Close()
	return ask(c, path, host, fields...)
}

func ask(c net.Conn, path, host string, fields ...string) (spoken, error) {
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: "+host+"\r\n"+strings.Join(append(fields, ""), "\r\n")+"\r\n"); err != nil {
		return spoken{}, err
	}
	got, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return spoken{}, err
	}
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	return spoken{status: got.StatusCode, header: got.Header, body: string(body)}, err
}

func showing(certs ...tls.Certificate) *tls.Config {
	return &tls.Config{ServerName: "api.test", Certificates: certs}
}

func asHost(name string, certs ...tls.Certificate) *tls.Config {
	return &tls.Config{ServerName: name, Certificates: certs, InsecureSkipVerify: true}
}

func TestClientCertificates(t *testing.T) {
	ca := newAuthority(t, "ca", nil)
	middle := newAuthority(t, "middle", ca)
	g, _ := tlsGateway(t, "optional", ca.pem(), fmt.Sprintf(certificateDocument, newMirror(t).url))
	g.start()
	t.Cleanup(g.kill)
	acme, beta, stranger := ca.client(t, "spiffe://acme.test/orders", nil), ca.client(t, "spiffe://beta.test/orders", nil), ca.client(t, "spiffe://stranger.test/orders", nil)
	below := middle.client(t, "spiffe://acme.test/eu", nil)
	below.Certificate = append(below.Certificate, middle.cert.Raw)
	forged := []string{"X-Client: root", "X-SSL-Client-Verify: SUCCESS", "X-Client-Cert: x", "X-Forwarded-Client-Cert: URI=spiffe://acme.test/orders", "Client-Cert: :x:", "X_SSL_Cert: x"}
	token := "Authorization: Bearer " + hs(t)
	for name, c := range map[string]struct {
		cfg       *tls.Config
		path      string
		fields    []string
		status    int
		challenge string
		client    string
	}{
		"known":                  {showing(acme), "/certs", forged, 200, "", "acme"},
		"with its chain":         {showing(below), "/certs", nil, 200, "", "acme"},
		"scope missing":          {showing(beta), "/certs", nil, 403, `Certificate realm="oncegate", error="insufficient_scope", scope="orders:read"`, ""},
		"in no list":             {showing(stranger), "/certs", forged, 401, `Certificate realm="oncegate"`, ""},
		"none":                   {showing(), "/certs", forged, 401, `Certificate realm="oncegate"`, ""},
		"none, either":           {showing(), "/either", nil, 401, "(several)", ""},
		"either, certificate":    {showing(beta), "/either", nil, 200, "", "beta"},
		"either, token":          {showing(), "/either", []string{token}, 200, "", "alice"},
		"token before it":        {showing(beta), "/either", []string{token}, 200, "", "alice"},
		"bad token before it":    {showing(beta), "/either", []string{token + "x"}, 401, tokenChallenge, ""},
		"stranger with a token":  {showing(stranger), "/either", []string{token}, 200, "", "alice"},
		"token, no certificates": {showing(), "/certs", []string{token}, 401, `Certificate realm="oncegate"`, ""},
		"open":                   {showing(stranger), "/open", forged, 200, "", ""},
	} {
		got, err := g.over(c.cfg, c.path, "api.test", c.fields...)
		if err != nil || got.status != c.status || got.one("WWW-Authenticate") != c.challenge {
			t.Errorf("%s: %d %q, %v: %s", name, got.status, got.one("WWW-Authenticate"), err, got.body)
		}
		if client := got.sent("X-Client"); c.status == 200 && strings.Join(client, ",") != c.client {
			t.Errorf("%s: the upstream saw %q", name, client)
		}
		for _, field := range forged[1:] {
			if field, _, _ = strings.Cut(strings.ReplaceAll(field, "_", "-"), ":"); got.sent(field) != nil {
				t.Errorf("%s: the upstream saw %s", name, field)
			}
		}
	}
	for _, line := range []string{`gateway_auth_total{`} {
		_, text := g.get(g.admin, "/metrics")
		if !strings.Contains(text, "no_such_certificate") || !strings.Contains(text, `"partners"`) {
			t.Errorf("metrics %s: %.400s", line, text)
		}
	}
	g.soundLog(strings.TrimPrefix(token, "Authorization: Bearer "))
	code, out, _ := command(t, "", "explain", "-config", g.file, "-cert", store(t, "c.pem", pemText(acme.Certificate[0])), "GET", "https://api.test/certs")
	if code != 0 || !strings.Contains(out, "acme") || !strings.Contains(out, "client certificate of list partners") || !strings.Contains(out, "421") {
		t.Errorf("explain: %d %s", code, out)
	}
}

// Case 69: expired, of another CA, not for clients: the handshake fails, also where certificates are optional.
func TestBadCertificatesEndTheHandshake(t *testing.T) {
	ca, other := newAuthority(t, "ca", nil), newAuthority(t, "ca", nil)
	for _, how := range []string{"optional", "require"} {
		g, _ := tlsGateway(t, how, ca.pem(), fmt.Sprintf(certificateDocument, newMirror(t).url))
		g.start()
		t.Cleanup(g.kill)
		for name, cert := range map[string]tls.Certificate{
			"other CA":    other.client(t, "spiffe://acme.test/a", nil),
			"expired":     ca.client(t, "spiffe://acme.test/a", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
			"not yet":     ca.client(t, "spiffe://acme.test/a", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(3 * time.Hour) }),
			"for servers": ca.client(t, "spiffe://acme.test/a", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }),
		} {
			cfg := &tls.Config{ServerName: "api.test", GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }}
			if got, err := g.over(cfg, "/open", "api.test"); err == nil {
				t.Errorf("%s, %s: answered %d", how, name, got.status)
			}
		}
		if _, err := g.over(showing(), "/open", "api.test"); (err == nil) != (how == "optional") {
			t.Errorf("%s without a certificate: %v", how, err)
		}
	}
}

// A certificate that ends while its connection lives identifies nobody any more.
func TestCertificateEndsBeforeItsConnection(t *testing.T) {
	ca := newAuthority(t, "ca", nil)
	g, _ := tlsGateway(t, "require", ca.pem(), fmt.Sprintf(certificateDocument, newMirror(t).url))
	g.start()
	t.Cleanup(g.kill)
	cfg := showing(ca.client(t, "spiffe://acme.test/a", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(4 * time.Second) }))
	cfg.InsecureSkipVerify = true
	c, err := tls.Dial("tcp", g.address, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, err := ask(c, "/certs", "api.test"); err != nil || got.status != 200 {
		t.Fatalf("%d, %v", got.status, err)
	}
	g.eventually("refused", func() bool {
		got, err := ask(c, "/certs", "api.test")
		if err != nil {
			t.Fatal(err)
		}
		return got.status == 401
	})
}

// Case 70: the host of a request is that of its connection.
func TestHostAndSNI(t *testing.T) {
	ca := newAuthority(t, "ca", nil)
	g, _ := tlsGateway(t, "optional", ca.pem(), fmt.Sprintf(certificateDocument, newMirror(t).url))
	g.start()
	t.Cleanup(g.kill)
	acme := ca.client(t, "spiffe://acme.test/a", nil)
	for _, c := range []struct {
		sni, host, path string
		want            int
	}{
		{"a.test", "a.test", "/certs", 200}, {"A.test", "a.TEST:8443", "/certs", 200}, {"a.test", "b.test", "/certs", 421}, {"a.test", "b.test", "/either", 421},
		{"a.test", "b.test", "/open", 200}, {"a.test", "127.0.0.1", "/certs", 421}, {"", "127.0.0.1", "/certs", 200}, {"", "a.test", "/certs", 421},
	} {
		got, err := g.over(&tls.Config{ServerName: c.sni, Certificates: []tls.Certificate{acme}}, c.path, c.host)
		if err != nil || got.status != c.want || c.want == 421 && got.kind() != "misdirected" {
			t.Errorf("SNI %q, Host %q, %s: %d %s, %v", c.sni, c.host, c.path, got.status, got.kind(), err)
		}
	}
}

func TestClientCAsAreReadAgain(t *testing.T) {
	first, second := newAuthority(t, "first", nil), newAuthority(t, "second", nil)
	g, file := tlsGateway(t, "require", first.pem(), fmt.Sprintf(certificateDocument, newMirror(t).url))
	g.start()
	t.Cleanup(g.kill)
	answered := func(cert tls.Certificate) bool {
		got, err := g.over(showing(cert), "/certs", "api.test")
		return err == nil && got.status == 200
	}
	old, fresh := first.client(t, "spiffe://acme.test/a", nil), second.client(t, "spiffe://acme.test/a", nil)
	if !answered(old) || answered(fresh) {
		t.Fatal("the first CA does not serve alone")
	}
	if err := os.WriteFile(file, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.eventually("said", func() bool { _ = answered(old); return strings.Contains(g.log.String(), "last good ones stay") })
	if !answered(old) {
		t.Error("a broken file took the CA away")
	}
	connect := func(cert tls.Certificate) net.Conn {
		c, err := tls.Dial("tcp", g.address, asHost("api.test", cert))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if got, err := ask(c, "/open", "api.test"); err != nil || got.status != 200 {
			t.Fatalf("%d, %v", got.status, err)
		}
		return c
	}
	gone, kept := connect(old), connect(old)
	multiplexed := &http.Client{Transport: &http.Transport{
		TLSClientConfig: asHost("api.test", old), ForceAttemptHTTP2: true, MaxConnsPerHost: 1,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", g.address)
		},
	}, Timeout: 10 * time.Second}
	t.Cleanup(multiplexed.CloseIdleConnections)
	overH2 := func() int {
		got, err := multiplexed.Get("https://api.test/open")
		if err != nil {
			return 0
		}
		defer got.Body.Close()
		_, _ = io.Copy(io.Discard, got.Body)
		return got.StatusCode*10 + got.ProtoMajor
	}
	if got := overH2(); got != 2002 {
		t.Fatalf("over HTTP/2: %d", got)
	}
	if err := os.WriteFile(file, []byte(first.pem()+second.pem()), 0o600); err != nil {
		t.Fatal(err)
	}
	g.eventually("both CAs serve", func() bool { return answered(fresh) })
	for range 2 {
		if got, err := ask(kept, "/certs", "api.test"); err != nil || got.status != 200 {
			t.Errorf("a connection whose CA stays: %d, %v", got.status, err)
		}
	}
	if err := os.WriteFile(file, []byte(second.pem()), 0o600); err != nil {
		t.Fatal(err)
	}
	g.eventually("the first CA is taken away", func() bool { return !answered(old) })
	if got, err := ask(gone, "/open", "api.test"); err != nil || got.status != 421 || got.kind() != "misdirected" {
		t.Errorf("an open connection whose CA is gone: %d, %v", got.status, err)
	}
	if _, err := ask(gone, "/open", "api.test"); err == nil {
		t.Error("it goes on")
	}
	if got := overH2(); got != 4212 {
		t.Errorf("an open HTTP/2 connection whose CA is gone: %d", got)
	}
	if got := overH2(); got != 0 {
		t.Errorf("over HTTP/2 it goes on: %d", got)
	}
	g.eventually("the second CA serves", func() bool { return answered(fresh) })
	if answered(old) {
		t.Error("the first CA still serves")
	}
}

// Case 69: CAs that can't be read stop check and start, and so does a route that no certificate can reach.
func TestClientCertificateDocuments(t *testing.T) {
	ca := newAuthority(t, "ca", nil)
	document := fmt.Sprintf(certificateDocument, "http://127.0.0.1:1")
	for name, c := range map[string]struct{ old, new, want string }{
		"missing file":   {"client_ca: ", "client_ca: /none", "client_ca: can't read"},
		"nobody asks":    {"client_auth: require", "client_auth: none", "client_certificates"},
		"nobody asks, 2": {"client_auth: require", "client_auth: none", "asks nobody for a certificate"},
		"unknown list":   {"certificates: [partners], issuers", "certificates: [partner], issuers", "unknown list of clients"},
		"nothing told":   {`uri: "spiffe://beta.test/orders"`, "scopes: [a]", "one of uri, dns, email and sha256"},
		"shadowed":       {`uri: "spiffe://beta.test/orders"`, `uri: "spiffe://acme.test/x"`, "no certificate ever gets here"},
	} {
		g, file := tlsGateway(t, "require", ca.pem(), document)
		if c.new == "client_ca: /none" {
			c.old, c.new = file, "/none/ca.pem"
			c.want = "can't read the roots"
		}
		if name == "nobody asks" {
			c.want = "client_ca" // it does nothing then
		}
		g.replace(c.old, c.new)
		for _, verb := range []string{"check", "run"} {
			code, out, failure := command(t, filepath.Dir(g.file), verb, "-config", g.file)
			if code == 0 || !strings.Contains(out+failure, c.want) {
				t.Errorf("%s, %s: %d %s%s", name, verb, code, out, failure)
			}
			if verb == "check" && !strings.Contains(out+failure, "gateway.yaml:") {
				t.Errorf("%s: no line: %s%s", name, out, failure)
			}
		}
	}
	for _, text := range []string{"", "nonsense", strings.Replace(ca.pem(), "M", "!", 1)} {
		g, _ := tlsGateway(t, "require", text, document)
		if code, out, failure := command(t, "", "check", "-config", g.file); code == 0 || !strings.Contains(out+failure, "client") {
			t.Errorf("%.20q: %d %s%s", text, code, out, failure)
		}
	}
}
