package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const plain = `upstreams: { up: { targets: [%q], timeout: { connect: 300ms, first_byte: 300ms } } }
routes: [ { id: all, match: { path: /** }, auth: none, to: up } ]
`

const keyed = `upstreams: { up: { targets: [%q] } }
routes: [ { id: w, match: { path: /w }, auth: { issuers: [main] }, dedup: { key: required }, to: up } ]
`

func TestUpstreamRefuses(t *testing.T) {
	g := begin(t, fmt.Sprintf(plain, "http://"+freePort(t)))
	g.want(502, "upstream-failed", "GET", "/x", "")
}

func TestUpstreamSilent(t *testing.T) {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	up := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	g := begin(t, fmt.Sprintf(plain, up.url))
	g.want(504, "upstream-timeout", "GET", "/x", "")
	g.want(504, "upstream-timeout", "POST", "/x", "body")
	if n := up.count.Load(); n != 2 {
		t.Errorf("the upstream saw %d requests, wanted 2: nothing may be sent twice", n)
	}
}

func TestUpstreamCutsTheAnswer(t *testing.T) {
	up := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100000")
		_, _ = io.WriteString(w, strings.Repeat("x", 5000))
		panic(http.ErrAbortHandler)
	})
	g := begin(t, fmt.Sprintf(plain, up.url))
	a, err := g.call("GET", "/x", "")
	if err == nil {
		t.Fatalf("a cut answer looked complete: %d, %d bytes", a.status, len(a.body))
	}
}

func TestUpstreamDiesBeforeAnAnswer(t *testing.T) {
	up := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	g := begin(t, fmt.Sprintf(plain, up.url))
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
		g.want(502, "upstream-failed", method, "/x", "body")
	}
	if n := up.count.Load(); n != 4 {
		t.Errorf("the upstream saw %d requests of 4", n)
	}
}

// failsToStart wants an exit code and the words in what is printed.
func failsToStart(t *testing.T, g *gateway, want int, words ...string) {
	t.Helper()
	g.launch()
	if code := g.exit(); code != want {
		t.Errorf("exit %d, wanted %d: %s", code, want, g.log)
	}
	for _, w := range words {
		if !strings.Contains(g.log.String(), w) {
			t.Errorf("%q is not said: %s", w, g.log)
		}
	}
}

func TestPortInUse(t *testing.T) {
	g := prepare(t, fmt.Sprintf(plain, "http://127.0.0.1:1"))
	for _, address := range []string{g.address, g.admin} {
		ln, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		failsToStart(t, g, 1, address)
		ln.Close()
	}
}

func TestUnreadableCertificate(t *testing.T) {
	g := prepare(t, fmt.Sprintf(plain, "http://127.0.0.1:1"))
	missing := filepath.Join(t.TempDir(), "tls.crt")
	g.replace("listen: {", fmt.Sprintf("listen: { tls: { certificates: [{ cert: %q, key: %q }] },", missing, missing))
	failsToStart(t, g, 2, missing)
}

func TestUnreadableKeyFile(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "key.pem")
	g := prepare(t, fmt.Sprintf(plain, "http://127.0.0.1:1"))
	g.replace("issuers: {", fmt.Sprintf("issuers: { other: { issuer: o, audiences: [a], keys: [%q], algorithms: [RS256] },", missing))
	failsToStart(t, g, 2, missing)
}

func TestDataFolderNotWritable(t *testing.T) {
	g := prepare(t, fmt.Sprintf(keyed, "http://127.0.0.1:1"))
	if err := os.WriteFile(g.data, []byte("a file is in the way"), 0o600); err != nil {
		t.Fatal(err)
	}
	failsToStart(t, g, 1, g.data)
}

func TestDataFolderLocked(t *testing.T) {
	t.Parallel()
	up := serve(t, ok)
	first := begin(t, fmt.Sprintf(keyed, up.url))
	second := prepare(t, fmt.Sprintf(keyed, up.url))
	second.data = first.data
	second.write(fmt.Sprintf(keyed, up.url))
	failsToStart(t, second, 1, first.data)
	first.want(200, "", "POST", "/w", "{}", "Authorization", first.token(), "Idempotency-Key", "still-works")
}

func TestJWKSServerDownAtStart(t *testing.T) {
	up := serve(t, ok)
	address := freePort(t)
	g := begin(t, fmt.Sprintf(`upstreams: { up: { targets: [%q] } }
routes:
  - { id: open, match: { path: /open }, auth: none, to: up }
  - { id: main, match: { path: /main }, auth: { issuers: [main] }, to: up }
`, up.url))
	text, err := os.ReadFile(g.file)
	if err != nil {
		t.Fatal(err)
	}
	with := strings.Replace(string(text), "issuers: {", fmt.Sprintf("issuers: { late: { issuer: \"https://late.test/\", audiences: [api], jwks: \"http://%s/jwks\", algorithms: [EdDSA] },", address), 1)
	with += "  - { id: late, match: { path: /late }, auth: { issuers: [late] }, to: up }\n"
	if err := os.WriteFile(g.file, []byte(with), 0o600); err != nil {
		t.Fatal(err)
	}
	g.eventually("the route of the late issuer", func() bool { a, _ := g.call("GET", "/late", ""); return a.status == 401 })
	key := newEd25519(t)
	a := g.want(503, "auth-unavailable", "GET", "/late", "", "Authorization", "Bearer "+key.token(t, "https://late.test/", "api"))
	if a.header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	if n := g.metric(`gateway_auth_key_fetches_total{issuer="late",result="failure"}`); n == "" || n == "0" {
		t.Errorf("the dead key server does not show in the metrics: %q", n)
	}
	g.want(200, "", "GET", "/open", "")
	g.want(200, "", "GET", "/main", "", "Authorization", g.token())

	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: key.jwks(), ReadHeaderTimeout: time.Second}
	go server.Serve(ln) //nolint:errcheck // ends with the test
	t.Cleanup(func() { _ = server.Close() })
	g.eventually("the key set to be fetched", func() bool {
		a, _ := g.call("GET", "/late", "", "Authorization", "Bearer "+key.token(t, "https://late.test/", "api"))
		return a.status == 200
	})
}

func TestBadDocumentsExitTwo(t *testing.T) {
	g := prepare(t, "nonsense: 1\nroutes: []\n")
	out, err := exec.Command(binary, "run", "-config", g.file).CombinedOutput()
	exit, isExit := err.(*exec.ExitError)
	if !isExit || exit.ExitCode() != 2 || !strings.Contains(string(out), g.file+":6:1: nonsense: ") {
		t.Fatalf("%v: %s", err, out)
	}
}
