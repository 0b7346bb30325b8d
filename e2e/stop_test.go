package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func contains(text, word string) bool { return strings.Contains(text, word) }

// resident is VmHWM, the peak of resident memory, in KiB.
func (g *gateway) resident() int {
	g.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil {
		noProc(g.t, err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				g.t.Fatal(err)
			}
			return n
		}
	}
	g.t.Fatal("no VmHWM")
	return 0
}

func TestTermLosesNoRequest(t *testing.T) {
	stopping := make(chan struct{})
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" { // the work that SIGTERM finds running
			await(r, stopping)
		}
		ok(w, r)
	})
	g := begin(t, fmt.Sprintf(strings.Replace(plain, "first_byte: 300ms", "first_byte: 5s", 1), up.url))
	slow := make(chan error, 1)
	go func() {
		a, err := g.call("GET", "/slow", "")
		if err == nil && (a.status != 200 || a.body != "ok") {
			err = fmt.Errorf("%d %s", a.status, a.body)
		}
		slow <- err
	}()
	g.eventually("the slow request at the upstream", func() bool { return up.count.Load() == 1 })
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}}
	kept, err := client.Get("http://" + g.address + "/kept") // a connection that is idle when SIGTERM comes
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, kept.Body)
	kept.Body.Close()
	g.signal(syscall.SIGTERM)
	g.eventually("connections to be refused", func() bool {
		c, err := net.Dial("tcp", g.address)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	close(stopping)
	if err := <-slow; err != nil {
		t.Errorf("the running request was lost: %v", err)
	}
	if code := g.exit(); code != 0 {
		t.Errorf("exit %d: %s", code, g.log)
	}
}

func TestDrainFailsReadinessAndServesOn(t *testing.T) {
	up := serve(t, ok)
	g := prepare(t, fmt.Sprintf(plain, up.url))
	g.replace("notice: 10ms", "notice: 1500ms")
	g.start()
	t.Cleanup(g.kill)
	g.signal(syscall.SIGTERM)
	g.eventually("readiness to fail", func() bool { status, _ := g.get(g.admin, "/readyz"); return status == 503 })
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}}
	a, err := client.Get("http://" + g.address + "/x")
	if err != nil || a.StatusCode != 200 || !a.Close {
		t.Errorf("while draining: %v, %+v", err, a)
	} else {
		a.Body.Close()
	}
	if code := g.exit(); code != 0 {
		t.Errorf("exit %d: %s", code, g.log)
	}
}

func TestStopThatCutsExitsOne(t *testing.T) {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	up := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	g := prepare(t, fmt.Sprintf(strings.Replace(plain, "first_byte: 300ms", "first_byte: 30s", 1), up.url))
	g.replace("timeout: 5s }", "timeout: 200ms }")
	g.start()
	t.Cleanup(g.kill)
	go func() { _, _ = g.call("GET", "/x", "") }()
	g.eventually("the request at the upstream", func() bool { return up.count.Load() == 1 })
	g.signal(os.Interrupt.(syscall.Signal))
	if code := g.exit(); code != 1 {
		t.Errorf("exit %d, wanted 1: %s", code, g.log)
	}
}

// A second signal that finds nothing running, in the notice, is no failure.
func TestSecondSignalThatCutsNothing(t *testing.T) {
	up := serve(t, ok)
	g := prepare(t, fmt.Sprintf(plain, up.url))
	g.replace("notice: 10ms", "notice: 1m")
	g.start()
	t.Cleanup(g.kill)
	g.want(200, "", "GET", "/x", "")
	g.signal(syscall.SIGTERM)
	g.eventually("the stop", func() bool { return contains(g.log.String(), `"stopping"`) })
	g.signal(syscall.SIGTERM)
	if code := g.exit(); code != 0 || !contains(g.log.String(), `"stopping at once"`) || !contains(g.log.String(), `"cut":0`) {
		t.Errorf("exit %d: %s", code, g.log)
	}
}

// An answer that a second signal cuts has its line.
func TestSecondSignalCutsAnswersWithALine(t *testing.T) {
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "begun")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	g := prepare(t, fmt.Sprintf(strings.Replace(plain, "first_byte: 300ms", "idle_body: 1m", 1), up.url))
	g.replace("timeout: 5s }", "timeout: 1m }")
	g.start()
	t.Cleanup(g.kill)
	conn := g.dialog().say("GET /x HTTP/1.1\r\nHost: a\r\nX-Request-Id: streams\r\n\r\n")
	if _, err := io.ReadFull(conn, make([]byte, len("HTTP/1.1 200"))); err != nil {
		t.Fatal(err)
	}
	g.signal(syscall.SIGTERM)
	g.eventually("the stop", func() bool { return contains(g.log.String(), `"stopping"`) })
	g.signal(syscall.SIGTERM)
	if code := g.exit(); code != 1 {
		t.Errorf("exit %d: %s", code, g.log)
	}
	if line := g.lineOf("streams"); line["status"] != 200.0 || line["kind"] == "" {
		t.Errorf("%v", line)
	}
}

// 50 MiB down and up, four at a time: bodies stream.
func TestBigBodiesInFlatMemory(t *testing.T) {
	const size = 50 << 20
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			n, _ := io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, strconv.FormatInt(n, 10))
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(size))
		_, _ = io.CopyN(w, zeros{}, size)
	})
	g := begin(t, fmt.Sprintf("upstreams: { up: { targets: [%q] } }\nroutes: [ { id: all, match: { path: /** }, auth: none, body: 100MiB, to: up } ]\n", up.url))
	for range 20 {
		g.want(200, "", "POST", "/warm", "x")
	}
	base := g.resident()
	errs := make(chan error, 8)
	for i := range 8 {
		go func() { errs <- g.move(i%2 == 0, size) }()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if grown := g.resident() - base; grown > 16<<10 {
		t.Errorf("resident memory grew by %d KiB", grown)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func (g *gateway) move(up bool, size int64) error {
	if !up {
		a, err := http.Get("http://" + g.address + "/down")
		if err != nil {
			return err
		}
		defer a.Body.Close()
		n, err := io.Copy(io.Discard, a.Body)
		if err == nil && n != size {
			err = fmt.Errorf("%d bytes came down", n)
		}
		return err
	}
	a, err := http.Post("http://"+g.address+"/up", "application/octet-stream", io.LimitReader(zeros{}, size))
	if err != nil {
		return err
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err == nil && string(text) != strconv.FormatInt(size, 10) {
		err = fmt.Errorf("%d %s bytes went up", a.StatusCode, text)
	}
	return err
}
