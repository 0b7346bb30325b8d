package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// twins is a document with every kind of answer.
const twins = `rate_limits: { two: { rate: 1/h, burst: 2, by: ip } }
upstreams: { up: { targets: [%[1]q], timeout: { first_byte: 400ms, idle_body: 400ms } }, down: { targets: ["http://127.0.0.1:1"] } }
defaults: { auth: { issuers: [main] }, cors: { origins: [https://app.example.com] } }
routes:
  - { id: open, match: { path: /open/** }, auth: none, body: 64MiB, to: up }
  - { id: small, match: { path: /small/** }, auth: none, body: 1KiB, to: up }
  - { id: mine, match: { path: "/mine/{id}" }, to: up }
  - { id: scoped, match: { path: /scoped }, auth: { issuers: [main], require: { scopes: [admin] } }, to: up }
  - { id: limited, match: { path: /limited }, auth: none, rate_limits: [two], to: up }
  - { id: keyed, match: { path: /keyed/**, methods: [POST] }, dedup: { key: required }, to: up }
  - { id: down, match: { path: /down }, auth: none, to: down }
`

// operationRef depends on the store's secret.
var operationRef = regexp.MustCompile(`"operation_ref":"[A-Za-z0-9_-]{43}"`)

// twin is one way to speak to the gateway.
type twin struct {
	*gateway
	name   string
	client *http.Client
	scheme string
	bearer string
}

// twinsOf starts a gateway for each way, with an upstream of its own.
func twinsOf(t *testing.T) []*twin {
	t.Helper()
	return twinsWith(t, func() string { return fmt.Sprintf(twins, serve(t, twinUpstream).url) })
}

func twinsWith(t *testing.T, document func() string) []*twin {
	t.Helper()
	cert, key := pair(t, t.TempDir(), "localhost")
	var all []*twin
	for _, name := range []string{"h1", "h1+tls", "h2", "h2c"} {
		g := prepare(t, document())
		tw := &twin{gateway: g, name: name, scheme: "http"}
		if name == "h1+tls" || name == "h2" {
			g.replace("listen: {", fmt.Sprintf("listen: { tls: { certificates: [{ cert: %q, key: %q }] },", cert, key))
			tw.scheme = "https"
		}
		g.start()
		t.Cleanup(g.kill)
		tw.bearer = g.token("-scope", "orders")
		protocols := new(http.Protocols)
		protocols.SetHTTP1(name == "h1" || name == "h1+tls")
		protocols.SetHTTP2(name == "h2")
		protocols.SetUnencryptedHTTP2(name == "h2c")
		tr := &http.Transport{Protocols: protocols, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableCompression: true, ExpectContinueTimeout: 5 * time.Second}
		t.Cleanup(tr.CloseIdleConnections)
		tw.client = &http.Client{Transport: tr, Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		all = append(all, tw)
	}
	return all
}

// twinUpstream answers by path.
func twinUpstream(w http.ResponseWriter, r *http.Request) {
	switch last := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]; last {
	case "echo":
		body, err := io.ReadAll(r.Body)
		var lines []string
		for name, values := range r.Header {
			if name != "Traceparent" && name != "X-Forwarded-Proto" && name != "X-Forwarded-Host" && name != "Authorization" {
				lines = append(lines, fmt.Sprintf("%s: %q", name, values))
			}
		}
		slices.Sort(lines)
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Set-Cookie", "b=2")
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "gone")
		fmt.Fprintf(w, "%s %s %s\n%s\n%d %x %v", r.Method, r.RequestURI, r.Proto, strings.Join(lines, "\n"), len(body), sha256.Sum256(body), err)
	case "early":
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "no")
	case "big":
		for i := range 300 {
			_, _ = w.Write(bytes.Repeat([]byte{byte(i)}, 64<<10))
		}
	case "sized":
		w.Header().Set("Content-Length", "3000000")
		_, _ = w.Write(bytes.Repeat([]byte("x"), 3000000))
	case "broken":
		w.Header().Set("Content-Length", "100000")
		_, _ = w.Write(make([]byte, 50000))
		panic(http.ErrAbortHandler)
	case "hangs":
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	case "empty":
		w.WriteHeader(http.StatusNoContent)
	case "same":
		w.Header().Set("ETag", `"1"`)
		w.WriteHeader(http.StatusNotModified)
	default:
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Answer", "yes")
		_, _ = io.WriteString(w, "ok")
	}
}

