package e2e

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"
)

func (g *gateway) metricsText() string { _, text := g.get(g.admin, "/metrics"); return text }

// Every field of the contract stands in every line with its type, and nothing that a client keeps secret stands anywhere.
func TestProxyAccessLog(t *testing.T) {
	o := newOrigin(t)
	g := begin(t, fmt.Sprintf(`upstreams: { up: { targets: [%q] } }
routes:
  - { id: open, match: { path: /open/** }, auth: none, to: up }
  - { id: own, match: { path: /own }, auth: { issuers: [main] }, dedup: { key: required }, to: up }
`, o.url))
	o.at("/own?q=PLANTED-query", gives("HTTP/1.1 200 OK\r\nSet-Cookie: s=PLANTED-cookie\r\nContent-Length: 14\r\n\r\nPLANTED-answer"))
	token := g.token()
	for _, in := range []string{
		"POST /own?q=PLANTED-query HTTP/1.1\r\nHost: a\r\nX-Request-Id: good\r\nAuthorization: " + token + "\r\nIdempotency-Key: PLANTED-key\r\nCookie: PLANTED\r\nContent-Length: 12\r\n\r\nPLANTED-body",
		"POST /own HTTP/1.1\r\nHost: a\r\nX-Request-Id: denied\r\nAuthorization: Bearer PLANTED.token.x\r\nContent-Length: 0\r\n\r\n",
		"GET /open/x?PLANTED HTTP/1.1\r\nHost: PLANTED.test\r\nAuthorization: Basic PLANTED\r\nCookie: a=PLANTED\r\n\r\n",
		"GET /nowhere?PLANTED HTTP/1.1\r\nHost: a\r\nX-Request-Id: lost\r\nX-Secret: PLANTED\r\n\r\n",
		"GET /%00PLANTED HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nHost: PLANTED\r\nCookie: PLANTED\r\n\r\n",
		"PLANTED\r\n\r\n",
		"POST /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nPLANTED\r\n",
	} {
		g.dialog().say(in).hear("POST")
	}
	lines := g.accessLines(8)
	if len(lines) != 8 {
		t.Errorf("%d lines for 8 requests", len(lines))
	}
	if text := g.log.String(); strings.Contains(text, "PLANTED") || strings.Contains(text, strings.TrimPrefix(token, "Bearer ")) {
		t.Errorf("a secret stands in the log: %s", text)
	}
	texts := []string{"time", "level", "msg", "request_id", "trace_id", "route", "method", "path", "kind", "client", "peer", "upstream", "target"}
	numbers := []string{"status", "attempts", "duration_ms", "upstream_ms", "bytes_in", "bytes_out"}
	for _, line := range lines {
		for _, key := range texts {
			if _, ok := line[key].(string); !ok {
				t.Errorf("%s is %T in %v", key, line[key], line)
			}
		}
		for _, key := range numbers {
			if n, ok := line[key].(float64); !ok || n < 0 {
				t.Errorf("%s is %v in %v", key, line[key], line)
			}
		}
		if at, err := time.Parse(time.RFC3339, line["time"].(string)); err != nil || time.Since(at) > time.Minute || len(line["trace_id"].(string)) != 32 {
			t.Errorf("%v", line)
		}
	}
	good, denied, lost := g.lineOf("good"), g.lineOf("denied"), g.lineOf("lost")
	for key, want := range map[string]any{"route": "own", "method": "POST", "path": "/own", "status": 200.0, "kind": "", "client": "alice", "upstream": "up", "target": strings.TrimPrefix(o.url, "http://"),
		"attempts": 1.0, "bytes_in": 12.0, "bytes_out": 14.0} {
		if good[key] != want {
			t.Errorf("%s is %v, wanted %v", key, good[key], want)
		}
	}
	if denied["status"] != 401.0 || denied["kind"] != "unauthenticated" || denied["attempts"] != 0.0 || lost["route"] != "" || lost["status"] != 404.0 {
		t.Errorf("%v %v", denied, lost)
	}
}

