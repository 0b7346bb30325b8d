// Package e2e starts the real binary with real documents in front of real sockets and judges it by its answers, its exit
// codes and what the upstream saw.
package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given && runtime.GOMAXPROCS(0) < 4 {
		_ = flag.Set("test.parallel", "4") // what runs in parallel here mostly waits
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "oncegate-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "gateway")
	build := exec.Command("go", "build", "-trimpath", "-o", binary, "../cmd/gateway")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is shipped
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the gateway: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

const secret = "e2e-secret-0123456789-0123456789-0123456789"

// head is the common head of the documents.
const head = `version: 1
listen: { address: %q, drain: { notice: 10ms, timeout: 5s } }
admin: { address: %q }
state: { store: embedded, path: %q }
issuers: { main: { issuer: "https://id.test/", audiences: [api], secret: "` + secret + `", algorithms: [HS256] } }
`

// gateway is a running binary.
type gateway struct {
	t              *testing.T
	address, admin string
	file, data     string
	log            *lockedBuffer
	cmd            *exec.Cmd
	exited         chan struct{}
	tls            *tls.Config // of connections to a port with TLS; nil: plain
}

// lockedBuffer collects the log while the test reads it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// prepare writes the document without starting anything.
func prepare(t *testing.T, body string) *gateway {
	t.Helper()
	dir := t.TempDir()
	g := &gateway{t: t, address: freePort(t), admin: freePort(t), file: filepath.Join(dir, "gateway.yaml"), data: filepath.Join(dir, "data"), log: &lockedBuffer{}}
	g.write(body)
	return g
}

// begin starts a gateway with the document and waits until it is ready; the test's end stops it.
func begin(t *testing.T, body string) *gateway {
	t.Helper()
	g := prepare(t, body)
	g.start()
	t.Cleanup(g.kill)
	return g
}

func (g *gateway) write(body string) {
	g.t.Helper()
	g.save(fmt.Sprintf(head, g.address, g.admin, g.data) + body)
}

// save replaces the file whole: a gateway that runs looks at it all the time.
func (g *gateway) save(text string) {
	g.t.Helper()
	if err := os.WriteFile(g.file+".new", []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
	if err := os.Rename(g.file+".new", g.file); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gateway) launch() {
	g.t.Helper()
	g.cmd = exec.Command(binary, "run", "-config", g.file)
	g.cmd.Stdout, g.cmd.Stderr = g.log, g.log
	g.cmd.Dir = filepath.Dir(g.file)
	if err := g.cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.exited = make(chan struct{})
	go func(c *exec.Cmd, done chan struct{}) { _ = c.Wait(); close(done) }(g.cmd, g.exited)
}

func (g *gateway) start() {
	g.t.Helper()
	g.launch()
	g.eventually("ready", func() bool {
		select {
		case <-g.exited:
			g.t.Fatalf("the gateway ended: %s", g.log)
		default:
		}
		status, _ := g.get(g.admin, "/readyz")
		return status == 200
	})
}

func (g *gateway) signal(s syscall.Signal) {
	g.t.Helper()
	if err := g.cmd.Process.Signal(s); err != nil {
		g.t.Fatal(err)
	}
}

// exit waits for the end and gives the exit code.
func (g *gateway) exit() int {
	g.t.Helper()
	select {
	case <-g.exited:
		return g.cmd.ProcessState.ExitCode()
	case <-time.After(20 * time.Second):
		g.t.Fatalf("the gateway did not end: %s", g.log)
		return -1
	}
}

// kill is kill -9; nothing when it has ended.
func (g *gateway) kill() {
	_ = g.cmd.Process.Kill()
	<-g.exited
}

func (g *gateway) get(address, path string) (int, string) {
	client := http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + address + path)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, string(body)
}

// metric gives the value of a line of /metrics that begins with name.
func (g *gateway) metric(name string) string {
	_, text := g.get(g.admin, "/metrics")
	for _, line := range strings.Split(text, "\n") {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			return rest
		}
	}
	return ""
}

func (g *gateway) eventually(what string, holds func() bool) {
	g.t.Helper()
	end := time.Now().Add(15 * time.Second)
	for !holds() {
		if time.Now().After(end) {
			g.t.Fatalf("%s: not within 15 s; log: %s", what, g.log)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Ports of gateways lie below those that the kernel gives away by itself (32768 and up on Linux) and above those of redistest.
const (
	firstPort = 31000
	lastPort  = 32700
)

// freePort gives an address that is free until the test ends. The claim is a UDP socket on the same number, which other tests and
// other processes see.
func freePort(t *testing.T) string {
	t.Helper()
	for range 1000 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+rand.IntN(lastPort-firstPort)))
		claim, err := net.ListenPacket("udp4", address)
		if err != nil {
			continue
		}
		ln, err := net.Listen("tcp4", address)
		if err != nil {
			claim.Close()
			continue
		}
		ln.Close()
		t.Cleanup(func() { claim.Close() })
		return address
	}
	t.Fatal("no free port")
	return ""
}

// answer is what a call gave.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) problem() map[string]any {
	doc := map[string]any{}
	_ = json.Unmarshal([]byte(a.body), &doc)
	return doc
}

func (a answer) kind() string {
	kind, _ := a.problem()["type"].(string)
	return strings.TrimPrefix(kind, "urn:oncegate:problem:")
}

// call sends one request on a connection of its own. headers are name, value, name, value.
func (g *gateway) call(method, path, body string, headers ...string) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+g.address+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	transport := &http.Transport{DisableKeepAlives: true}
	got, err := transport.RoundTrip(r)
	if err != nil {
		return answer{}, err
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	return answer{got.StatusCode, got.Header, string(text)}, err
}

func (g *gateway) want(status int, kind, method, path, body string, headers ...string) answer {
	g.t.Helper()
	a, err := g.call(method, path, body, headers...)
	if err != nil {
		g.t.Fatalf("%s %s: %v; log: %s", method, path, err, g.log)
	}
	if a.status != status || kind != "" && a.kind() != kind {
		g.t.Fatalf("%s %s: %d %s, wanted %d %s: %s", method, path, a.status, a.kind(), status, kind, a.body)
	}
	return a
}

// service is an upstream that counts.
type service struct {
	url   string
	count atomic.Int64
}

// serve runs an upstream until the test ends.
func serve(t *testing.T, h http.HandlerFunc) *service {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &service{url: "http://" + ln.Addr().String()}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.count.Add(1)
		h(w, r)
	}), ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(ln) //nolint:errcheck // ends with the test
	t.Cleanup(func() { _ = server.Close() })
	return s
}

func ok(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	_, _ = io.WriteString(w, "ok")
}

// token asks the binary for one.
func (g *gateway) token(args ...string) string {
	g.t.Helper()
	out, err := exec.Command(binary, append([]string{"token", "-config", g.file, "-issuer", "main", "-sub", "alice"}, args...)...).Output()
	if err != nil {
		g.t.Fatalf("token: %v: %s", err, out)
	}
	return "Bearer " + strings.TrimSpace(string(out))
}

// replace changes a word of the document.
func (g *gateway) replace(old, with string) {
	g.t.Helper()
	text, err := os.ReadFile(g.file)
	if err != nil {
		g.t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		g.t.Fatalf("%q does not stand in the document", old)
	}
	g.save(strings.Replace(string(text), old, with, 1))
}