// question is one request of a scenario. What may differ between ways is left out of the transcript.
type question struct {
	method, path string
	body         string
	fields       []string // name, value
	chunked      bool
	unread       bool // over HTTP/1.1 the head is not read to its end: the answer has an id of its own
	early        bool // how much of the body was taken hangs on timing
}

func (tw *twin) ask(id string, a question) string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var body io.Reader
	if a.body != "" {
		body = strings.NewReader(a.body)
	}
	if a.chunked {
		body = io.MultiReader(body)
	}
	r, err := http.NewRequestWithContext(ctx, a.method, tw.scheme+"://"+tw.address+a.path, body)
	if err != nil {
		return err.Error()
	}
	r.Host = "api.example.com"
	r.Header.Set("X-Request-Id", id)
	r.Header.Set("User-Agent", "twin")
	for i := 0; i+1 < len(a.fields); i += 2 {
		value := a.fields[i+1]
		if value == "BEARER" {
			value = tw.bearer
		}
		r.Header.Add(a.fields[i], value)
	}
	got, err := tw.client.Do(r)
	if err != nil {
		return "no answer" + tw.logged(id, a)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	said := fmt.Sprintf("%d", got.StatusCode)
	for name := range got.Header {
		if name != "Date" && name != "Connection" && (name != "Content-Length" || !a.unread) {
			said += fmt.Sprintf("\n%s: %q", name, got.Header[name])
		}
	}
	lines := strings.Split(said, "\n")
	slices.Sort(lines)
	shown := string(text)
	if len(text) > 4<<10 {
		shown = fmt.Sprintf("%d bytes, %x", len(text), sha256.Sum256(text))
	}
	if err != nil {
		shown = "broken off"
	}
	whole := strings.Join(lines, "\n") + "\n" + operationRef.ReplaceAllString(shown, `"operation_ref":"REF"`)
	if a.unread {
		return strings.ReplaceAll(whole, got.Header.Get("X-Request-Id"), "ID")
	}
	return whole + tw.logged(id, a)
}

// logged is what the access line says, but for times and sizes that hang on timing.
func (tw *twin) logged(id string, a question) string {
	line, said := tw.lineOf(id), "\n"
	for _, name := range []string{"status", "kind", "route", "method", "path", "sub", "attempts", "effect", "bytes_in", "replayed"} {
		if !a.early || name != "bytes_in" {
			said += fmt.Sprintf("%s=%v ", name, line[name])
		}
	}
	return said
}

