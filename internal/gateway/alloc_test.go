package gateway

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/auth"
	"github.com/oncegate/oncegate/internal/config"
	"github.com/oncegate/oncegate/internal/edge/h1"
	"github.com/oncegate/oncegate/internal/observe"
)

// rawUpstream answers every request with the same kilobyte and allocates nothing while it does.
func rawUpstream(t testing.TB) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	answer := append([]byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\nDate: Mon, 23 Nov 2026 06:00:00 GMT\r\n\r\n"), make([]byte, 1024)...)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 16<<10)
				for n := 0; ; {
					m, err := c.Read(buf[n:])
					if n += m; err != nil {
						return
					}
					if bytes.Contains(buf[:n], []byte("\r\n\r\n")) {
						n = 0
						_, _ = c.Write(answer)
					}
				}
			}()
		}
	}()
	return ln.Addr().String()
}

// rsaKey writes a key to a file.
func rsaKey(t testing.TB) string {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, _ := x509.MarshalPKCS8PrivateKey(key)
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// serveWhole runs everything between two sockets: edge, layers, upstream, metrics and access log.
func serveWhole(t testing.TB) (address, token string) {
	text := fmt.Sprintf(`version: 1
listen: { address: "127.0.0.1:0", drain: { notice: 0s, timeout: 1s }, addresses: { deny: [192.0.2.0/24] } }
admin: { address: "127.0.0.1:0" }
state: { store: memory }
issuers: { main: { issuer: "https://id.test/", audiences: [test], keys: [%[1]q], algorithms: [RS256] } }
rate_limits:
  wide: { rate: 1000000/s, burst: 1000000, by: client }
  narrow: { rate: 1/h, burst: 1, by: ip }
upstreams:
  up: { targets: ["http://%[2]s"], breaker: {} }
  full: { targets: ["http://%[2]s"], breaker: { slow: 1s }, bulkhead: { adaptive: true, queue: 8 }, retry: { announce: true } }
  next: { targets: ["http://%[2]s"], breaker: {}, bulkhead: {}, retry: {} }
routes:
  - { id: plain, match: { path: /plain }, auth: none, to: up }
  - { id: chain, match: { path: "/chain/{id}" }, auth: { issuers: [main], require: { scopes: [read] } }, rate_limits: [wide], to: up }
  - id: browsers
    match: { path: "/browsers/{id}", methods: [GET] }
    auth: { issuers: [main] }
    cors: { origins: [https://app.test, "https://*.pages.test"], credentials: true }
    security_headers: true
    addresses: { allow: [127.0.0.0/8], deny: [127.9.0.0/16] }
    to: up
  - { id: away, match: { path: /away }, auth: none, addresses: { deny: [127.0.0.0/8] }, to: up }
  - { id: guarded, match: { path: /guarded }, auth: none, to: full }
  - id: split
    match: { path: /v1/split }
    auth: none
    version: { name: v1, deprecated: 2026-01-31, link: "https://docs.test/v1" }
    rewrite: { strip_prefix: /v1, host: upstream, request_headers: { set: { X-Team: a }, remove: [X-Debug] } }
    fallback: [{ on: [open, connect], upstream: next }, { on: [5xx], respond: { status: 200, body: "[]" } }]
    to: { sticky: client, split: [{ upstream: full, weight: 9 }, { upstream: next, when: { headers: { X-Canary: "1" }, cookies: { c: d } } }] }
  - { id: fixed, match: { path: /fixed }, auth: none, to: { respond: { status: 200, body: ok, headers: { Content-Type: text/plain } } } }
  - { id: narrow, match: { path: /narrow }, auth: none, rate_limits: [narrow], to: up }
`, rsaKey(t), rawUpstream(t))
	result, err := config.Parse("test.yaml", []byte(text), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	doc := result.Document
	access, metrics, logger := observe.NewAccessLog(io.Discard), observe.NewMetrics(observe.BuildInfo{}), slog.New(slog.DiscardHandler)
	g, err := New(doc, NewState(metrics, observe.New(metrics, access, logger), logger))
	if err != nil {
		t.Fatal(err)
	}
	edge, err := h1.New(doc.Listen.Config, g, logger)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = edge.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = edge.Shutdown(ctx)
		_ = g.Close()
		_ = access.Close()
	})
	now := time.Now()
	claims := map[string]any{"iss": "https://id.test/", "aud": "test", "sub": "a", "scope": "read", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	if token, err = auth.Sign(doc.Issuers["main"], claims, now); err != nil {
		t.Fatal(err)
	}
	return ln.Addr().String(), token
}

// A request that passes, plain or through every policy, allocates nothing from socket to socket; one that is refused neither.
func TestTheWholeWayAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector has pools forget")
	}
	address, token := serveWhole(t)
	for _, c := range []struct{ name, path, token, want string }{
		{"plain", "/plain", "", "200"},
		{"chain", "/chain/17", token, "200"},
		{"page", "/browsers/17", token, "200"},
		{"page without token", "/browsers/17", "", "401"},
		{"kept out", "/away", "", "403"},
		{"breaker, bulkhead, retries", "/guarded", "", "200"},
		{"split, rewrite, fallback, version", "/v1/split", "", "200"},
		{"fixed answer", "/fixed", "", "200"},
		{"no token", "/chain/17", "", "401"},
		{"bad token", "/chain/17", token[:len(token)-8], "401"},
		{"limited", "/narrow", "", "429"},
		{"no route", "/nowhere", "", "404"},
	} {
		request := "GET " + c.path + " HTTP/1.1\r\nHost: a.example\r\nUser-Agent: test\r\nAccept: */*\r\nOrigin: https://app.test\r\n"
		if c.token != "" {
			request += "Authorization: Bearer " + c.token + "\r\n"
		}
		if n := allocations(t, address, []byte(request+"\r\n"), c.want); n >= 0.05 {
			t.Errorf("%s: %.3f allocations a request", c.name, n)
		}
	}
}

// allocations asks 2000 times over one connection and gives how many objects each request took, in the whole process.
func allocations(t *testing.T, address string, request []byte, status string) float64 {
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	buf := make([]byte, 8<<10)
	ask := func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		got := 0
		for !whole(buf[:got]) {
			n, err := c.Read(buf[got:])
			if got += n; err != nil {
				t.Fatalf("%v after %q", err, buf[:got])
			}
		}
	}
	for range 300 {
		ask()
	}
	if got := string(buf[len("HTTP/1.1 "):][:3]); got != status {
		t.Fatalf("status %s, want %s", got, status)
	}
	const rounds = 2000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range rounds {
		ask()
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / rounds
}

// whole reports that an answer with Content-Length is complete.
func whole(b []byte) bool {
	head := bytes.Index(b, []byte("\r\n\r\n"))
	if head < 0 {
		return false
	}
	at := bytes.Index(b[:head], []byte("Content-Length: "))
	if at < 0 {
		return true
	}
	length := 0
	for _, d := range b[at+len("Content-Length: "):] {
		if d < '0' || d > '9' {
			break
		}
		length = length*10 + int(d-'0')
	}
	return len(b) >= head+4+length
}
