package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Gateway is one process of the gateway. It may be started again on the same port when it has ended.
type Gateway struct {
	Address, Admin string
	binary, file   string
	log            *tail

	mu   sync.Mutex
	pid  int
	done chan struct{} // closed when the process was reaped
}

// Start starts the process; it ends with ours, at the latest.
func (g *Gateway) Start() error {
	cmd := exec.Command(g.binary, "run", "-config", g.file)
	cmd.Stdout, cmd.Stderr = g.log, g.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	done, started := make(chan struct{}), make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the death signal comes when the thread ends that started the process
		defer runtime.UnlockOSThread()
		defer close(done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("starting a gateway: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pid, g.done = cmd.Process.Pid, done
	return nil
}

// Ready waits until the gateway says that it is.
func (g *Gateway) Ready(limit time.Duration) error {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if status, _, err := g.Ask("GET", "/readyz"); err == nil && status == http.StatusOK {
			return nil
		}
	}
	return fmt.Errorf("%s is not ready within %v; its log ends so:\n%s", g.Address, limit, g.log)
}

// Signal sends a signal to the process, if it lives.
func (g *Gateway) Signal(s syscall.Signal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.done:
	default:
		_ = syscall.Kill(g.pid, s)
	}
}

// End waits until the process is gone, and ends it by -9 when that takes too long.
func (g *Gateway) End(limit time.Duration) {
	g.mu.Lock()
	done := g.done
	g.mu.Unlock()
	select {
	case <-done:
	case <-time.After(limit):
		g.Signal(syscall.SIGKILL)
		<-done
	}
}

// Kill is kill -9.
func (g *Gateway) Kill() {
	g.Signal(syscall.SIGKILL)
	g.End(10 * time.Second)
}

// Stop ends the process in order.
func (g *Gateway) Stop() {
	g.Signal(syscall.SIGTERM)
	g.End(10 * time.Second)
}

var asking = http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// Ask calls the admin port.
func (g *Gateway) Ask(method, path string) (int, string, error) {
	request, err := http.NewRequest(method, "http://"+g.Admin+path, nil)
	if err != nil {
		return 0, "", err
	}
	got, err := asking.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	return got.StatusCode, string(text), err
}

// Metric reads a series of /metrics by its exact name with labels; -1 when there is none.
func (g *Gateway) Metric(name string) float64 {
	_, text, err := g.Ask("GET", "/metrics")
	if err != nil {
		return -1
	}
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			if v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64); err == nil {
				return v
			}
		}
	}
	return -1
}

// tail keeps the last lines of a log that are not about a request.
type tail struct {
	mu    sync.Mutex
	rest  []byte
	lines [][]byte
}

var accessLine = []byte(`"msg":"request"`)

func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			l.rest = append([]byte(nil), l.rest...)
			return len(p), nil
		}
		if l.rest = rest; !bytes.Contains(line, accessLine) {
			l.lines = append(l.lines[max(0, len(l.lines)-99):], bytes.Clone(line))
		}
	}
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(bytes.Join(l.lines, []byte("\n"))) + string(l.rest)
}

var givenPorts sync.Map

// freeAddress gives an address that nobody was given before, below the ports that outgoing connections take.
func freeAddress() (string, error) {
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 21_000+rand.IntN(11_000))
		if _, given := givenPorts.LoadOrStore(address, true); given {
			continue
		}
		if ln, err := net.Listen("tcp", address); err == nil {
			return address, ln.Close()
		}
	}
	return "", errors.New("no port is free")
}

// write replaces the document, whole at any time.
func (g *Gateway) write(text string) error {
	if err := os.WriteFile(g.file+".new", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(g.file+".new", g.file)
}