// scenarios give equal answers whatever the client speaks.
var scenarios = []struct {
	name string
	asks []question
}{
	{"plain", []question{{method: "GET", path: "/open/x?a=1&b=%20"}}},
	{"fields reach the upstream", []question{
		{method: "GET", path: "/open/echo?q", fields: []string{"X-One", "1", "X-One", "2", "Cookie", "a=b", "X_Under", "score", "TE", "trailers", "X-Forwarded-For", "6.6.6.6", "X-Original-URL", "/admin", "X-Empty", ""}},
		{method: "POST", path: "/open/a%7Eb/echo", body: "hello", fields: []string{"Content-Type", "text/plain"}},
		{method: "POST", path: "/open/echo", body: "hello", chunked: true},
		{method: "PUT", path: "/open/echo", body: strings.Repeat("y", 300<<10), chunked: true},
		{method: "PATCH", path: "/open/echo", body: strings.Repeat("z", 3<<20)},
		{method: "POST", path: "/open/echo", body: "waits", fields: []string{"Expect", "100-continue"}},
		{method: "PROPFIND", path: "/open/echo"},
	}},
	{"head and bodiless answers", []question{{method: "HEAD", path: "/open/sized"}, {method: "HEAD", path: "/open/x"}, {method: "HEAD", path: "/nowhere"}, {method: "GET", path: "/open/empty"}, {method: "GET", path: "/open/same"}}},
	{"big answers", []question{{method: "GET", path: "/open/big"}, {method: "GET", path: "/open/sized"}}},
	{"an early answer", []question{{method: "POST", path: "/open/early", body: strings.Repeat("b", 200<<10), early: true}}},
	{"broken upstreams", []question{{method: "GET", path: "/open/broken"}, {method: "GET", path: "/open/hangs"}, {method: "GET", path: "/down"}, {method: "POST", path: "/down", body: "x"}}},
	{"no route", []question{{method: "GET", path: "/nowhere"}, {method: "GET", path: "/keyed/x"}, {method: "TRACE", path: "/open/x"}, {method: "POST", path: "/nowhere", body: "x"}}},
	{"bad requests", []question{
		{method: "GET", path: "/open/%2e%2e/x"}, {method: "GET", path: "/open//x"}, {method: "GET", path: "/open/a%2Fb"}, {method: "GET", path: "/open/%00"},
		{method: "GET", path: "/open/x", fields: []string{"Authorization", "Bearer a", "Authorization", "Bearer b"}},
		{method: "POST", path: "/open/x", body: "x", fields: []string{"Expect", "wonders"}},
	}},
	{"too large", []question{
		{method: "POST", path: "/small/x", body: strings.Repeat("s", 1024)}, {method: "POST", path: "/small/x", body: strings.Repeat("s", 1025)},
		{method: "POST", path: "/small/x", body: strings.Repeat("s", 1025), chunked: true, early: true},
		{method: "GET", path: "/open/x", fields: []string{"X-Long", strings.Repeat("l", 17<<10)}, unread: true},
		{method: "GET", path: "/open/x", fields: slices.Repeat([]string{"X-Many", "m"}, 101), unread: true},
		{method: "GET", path: "/open/" + strings.Repeat("p", 17<<10), unread: true},
	}},
	{"who asks", []question{
		{method: "GET", path: "/mine/1"}, {method: "GET", path: "/mine/1", fields: []string{"Authorization", "Bearer nonsense"}},
		{method: "GET", path: "/mine/1", fields: []string{"Authorization", "BEARER"}}, {method: "GET", path: "/scoped", fields: []string{"Authorization", "BEARER"}},
		{method: "GET", path: "/scoped", fields: []string{"Authorization", "Basic eDp5"}},
	}},
	{"limits", []question{{method: "GET", path: "/limited"}, {method: "GET", path: "/limited"}, {method: "GET", path: "/limited"}}},
	{"cors", []question{
		{method: "OPTIONS", path: "/mine/1", fields: []string{"Origin", "https://app.example.com", "Access-Control-Request-Method", "GET"}},
		{method: "OPTIONS", path: "/mine/1", fields: []string{"Origin", "https://evil.example", "Access-Control-Request-Method", "GET"}},
		{method: "GET", path: "/open/x", fields: []string{"Origin", "https://app.example.com"}}, {method: "GET", path: "/mine/1", fields: []string{"Origin", "https://app.example.com"}},
	}},
	{"keyed writes", []question{
		{method: "POST", path: "/keyed/x", body: "one", fields: []string{"Authorization", "BEARER"}},
		{method: "POST", path: "/keyed/x", body: "one", fields: []string{"Authorization", "BEARER", "Idempotency-Key", "k1"}},
		{method: "POST", path: "/keyed/x", body: "one", fields: []string{"Authorization", "BEARER", "Idempotency-Key", "k1"}},
		{method: "POST", path: "/keyed/x", body: "two", fields: []string{"Authorization", "BEARER", "Idempotency-Key", "k1"}},
		{method: "POST", path: "/keyed/big", body: "x", chunked: true, fields: []string{"Authorization", "BEARER", "Idempotency-Key", "k2"}},
		{method: "POST", path: "/keyed/x", fields: []string{"Authorization", "BEARER", "Idempotency-Key", "a b\""}},
	}},
}

// The same questions get the same answers, fields and access lines over HTTP/1.1 and HTTP/2, with TLS and without.
func TestTwins(t *testing.T) {
	all := twinsOf(t)
	for _, s := range scenarios {
		t.Run(strings.ReplaceAll(s.name, " ", "_"), func(t *testing.T) {
			for i, a := range s.asks {
				id := fmt.Sprintf("%s-%d", strings.ReplaceAll(s.name, " ", "-"), i)
				want := all[0].ask(id, a)
				if testing.Verbose() {
					t.Logf("%s %.60s: %s", a.method, a.path, want)
				}
				for _, tw := range all[1:] {
					if got := tw.ask(id, a); got != want {
						t.Errorf("%s %.60s over %s:\n%s\n--- over h1:\n%s", a.method, a.path, tw.name, got, want)
					}
				}
			}
		})
	}
}

