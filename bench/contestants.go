package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func scenarios() []scenario {
	bareProxy := contestant{name: "bare fasthttp proxy", start: bareStart}
	return []scenario{
		{"plain", "one route, no policy; access log to a file and metrics on", get, []contestant{
			bareProxy, ours(documentPlain), {name: "nginx", start: nginx}, {name: "haproxy", start: haproxy}}, nil},
		{"chain", "RS256 token seen before, one limit, breaker, metrics, access log to a file", get, []contestant{
			bareProxy, ours(documentChain)}, nil},
		{"http2", "HTTP/2 on clear text from the client, HTTP/1.1 to the origin; no policy; access log to a file", get, []contestant{
			{name: "httputil.ReverseProxy", start: reverseStart(word("h1"), originAddress)}, ours(documentPlain)},
			func(address string, n int) error { return load2("http", address, n) }},
		{"http2-tls", "the same with TLS from the client", get, []contestant{
			{name: "httputil.ReverseProxy", start: reverseStart((*bench).certificate, originAddress)}, ours(documentTLS)},
			func(address string, n int) error { return load2("https", address, n) }},
		{"grpc", "unary calls of 1 KiB each way, HTTP/2 on clear text on both sides; no policy; access log to a file", get, []contestant{
			{name: "httputil.ReverseProxy", start: reverseStart(word("h2"), calleeAddress)}, ours(documentGRPC)}, loadGRPC},
		{"post", "POST of 1 KiB, no policy", post, []contestant{bareProxy, ours(documentPlain)}, nil},
		{"routes", "10 routes against 10,000", get, []contestant{
			{name: "oncegate, 10 routes", start: oncegate(documentRoutes(10))}, {name: "oncegate, 10,000 routes", start: oncegate(documentRoutes(10000))}}, nil},
	}
}

func documentPlain(b *bench) string {
	return fmt.Sprintf("upstreams: { up: { targets: [\"http://%s\"] } }\nroutes:\n  - { id: all, match: { path: /** }, auth: none, body: 100MiB, to: up }\n", b.origin.address)
}

// tlsMark begins a document that says more of listen, up to the end of its line.
const tlsMark = "#listen:"

func documentTLS(b *bench) string {
	path, err := b.certificate()
	fail(err)
	return fmt.Sprintf("%s tls: { certificates: [{ cert: %q, key: %q }] },\n%s", tlsMark, path, path, documentPlain(b))
}

func documentGRPC(b *bench) string {
	return fmt.Sprintf("upstreams: { up: { targets: [\"grpc://%s\"] } }\nroutes:\n  - { id: all, match: { path: /** }, auth: none, to: up }\n", calleeAddress(b))
}

func documentChain(b *bench) string {
	return fmt.Sprintf(`issuers: { main: { issuer: "https://id.test/", audiences: [bench], keys: [%q], algorithms: [RS256] } }
rate_limits: { per-client: { rate: 1000000/s, burst: 1000000, by: client } }
upstreams: { up: { targets: ["http://%s"], breaker: {} } }
routes:
  - { id: orders, match: { path: "/api/orders/{id}" }, auth: { issuers: [main], require: { scopes: ["orders:read"] } }, rate_limits: [per-client], to: up }
`, b.key(), b.origin.address)
}

func documentRoutes(n int) func(b *bench) string {
	return func(b *bench) string {
		var s strings.Builder
		s.WriteString(documentPlain(b))
		for i := range n - 1 {
			fmt.Fprintf(&s, "  - { id: r%d, match: { path: \"/api/v%d/things/{id}\" }, auth: none, to: up }\n", i, i)
		}
		return s.String()
	}
}

// key is the path of an RSA key, made once.
func (b *bench) key() string {
	path := filepath.Join(b.dir, "key.pem")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	fail(err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	fail(err)
	fail(os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	return path
}

func nginx(b *bench) (*process, error) {
	path, err := exec.LookPath("nginx")
	if err != nil {
		return nil, nil //nolint:nilnil // not installed: left out of the table
	}
	address := freeAddress()
	conf := filepath.Join(b.dir, "nginx.conf")
	text := fmt.Sprintf(`daemon off; pid %s/nginx.pid; error_log /dev/null; worker_processes 2; events { worker_connections 1024; }
http { access_log off; client_body_temp_path %s; proxy_temp_path %s; fastcgi_temp_path %s; uwsgi_temp_path %s; scgi_temp_path %s;
 upstream up { server %s; keepalive 128; } keepalive_requests 10000000;
 server { listen %s; location / { proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; } } }
`, b.dir, b.dir, b.dir, b.dir, b.dir, b.dir, b.origin.address, address)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return spawn(address, os.DevNull, path, "-e", "/dev/null", "-c", conf)
}

func haproxy(b *bench) (*process, error) {
	path, err := exec.LookPath("haproxy")
	if err != nil {
		return nil, nil //nolint:nilnil // not installed: left out of the table
	}
	address := freeAddress()
	conf := filepath.Join(b.dir, "haproxy.cfg")
	text := fmt.Sprintf(`global
 nbthread 2
defaults
 mode http
 timeout connect 5s
 timeout client 60s
 timeout server 60s
 option http-keep-alive
 http-reuse always
frontend f
 bind %s
 default_backend b
backend b
 server s %s
`, address, b.origin.address)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return spawn(address, os.DevNull, path, "-f", conf)
}
