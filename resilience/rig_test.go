// Package resilience starts the real binary in front of upstreams that fail on purpose, on raw sockets, and judges what clients
// see and what the upstreams received. The files u_*_test.go hold the edge cases of docs/edge-cases.md, inject_*_test.go the fault
// injections of docs/reliability.md: a short form, and a long one with ONCEGATE_SOAK set.
package resilience

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var binary string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "oncegate-resilience-")
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

// soaking picks the size of an injection: short, or long when ONCEGATE_SOAK is set.
func soaking[T any](short, long T) T {
	if os.Getenv("ONCEGATE_SOAK") != "" {
		return long
	}
	return short
}

// gate is a running binary.
type gate struct {
	t                    *testing.T
	address, admin, file string
	listen               string // more words of listen
	log                  *lockedBuffer
	cmd                  *exec.Cmd
	exited               chan struct{}
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

const secret = "resilience-secret-0123456789-0123456789"

// prepare writes a document of upstreams and routes; listen has further words of listen, each with a comma behind it.
func prepare(t *testing.T, listen, upstreams, routes string) *gate {
	t.Helper()
	dir := t.TempDir()
	g := &gate{t: t, address: freePort(t), admin: freePort(t), file: filepath.Join(dir, "gateway.yaml"), listen: listen, log: &lockedBuffer{}}
	g.write(upstreams, routes)
	return g
}

func (g *gate) write(upstreams, routes string) {
	g.t.Helper()
	listen := g.listen
	if !strings.Contains(listen, "drain:") {
		listen += " drain: { notice: 10ms, timeout: 5s },"
	}
	text := fmt.Sprintf("version: 1\nlisten: { %s address: %q }\nadmin: { address: %q }\nstate: { store: memory }\n", listen, g.address, g.admin) +
		"issuers: { main: { issuer: \"https://id.test/\", audiences: [api], secret: \"" + secret + "\", algorithms: [HS256] } }\n" +
		"upstreams:\n" + upstreams + "\nroutes:\n" + routes + "\n"
	if err := os.WriteFile(g.file+".new", []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
	if err := os.Rename(g.file+".new", g.file); err != nil {
		g.t.Fatal(err)
	}
}

// begin starts a gateway and waits until it is ready; the test's end stops it.
func begin(t *testing.T, listen, upstreams, routes string) *gate {
	t.Helper()
	g := prepare(t, listen, upstreams, routes)
	g.start()
	t.Cleanup(g.kill)
	return g
}

// before is a gateway with one route to one upstream; more has further words of the upstream, each with a comma before it.
func before(t *testing.T, url, more string) *gate {
	t.Helper()
	return begin(t, "", up("up", more, url), route("all", "/**", "", "up"))
}

// up is the line of an upstream.
func up(name, more string, urls ...string) string {
	quoted := make([]string, len(urls))
	for i, u := range urls {
		quoted[i] = strconv.Quote(u)
	}
	return fmt.Sprintf("  %s: { targets: [%s]%s }\n", name, strings.Join(quoted, ", "), more)
}

// route is the line of a route that everybody may use.
func route(id, path, more, to string) string {
	return fmt.Sprintf("  - { id: %s, match: { path: %s }, auth: none%s, to: %s }\n", id, path, more, to)
}

func (g *gate) start() {
	g.t.Helper()
	g.cmd = exec.Command(binary, "run", "-config", g.file)
	g.cmd.Stdout, g.cmd.Stderr = g.log, g.log
	g.cmd.Dir = filepath.Dir(g.file)
	if err := g.cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.exited = make(chan struct{})
	go func(c *exec.Cmd, done chan struct{}) { _ = c.Wait(); close(done) }(g.cmd, g.exited)
	g.eventually("ready", func() bool {
		select {
		case <-g.exited:
			g.t.Fatalf("the gateway ended: %s", g.log)
		default:
		}
		status, _ := g.ask("GET", "/readyz", "")
		return status == 200
	})
}

func (g *gate) signal(s syscall.Signal) {
	g.t.Helper()
	if err := g.cmd.Process.Signal(s); err != nil {
		g.t.Fatal(err)
	}
}

// exit waits for the end and gives the exit code.
func (g *gate) exit() int {
	g.t.Helper()
	select {
	case <-g.exited:
		return g.cmd.ProcessState.ExitCode()
	case <-time.After(20 * time.Second):
		g.t.Fatalf("the gateway did not end: %s", g.log)
		return -1
	}
}

func (g *gate) kill() {
	_ = g.cmd.Process.Kill()
	<-g.exited
}

// ask asks the admin port.
func (g *gate) ask(method, path, body string) (int, string) {
	a, err := callAt(g.admin, method, path, body)
	if err != nil {
		return 0, err.Error()
	}
	return a.status, a.body
}

// metric gives the value of the line of /metrics that begins with name; 0 when there is none.
func (g *gate) metric(name string) float64 {
	_, text := g.ask("GET", "/metrics", "")
	for _, line := range strings.Split(text, "\n") {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			n, _ := strconv.ParseFloat(rest, 64)
			return n
		}
	}
	return 0
}

// judged is what the admin port shows of an upstream's guards.
type judged struct {
	Name    string `json:"name"`
	Breaker struct {
		State  string `json:"state"`
		Calls  int    `json:"calls"`
		Failed int    `json:"failed"`
	} `json:"breaker"`
	Bulkhead struct {
		InFlight int `json:"in_flight"`
		Learned  int `json:"learned"`
	} `json:"bulkhead"`
	Retries struct {
		Calls   int `json:"calls"`
		Retries int `json:"retries"`
	} `json:"retries"`
	Targets []struct {
		InFlight int `json:"in_flight"`
		Idle     int `json:"idle"`
	} `json:"targets"`
}

// upstreams shows what the admin port says of all of them by name.
func (g *gate) upstreams() map[string]judged {
	g.t.Helper()
	status, text := g.ask("GET", "/api/v1/upstreams", "")
	var list []judged
	if err := json.Unmarshal([]byte(text), &list); err != nil || status != 200 {
		g.t.Fatalf("%d %s: %v", status, text, err)
	}
	all := map[string]judged{}
	for _, u := range list {
		all[u.Name] = u
	}
	return all
}

// eventually waits for what holds soon.
func (g *gate) eventually(what string, holds func() bool) {
	g.t.Helper()
	for end := time.Now().Add(15 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			g.t.Fatalf("%s: not within 15 s; log: %.2000s", what, g.log)
		}
	}
}