// One connection carries streams both ways at once: what a client sends comes back before it has sent the rest.
func TestTwinsStreamBothWays(t *testing.T) {
	all := twinsOf(t)
	for _, tw := range all[2:] {
		pr, pw := io.Pipe()
		r, _ := http.NewRequest("GET", tw.scheme+"://"+tw.address+"/open/big", nil)
		first, err := tw.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		up, _ := http.NewRequest("POST", tw.scheme+"://"+tw.address+"/open/echo", pr)
		done := make(chan error, 1)
		go func() {
			got, err := tw.client.Do(up)
			if err == nil {
				_, err = io.Copy(io.Discard, got.Body)
				err = errors.Join(err, got.Body.Close())
			}
			done <- err
		}()
		_, _ = pw.Write([]byte("slowly"))
		if n, err := io.Copy(io.Discard, first.Body); n != 300*64<<10 || err != nil {
			t.Errorf("%s: %d bytes, %v, beside an upload that waits", tw.name, n, err)
		}
		_ = first.Body.Close()
		_ = pw.Close()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", tw.name, err)
		}
	}
}

// gRPC clients read refusals as trailers, or in a head; over HTTP/1.1 as well.
func TestTwinsGRPCRefusals(t *testing.T) {
	for _, tw := range twinsOf(t) {
		for path, want := range map[string]string{"/mine/1": "16", "/nowhere": "12", "/down": "14", "/open/hangs": "4"} {
			r, _ := http.NewRequest("POST", tw.scheme+"://"+tw.address+path, strings.NewReader("\x00\x00\x00\x00\x00"))
			r.Header.Set("Content-Type", "application/grpc+proto")
			got, err := tw.client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(got.Body)
			_ = got.Body.Close()
			bare := got.ProtoMajor == 1 || got.Header["Content-Length"] == nil
			if got.StatusCode != 200 || got.Header.Get("Grpc-Status") != want || len(text) > 0 || got.Header.Get("Content-Type") != "application/grpc" || got.Header.Get("Grpc-Message") == "" || !bare {
				t.Errorf("%s: %s: %d %v %q", tw.name, path, got.StatusCode, got.Header, text)
			}
		}
	}
}

// Without http2 the port is HTTP/1.1's alone; with it a stop tells clients of HTTP/2 to go, lets their requests end, and exits 0.
func TestTwinsStopAndOff(t *testing.T) {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: protocols}, Timeout: 10 * time.Second}
	release, begun := make(chan struct{}), make(chan struct{}, 1)
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		<-release
		_, _ = io.WriteString(w, "ended")
	})
	off := prepare(t, fmt.Sprintf(twins, up.url))
	off.replace("listen: {", "listen: { http2: false,")
	off.start()
	t.Cleanup(off.kill)
	if got, err := client.Get("http://" + off.address + "/open/x"); err == nil {
		t.Errorf("HTTP/2 was served: %d", got.StatusCode)
	}
	g := begin(t, fmt.Sprintf(twins, up.url))
	said := make(chan string, 1)
	go func() {
		got, err := client.Get("http://" + g.address + "/open/x")
		if err != nil {
			said <- err.Error()
			return
		}
		defer got.Body.Close()
		text, _ := io.ReadAll(got.Body)
		said <- got.Proto + " " + string(text)
	}()
	<-begun
	g.signal(syscall.SIGTERM)
	g.eventually("no connection is taken", func() bool {
		c, err := net.DialTimeout("tcp", g.address, time.Second)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	close(release)
	if text := <-said; text != "HTTP/2.0 ended" {
		t.Errorf("a running request: %s", text)
	}
	if code := g.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// A client's certificate is known over HTTP/2, too, for each request of its connection.
func TestTwinsClientCertificate(t *testing.T) {
	ca := newAuthority(t, "ca", nil)
	g, _ := tlsGateway(t, "optional", ca.pem(), fmt.Sprintf(certificateDocument, newMirror(t).url))
	g.start()
	t.Cleanup(g.kill)
	for uri, want := range map[string]int{"spiffe://acme.test/orders": 200, "spiffe://stranger.test/orders": 401, "": 401} {
		cfg := showing()
		if uri != "" {
			cfg = showing(ca.client(t, uri, nil))
		}
		cfg.InsecureSkipVerify = true
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true}, Timeout: 10 * time.Second}
		for range 2 {
			r, _ := http.NewRequest("GET", "https://"+g.address+"/certs", nil)
			r.Host = "api.test"
			got, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = got.Body.Close()
			if got.StatusCode != want || got.ProtoMajor != 2 {
				t.Errorf("%q: %s %d", uri, got.Proto, got.StatusCode)
			}
		}
	}
}