// Every name of the contract has exactly its labels, their values come from the document, and gauges go back to zero.
func TestProxyMetrics(t *testing.T) {
	o := newOrigin(t)
	g := begin(t, fmt.Sprintf(`upstreams: { up: { targets: [%q], breaker: { minimum: 20 } } }
rate_limits: { tight: { rate: 1/m, burst: 1, by: ip } }
routes:
  - { id: limited, match: { path: /limited }, auth: none, rate_limits: [tight], to: up }
  - { id: own, match: { path: /own }, auth: { issuers: [main] }, dedup: { key: required }, to: up }
`, o.url))
	for _, in := range []string{"GET /limited", "GET /limited", "FROB /limited", "GET /nowhere-secret", "POST /own"} {
		fields := ""
		if in == "POST /own" {
			fields = "Authorization: " + g.token() + "\r\nIdempotency-Key: k\r\nContent-Length: 0\r\n"
		}
		g.dialog().say(in + " HTTP/1.1\r\nHost: secret.test\r\nConnection: close\r\n" + fields + "\r\n").rest()
	}
	g.accessLines(5)
	want := map[string]string{
		"gateway_requests_total": "method route status", "gateway_request_duration_seconds_count": "route", "gateway_refusals_total": "kind route", "gateway_in_flight": "route",
		"gateway_upstream_requests_total": "outcome upstream", "gateway_upstream_duration_seconds_count": "upstream", "gateway_breaker_state": "upstream",
		"gateway_ratelimit_decisions_total": "decision policy", "gateway_dedup_total": "result route", "gateway_config_reloads_total": "result",
		"gateway_config_last_reload_success": "", "gateway_build_info": "fasthttp goversion version",
	}
	text := g.metricsText()
	label := regexp.MustCompile(`(\w+)="`)
	found := map[string]bool{}
	for _, line := range strings.Split(text, "\n") {
		name := line[:strings.IndexAny(line+" ", "{ ")]
		labels, known := want[name]
		if !known {
			continue
		}
		found[name] = true
		var got []string
		for _, m := range label.FindAllStringSubmatch(line, -1) {
			got = append(got, m[1])
		}
		sort.Strings(got)
		if strings.Join(got, " ") != labels {
			t.Errorf("%s has the labels %v, wanted %s", line, got, labels)
		}
		if name == "gateway_in_flight" && !strings.HasSuffix(line, " 0") {
			t.Error(line)
		}
	}
	for name := range want {
		if !found[name] {
			t.Errorf("%s is missing", name)
		}
	}
	for _, line := range []string{
		`gateway_requests_total{method="GET",route="limited",status="200"} 1`, `gateway_requests_total{method="GET",route="limited",status="429"} 1`,
		`gateway_requests_total{method="other",route="limited",status="429"} 1`, `gateway_requests_total{method="GET",route="none",status="404"} 1`,
		`gateway_refusals_total{kind="rate-limited",route="limited"} 2`, `gateway_refusals_total{kind="not-found",route="none"} 1`,
		`gateway_request_duration_seconds_count{route="limited"} 3`, `gateway_upstream_requests_total{outcome="success",upstream="up"} 2`,
		`gateway_upstream_duration_seconds_count{upstream="up"} 2`, `gateway_breaker_state{upstream="up"} 0`,
	} {
		if !slices.Contains(strings.Split(text, "\n"), line) {
			t.Errorf("%s is missing", line)
		}
	}
	if strings.Contains(text, "secret") || strings.Contains(text, "FROB") {
		t.Error("a label comes from a request")
	}
}

// pair writes a certificate for localhost with its key.
func pair(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	signer := newEd25519(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.private.Public(), signer.private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(signer.private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(file+".new", pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func (g *gateway) secure(name string, max uint16) (*tls.Conn, error) {
	c, err := tls.Dial("tcp", g.address, &tls.Config{InsecureSkipVerify: true, ServerName: name, MaxVersion: max, NextProtos: []string{"http/1.1"}})
	if err == nil {
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	}
	return c, err
}

// TLS on the port: the certificate by name, the oldest version, and a renewed file without a restart.
func TestProxyTLS(t *testing.T) {
	dir := t.TempDir()
	certA, keyA := pair(t, dir, "localhost")
	certB, keyB := pair(t, dir, "other.test")
	o := newOrigin(t)
	g := edged(t, o, fmt.Sprintf("tls: { certificates: [{ cert: %q, key: %q }, { cert: %q, key: %q }], min_version: \"1.3\" }", certA, keyA, certB, keyB), "")
	serial := func(name string) string {
		c, err := g.secure(name, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if a := dialogOn(t, c).say("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").hear("GET"); a.status != 200 || c.ConnectionState().NegotiatedProtocol != "http/1.1" ||
			!strings.Contains(o.last().head, "\r\nX-Forwarded-Proto: https\r\n") {
			t.Errorf("%d, %q, %q", a.status, c.ConnectionState().NegotiatedProtocol, o.last().head)
		}
		leaf := c.ConnectionState().PeerCertificates[0]
		return leaf.DNSNames[0] + " " + leaf.SerialNumber.String()
	}
	before := serial("localhost")
	if other := serial("other.test"); !strings.HasPrefix(other, "other.test ") || !strings.HasPrefix(before, "localhost ") || serial("unknown.test") != before {
		t.Errorf("%s, %s", before, other)
	}
	if c, err := g.secure("localhost", tls.VersionTLS12); err == nil {
		c.Close()
		t.Error("TLS 1.2 was taken")
	}
	pair(t, dir, "localhost")
	g.eventually("the renewed certificate", func() bool { return serial("localhost") != before })
}

// An https upstream is verified: by the roots and the name that the document gives, or not at all.
func TestProxyHTTPSUpstream(t *testing.T) {
	cert, key := pair(t, t.TempDir(), "localhost")
	loaded, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{loaded}})
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	o := originOn(t, ln, "https://127.0.0.1:"+port)
	for settings, status := range map[string]int{
		fmt.Sprintf(", tls: { ca: %q, server_name: localhost }", cert): 200, fmt.Sprintf(", tls: { ca: %q, server_name: other.test }", cert): 502, ", tls: { server_name: localhost }": 502,
	} {
		g := edged(t, o, "", settings)
		if a := g.dialog().say("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").hear("GET"); a.status != status {
			t.Errorf("%s: %d %s", settings, a.status, a.body)
		}
		g.kill()
	}
	if o.count() != 1 {
		t.Errorf("%d requests reached the upstream", o.count())
	}
}