// process gives resident memory in KiB, goroutines and open files.
func (g *gate) process() (kib, goroutines, files int) {
	g.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil && runtime.GOOS != "linux" {
		g.t.Skip("no /proc here")
	} else if err != nil {
		g.t.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ = strconv.Atoi(strings.Fields(rest)[0])
		}
	}
	fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.cmd.Process.Pid))
	return kib, int(g.metric("go_goroutines")), len(fds)
}

var givenPorts sync.Map

// freePort gives an address that no caller was given before.
func freePort(t *testing.T) string {
	t.Helper()
	for {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := ln.Addr().String()
		ln.Close()
		if _, given := givenPorts.LoadOrStore(address, true); !given {
			return address
		}
	}
}

// line waits for the access line of a request id.
func (g *gate) line(id string) map[string]any {
	g.t.Helper()
	var found map[string]any
	g.eventually("the access line of "+id, func() bool {
		for _, text := range strings.Split(g.log.String(), "\n") {
			line := map[string]any{}
			if strings.Contains(text, id) && json.Unmarshal([]byte(text), &line) == nil && line["msg"] == "request" && line["request_id"] == id {
				found = line
			}
		}
		return found != nil
	})
	return found
}

// refusing is an address that takes no connection: its port is bound, so that nobody else gets it, and nobody listens.
func refusing(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err == nil {
		t.Cleanup(func() { _ = syscall.Close(fd) })
		err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	if err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
}
